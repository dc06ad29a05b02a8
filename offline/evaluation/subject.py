"""The subject under test: a bundle, on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from app.pipeline.backends import torch_backend
from app.pipeline.bundle import Bundle, read_bundle
from app.pipeline.network import ChestNetwork
from app.pipeline.screener import Screener
from app.pipeline.signature import TrustedKeys

from ..attacks import CallPoints, Victim
from ..calls import load_calls
from ..calls.fitting import youden_logits
from ..data.films import Film, of_split, targets_of
from ..gate.features import saved
from ..gate.fit import FittedGate
from ..run import Run


def victim_of_run(run: Run, network: ChestNetwork, gate: FittedGate, films: list[Film], device: torch.device) -> Victim:
    """A fitted run as attackers see it, with the points of its export.

    Youden's points come from val films. The points of calls come from the run's record, if it has one.
    """
    logits = youden_logits(saved(run, "val").logits, targets_of(of_split(films, "val")))
    points = torch.tensor(logits, dtype=torch.float64).sigmoid()
    calls = CallPoints.of(load_calls(run)[0]) if run.calls.exists else None
    return Victim.of(network, gate.gate, points, device, calls)


@dataclass(frozen=True)
class LoadedBundle:
    """A verified bundle with its network on `device`, and the bundle as attackers see it."""

    bundle: Bundle
    device: torch.device
    victim: Victim

    @staticmethod
    def load(folder: Path, device: torch.device, trusted: TrustedKeys | None = None) -> LoadedBundle:
        """Read and verify a bundle, and run its golden check. If there are trusted keys, one of them must have signed it.

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
        victim = Victim.of(bundle.network, bundle.gate, points, device, calls)
        return LoadedBundle(bundle, device, victim)
