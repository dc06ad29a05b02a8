"""A site's films -> suspicion -> Gaussian -> threshold -> before and after -> a new bundle, or a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from app.pipeline.backends import torch_backend
from app.pipeline.bundle import MODEL_CARD, REPORT, Golden, read_bundle, read_verified, write_bundle
from app.pipeline.manifest import Manifest
from app.pipeline.orientation import Orientation
from app.pipeline.screener import Screener

from ..bundles.signing import SigningKey
from ..bundles.version import code_version
from ..data.films import FilmsError, evenly, patients_of
from ..data.loading import in_order
from ..evaluation.observing import BATCH, Images, to_images, to_levels
from ..evaluation.subject import LoadedBundle
from ..gate.moments import Moments
from ..gate.orientation import LEAST_PERCENTILE, in_every_sense
from ..gate.threshold import Threshold, held_out_threshold
from ..options import option
from .compare import GateJudgement, attacked_features, attacked_places, detection_rows, false_rejection, group_rows
from .estimate import SiteEstimate, estimate, prior_of
from .plot import plot
from .site import Site, least_films
from .suspicion import Evidence, Looks, residual_energy, weigh
from .words import model_card, sentences

JSON_REPORT: Final = "recalibration.json"
TEXT_REPORT: Final = "recalibration.txt"
PLOT: Final = "recalibration.png"
TURNED_FILMS: Final = 64


class RecalibrationRefused(FilmsError):
    """Only the report was written: the new gate would catch fewer attacks, or the films look attacked."""


@dataclass(frozen=True)
class RecalibrationOptions:
    """The demands on the new gate.

    ``most_detection_loss`` bounds the fall in the detection rate of each stored attack. ``attack_films`` is the largest number
    of attacked films; with 256, a loss of two points is several films. ``key`` signs the new bundle.
    """

    target: float
    most_detection_loss: float = option(0.02, "share of the stored attacks that may be lost")
    attack_films: int = option(256, "films to attack")
    seed: int = option(0, "of the folds by patient")
    workers: int = 2
    command: str = ""
    key: SigningKey | None = None


def recalibrate(
    subject: LoadedBundle, site: Site, base_folder: Path, output: Path, report: Path, options: RecalibrationOptions
) -> tuple[Manifest, dict[str, Any]]:
    """Fit the gate to a site, compare, and write a bundle; the network stays as it is.

    Parameters
    ----------
    site : Site
        From ``read_site``.
    output, report : Path
        Folders of the new bundle and of the report. The report is written also if the bundle is refused.

    Returns
    -------
    Manifest of the new bundle, and the content of the JSON report.

    Raises
    ------
    RecalibrationRefused
        There is no new bundle; the message says why.
    BundleError
        The new bundle does not reproduce its golden outputs.
    """
    patients = patients_of(site.films)
    base = subject.bundle.gate
    chosen = evenly(len(site.films), options.attack_films)
    looks, levels = look(subject, site, chosen, options.workers)
    evidence = weigh(looks, [film.path.name for film in site.films], subject.bundle)
    prior = prior_of(base.density, subject.bundle.manifest.gate.shrinkage)
    fitted, threshold, scores = fit_site(prior, looks.features, patients, options.target, options.seed)
    attacked = attacked_features(subject, levels)
    before = GateJudgement(
        base.threshold,
        base.log_density(looks.features),
        {name: base.log_density(features) for name, features in attacked.items()},
    )
    after = GateJudgement(
        threshold.value,
        scores,
        {
            name: fitted.held_out(features, chosen[attacked_places(name, len(chosen))])
            for name, features in attacked.items()
        },
    )
    content = _report(subject, site, options, fitted, threshold, before, after, evidence)
    texts = {
        JSON_REPORT: (json.dumps(content, indent=2) + "\n").encode(),
        TEXT_REPORT: ("\n".join(sentences(content)) + "\n").encode(),
        PLOT: plot({"before": before, "after": after}),
    }
    report.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (report / name).write_bytes(text)
    if content["refusals"]:
        raise RecalibrationRefused("; ".join(content["refusals"]) + f". No bundle was written; see {report}")
    orientation = moved_orientation(subject, fitted, levels[evenly(len(levels), TURNED_FILMS)])
    manifest = _write(
        subject, base_folder, output, fitted, threshold, np.sort(scores), orientation, content, texts, options.key
    )
    written = read_bundle(output)
    Screener(written, torch_backend(written.network, subject.device)).require_golden()
    return manifest, content


def _report(
    subject: LoadedBundle,
    site: Site,
    options: RecalibrationOptions,
    fitted: SiteEstimate,
    threshold: Threshold,
    before: GateJudgement,
    after: GateJudgement,
    evidence: list[Evidence],
) -> dict[str, Any]:
    """The content of the JSON report."""
    patients = patients_of(site.films)
    detection = detection_rows(before, after)
    return {
        "base_version": subject.bundle.manifest.model_version,
        "command": options.command,
        "code": code_version(),
        "seed": options.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "site": {
            "films": len(site.films),
            "patients": site.patients if site.patients_known else None,
            "repeats_left_out": site.repeats,
            "sha256": site.sha256,
        },
        "estimator": {
            "pseudo_films": fitted.pseudo_films,
            "mean_log_density_left_out": {str(k): value for k, value in fitted.candidates.items()},
        },
        "threshold": {
            "before": before.threshold,
            "after": threshold.value,
            "target": options.target,
            "bound": threshold.bound,
        },
        "false_rejection": false_rejection(before, after, patients),
        "groups": group_rows(before, after, patients, site.groups, least_films(options.target)),
        "detection": detection,
        "evidence": [vars(one) for one in evidence],
        "refusals": refusals(evidence, detection, options.most_detection_loss),
    }


def fit_site(
    prior: Moments, features: NDArray[np.floating], patients: NDArray[np.str_], target: float, seed: int
) -> tuple[SiteEstimate, Threshold, NDArray[np.float64]]:
    """Gaussian and threshold from all of a site's films, and their held-out log densities, in the films' order.

    Every film is held out once, from the Gaussian that judges it (cross-conformal, Vovk 2015; CV+, Barber et al. 2021). Half of
    the films for the Gaussian and half for the threshold would give the exact conformal bound, but a gate that differs much more
    between splits. The served Gaussian is fitted on all films. New films are a little more likely under it than under a fold's
    Gaussian, so that it rejects a little less than the target.
    """
    fitted = estimate(prior, features, patients, seed)
    scores = fitted.held_out(features, np.arange(len(features)))
    return fitted, held_out_threshold(scores, target), scores


def look(subject: LoadedBundle, site: Site, keep: NDArray[np.intp], workers: int) -> tuple[Looks, Images]:
    """Each film's measurements for the gate and the suspicion, and the pixels of the films whose indices are in `keep`."""
    features, residuals, kept = [], [], []
    wanted, place = set(keep.tolist()), 0
    with torch.inference_mode(), tqdm(total=len(site.films), desc="the site's films", unit="film") as progress:
        for images, _ in in_order(site.films, batch_size=BATCH, workers=workers):
            features.append(subject.victim.network(images.to(subject.device)).gate_features.cpu().numpy())
            residuals.append(residual_energy(images))
            kept += [to_levels(image) for offset, image in enumerate(images) if place + offset in wanted]
            place += len(images)
            progress.update(len(images))
    return Looks(np.concatenate(features), np.concatenate(residuals), site.scanners), np.stack(kept)


def moved_orientation(subject: LoadedBundle, fitted: SiteEstimate, levels: Images) -> Orientation:
    """The base's model with a new floor, from the log densities of the site's turned films under the new Gaussian.

    The weights apply to features, which do not depend on the Gaussian. The floor is in nats of log density, whose scale depends
    on the Gaussian. The old floor could silence the model, or let it judge attacked films.
    """
    turned = []
    with torch.inference_mode():
        for start in range(0, len(levels), BATCH):
            senses = in_every_sense(to_images(levels[start : start + BATCH], subject.device))
            turned += [
                subject.victim.network(images.contiguous()).gate_features.cpu().numpy()
                for images in [one for images in list(senses.values())[1:] for one in images]
            ]
    floor = float(np.percentile(fitted.gaussian.log_density(np.concatenate(turned)), LEAST_PERCENTILE))
    base = subject.bundle.orientation
    return Orientation(base.weights, base.bias, floor)


def refusals(evidence: list[Evidence], detection: list[dict[str, Any]], most_loss: float) -> list[str]:
    """The reasons to write no bundle, in words; empty if it may be written."""
    reasons = [f"the films look attacked: {one.words}" for one in evidence if one.suspicious]
    for row in detection:
        was, now = row["before"]["detection_rate"], row["after"]["detection_rate"]
        if row["stored"] and was - now > most_loss:
            reasons.append(
                f"detection of {row['attack']} would fall from {was:.1%} to {now:.1%}, by more than {most_loss:.1%}"
            )
    return reasons


def _write(
    subject: LoadedBundle,
    base_folder: Path,
    output: Path,
    fitted: SiteEstimate,
    threshold: Threshold,
    calibration: NDArray[np.float64],
    orientation: Orientation,
    content: dict[str, Any],
    texts: dict[str, bytes],
    key: SigningKey | None,
) -> Manifest:
    base, golden = subject.bundle.manifest, subject.bundle.golden
    with torch.inference_mode():
        outputs = subject.victim.network((torch.from_numpy(golden.images).float() / 255).to(subject.device))
    fields = base.model_dump(mode="json", exclude={"files", "model_version"})
    fields["measured"] = None  # the base's figures are for the base's gate
    fields["orientation"]["least_log_density"] = orientation.least_log_density
    fields["gate"] |= {
        "n": base.gate.n + len(calibration),
        "threshold": threshold.value,
        "threshold_rule": "held-out",
        "target_false_rejection_rate": content["threshold"]["target"],
        "calibration_n": len(calibration),
        "calibration_bound": threshold.bound,
    }
    fields["recalibration"] = {
        "base_version": base.model_version,
        "base_signed_by": subject.bundle.signed_by,
        "site_sha256": content["site"]["sha256"],
        "n": len(calibration),
        "pseudo_films": fitted.pseudo_films,
        "command": content["command"],
        "code": content["code"],
        "seed": content["seed"],
        "created": content["created"],
    }
    # These files are verified again: the base was verified long before, and they get this bundle's signature.
    carried = {
        name: read_verified(base_folder, name, digest)
        for name, digest in base.files.items()
        if name.startswith(f"{REPORT}/") or name == MODEL_CARD
    }
    card = model_card(carried[MODEL_CARD].decode(), content)
    return write_bundle(
        output,
        fields,
        subject.bundle.network,
        fitted.gaussian,
        orientation,
        subject.bundle.content,
        Golden(
            golden.images,
            fitted.gaussian.log_density(outputs.gate_features.cpu().numpy()),
            np.asarray(expit(outputs.logits.cpu().numpy().astype(np.float64))),
            calibration,
        ),
        subject.bundle.typical_maps,
        {**carried, **{f"{REPORT}/{name}": text for name, text in texts.items()}, MODEL_CARD: card.encode()},
        key.sign if key else None,
    )
