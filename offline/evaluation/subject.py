"""What is under test: a bundle, on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from app.pipeline.backends import torch_backend
from app.pipeline.bundle import Bundle, read_bundle
from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding
from app.pipeline.network import ChestNetwork
from app.pipeline.screener import Screener
from app.pipeline.signature import TrustedKeys

from ..attacks import CallPoints, Victim
from ..features import saved
from ..films import Film, of_split, targets_of
from ..findings import findings_of
from ..fit import FittedGate

#: Of a run: its findings as a bundle's manifest has them.
CALLS_RECORD: Final = "calls.json"


def load_findings(run: Path) -> list[Finding] | None:
    """How a run's findings are calibrated and called; None where that was not fitted.

    Raises
    ------
    ValueError
        The file does not hold the findings of a manifest.
    """
    path = run / CALLS_RECORD
    if not path.is_file():
        return None
    findings = [Finding.model_validate(fields) for fields in json.loads(path.read_text())]
    if tuple(finding.name for finding in findings) != LABELS:
        raise ValueError(f"{path} does not hold the {len(LABELS)} findings in their order")
    return findings


def victim_of_run(
    run: Path, network: ChestNetwork, gate: FittedGate, films: list[Film], device: torch.device
) -> Victim:
    """A fitted run as attackers see it, with the points that an export would give it.

    Operating points come from val films, those of calls from the run's record, where it has one.
    """
    targets = targets_of(of_split(films, "val"))
    points = [finding["operating_point"] for finding in findings_of(targets, saved(run, "val").logits, None)]
    findings = load_findings(run)
    calls = None if findings is None else CallPoints.of(findings)
    return Victim.of(
        network, gate.gaussian, gate.threshold.value, torch.tensor(points, dtype=torch.float64), device, calls
    )


@dataclass(frozen=True)
class Subject:
    """A verified bundle, its network on `device`, and the same as attackers see it."""

    bundle: Bundle
    device: torch.device
    victim: Victim

    @staticmethod
    def load(folder: Path, device: torch.device, trusted: TrustedKeys | None = None) -> Subject:
        """Read, verify and prove a bundle, which must be signed by one of the trusted keys if there are any.

        Raises
        ------
        BundleError
        """
        bundle = read_bundle(folder, trusted)
        backend = torch_backend(bundle.network, device)
        Screener(bundle, backend).require_golden()
        bundle = replace(bundle, network=backend.network)
        manifest = bundle.manifest
        points = torch.tensor([finding.youden_logit for finding in manifest.findings], dtype=torch.float64).sigmoid()
        calls = CallPoints.of(manifest.findings)
        victim = Victim.of(bundle.network, bundle.gaussian, manifest.gate.threshold, points, device, calls)
        return Subject(bundle, device, victim)
