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
        One for each device; the devices come in the same order in every version.
    """

    screeners: tuple[Screener, ...]

    @property
    def bundle(self) -> Bundle:
        """The bundle of all screeners."""
        return self.screeners[0].bundle

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def name(self) -> str:
        """The bundle's ``model_version``."""
        return self.manifest.model_version

    @property
    def backends(self) -> list[Backend]:
        """One for each device."""
        return [screener.backend for screener in self.screeners]
