"""Why a version cannot be brought in, promoted or taken back; the active version stays active."""

from __future__ import annotations


class UnknownVersion(Exception):
    """There is no bundle of this version."""


class VersionConflict(Exception):
    """The version exists, but its state does not allow this step."""


class VersionRefused(Exception):
    """The bundle does not verify or does not reproduce its golden outputs, or the choice cannot be written down."""
