"""A fitted run -> a bundle on disk, reloaded and compared."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import scipy
import torch
import torchvision
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from app.pipeline.backends import torch_backend
from app.pipeline.bundle import MODEL_CARD, REPORT, Golden, read_bundle, write_bundle
from app.pipeline.content import KINDS
from app.pipeline.errors import BundleError
from app.pipeline.manifest import Manifest
from app.pipeline.network import GATE_NETWORK_LAYERS, ChestNetwork
from app.pipeline.orientation import SENSES
from app.pipeline.preprocess import PREPROCESSING
from app.pipeline.screener import Screener

from ..attacks.goals import AT_POINT
from ..calls import load_calls
from ..calls.plot import plots
from ..data.films import Film, of_split
from ..data.loading import load_film
from ..gate.content import load_content
from ..gate.features import saved
from ..gate.fit import FitOptions, FittedGate, load_gate
from ..gate.orientation import load_orientation
from ..run import Run
from .measured import BundleReport
from .model_card import model_card
from .signing import SigningKey
from .typical import load_typical_maps
from .version import code_version

GOLDEN_FILMS = 64  # films averaged into one golden image, so that it shows no single film


def export(
    run: Run,
    films: list[Film],
    folder: Path,
    device: torch.device,
    command: str | None = None,
    key: SigningKey | None = None,
) -> Manifest:
    """Write the bundle, read it back, and compare it with its run.

    Parameters
    ----------
    command : str or None
        The command line, for the provenance.
    key : SigningKey or None
        Key that signs the bundle; None: it is not signed.

    Raises
    ------
    BundleError
        The bundle that was read back does not give the run's log densities.
    FilmsError
        The run was not trained, fitted or calibrated.
    """
    gate, fit_options = load_gate(run)
    network = run.network().to(device)
    orientation, turned = load_orientation(run)
    content, shown = load_content(run)
    training, measured, calls = run.training.read(), run.report.read_if_there(), run.calls_report.read()
    report = None if measured is None else BundleReport.model_validate(measured)
    images = golden_images(films)
    with torch.inference_mode():
        outputs = network((torch.from_numpy(images).float() / 255).to(device))
    golden = Golden(
        images,
        gate.density.log_density(outputs.gate_features.cpu().numpy()),
        np.asarray(expit(outputs.logits.cpu().numpy().astype(np.float64))),
        gate.calibration_scores,
    )
    fields: dict[str, Any] = {
        "findings": _findings(run, report),
        "preprocessing": PREPROCESSING,
        "gate": _gate(gate, fit_options, network),
        "orientation": {"senses": SENSES, "least_log_density": orientation.least_log_density, "n": turned["n"]},
        "content_check": {
            "kinds": KINDS,
            "least_log_odds": content.least_log_odds,
            "most_unexplained": content.most_unexplained,
            "n": shown["n"],
        },
        "fitted_with": {"backend": f"torch-{device.type}", "precision": "float32", "versions": _versions()},
        "provenance": _provenance(training, command),
        "measured": _measured(report),
    }
    texts = {
        MODEL_CARD: model_card(fields, report, turned, shown, calls).encode(),
        **{f"{REPORT}/{record.path.name}": record.path.read_bytes() for record in run.records if record.exists},
        **{f"{REPORT}/{name}": picture for name, picture in plots(calls).items()},
    }
    manifest = write_bundle(
        folder,
        fields,
        network,
        gate.density,
        orientation,
        content,
        golden,
        load_typical_maps(run),
        texts,
        key.sign if key else None,
    )
    _require_same(folder, films, run, device)
    return manifest


def golden_images(films: list[Film]) -> NDArray[np.uint8]:
    """Inputs of the golden check, shape (4, 1, 224, 224), uint8. They show no single patient.

    They are the mean of PA films, the mean of AP films, the first mean mirrored, and a pattern of fine waves.
    """
    train = of_split(films, "train")
    means = []
    for view in ("PA", "AP"):
        chosen = [film for film in train if film.view == view][:GOLDEN_FILMS] or train[:GOLDEN_FILMS]
        total: Tensor = torch.zeros(1, 224, 224)
        for film in chosen:
            total += load_film(film.path)
        means.append(total / len(chosen))
    line = torch.linspace(0, 1, 224)
    waves = (0.5 + 0.25 * torch.sin(40 * line)[None, :, None] + 0.25 * torch.cos(90 * line)[None, None, :]).clamp(0, 1)
    stacked = torch.stack([means[0], means[1], means[0].flip(-1), waves])
    return np.asarray((stacked * 255).round().to(torch.uint8).numpy())


def _require_same(folder: Path, films: list[Film], run: Run, device: torch.device) -> None:
    bundle = read_bundle(folder)
    screener = Screener(bundle, torch_backend(bundle.network, device))
    screener.require_golden()
    val = of_split(films, "val")[:8]
    outputs = screener.outputs(torch.stack([load_film(film.path) for film in val]))
    again = bundle.gate.log_density(outputs.gate_features)
    gate, _ = load_gate(run)
    before = gate.density.log_density(saved(run, "val").gate_features[: len(val)])
    if not np.allclose(again, before, rtol=1e-3, atol=0.5):
        raise BundleError(
            f"the reloaded bundle differs from the run by up to {np.abs(again - before).max():.3g} nats on held-out films"
        )


def _findings(run: Run, report: BundleReport | None) -> list[dict[str, Any]]:
    """The findings for the manifest, with the AUROC of the test films if it was measured."""
    findings, _ = load_calls(run)
    areas = report.auroc if report else {}
    found = []
    for finding in findings:
        area = areas.get(finding.name)
        found.append(
            {**finding.model_dump(mode="json"), "auroc": area if area is not None and np.isfinite(area) else None}
        )
    return found


def _gate(gate: FittedGate, options: FitOptions, network: ChestNetwork) -> dict[str, Any]:
    return {
        "n": gate.n,
        "shrinkage": gate.shrinkage,
        "watch": GATE_NETWORK_LAYERS[-1] if network.watch is not None else None,
        "variants": options.variants or None,
        "variant_weight": options.variant_weight if options.variants else None,
        "threshold": gate.threshold.value,
        "threshold_rule": options.rule,
        "target_false_rejection_rate": options.target,
        "calibration_n": len(gate.calibration_scores),
        "calibration_bound": gate.threshold.bound,
    }


def _provenance(training: dict[str, Any], command: str | None) -> dict[str, Any]:
    return {
        "data_sha256": training["data"],
        "initial_weights": training["initial_weights"],
        "seed": training["options"]["seed"],
        "epochs": training["options"]["epochs"],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "command": command,
    }


def _measured(report: BundleReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    names = ("test_n", "mean_auroc", "mean_auroc_interval", "false_rejection_rate", "false_rejection_rate_interval")
    return {
        **report.model_dump(include=set(names)),
        "detection_rate": {name: row.detection_rate for name, row in report.attacks.items()},
        "evasion_rate": {name: row.evasion_rate for name, row in report.attacks.items()},
        "aimed": [
            {
                "attacker": row.attacker,
                "knows_the_gate": row.informed,
                "films": row.eligible,
                "finding_choice": row.finding_choice or (row.goal and dict(AT_POINT)[row.goal]),
                "goal": row.goal,
                "epsilon": row.epsilon,
                "evaded": row.evaded,
                "probability_change": row.probability_change,
            }
            for row in report.aimed
        ]
        or None,
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "pydicom": pydicom.__version__,
    }
