"""Why a version cannot be brought in, promoted or taken back; what was active stays so."""

from __future__ import annotations


class UnknownVersion(Exception):
    """No bundle of this version is there."""


class VersionConflict(Exception):
    """The version is there, and not in the state that this asks for."""


class VersionRefused(Exception):
    """The bundle does not verify or prove itself, or the choice cannot be written down."""
