"""What is under test: a bundle, on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from app.pipeline.bundle import Bundle, read_bundle
from app.pipeline.screener import Screener

from ..attacks import Victim


@dataclass(frozen=True)
class Subject:
    """A verified bundle, its network on `device`, and the same as attackers see it."""

    bundle: Bundle
    device: torch.device
    victim: Victim

    @staticmethod
    def load(folder: Path, device: torch.device) -> Subject:
        """Read, verify and prove a bundle.

        Raises
        ------
        BundleError
        """
        screener = Screener(read_bundle(folder), device)
        screener.require_golden()
        manifest = screener.bundle.manifest
        points = torch.tensor([finding.operating_point for finding in manifest.findings], dtype=torch.float64)
        victim = Victim.of(screener.network, screener.bundle.gaussian, manifest.gate.threshold, points, device)
        return Subject(screener.bundle, device, victim)
