"""A bundle in memory, ready to judge."""

from __future__ import annotations

from dataclasses import dataclass

from app.pipeline import Backend, Bundle, Screener
from app.pipeline.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Version:
    """A bundle on every device. A film is judged by one version, and every part of its answer is that version's.

    Attributes
    ----------
    screeners : tuple of Screener
        One a device; the devices come in the same order in every version.
    """

    screeners: tuple[Screener, ...]

    @property
    def bundle(self) -> Bundle:
        """What all screeners are of."""
        return self.screeners[0].bundle

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""
        return self.bundle.manifest

    @property
    def name(self) -> str:
        """The bundle's ``model_version``."""
        return self.manifest.model_version

    @property
    def backends(self) -> list[Backend]:
        """One a device."""
        return [screener.backend for screener in self.screeners]
