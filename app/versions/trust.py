"""Whose bundles may be served."""

from __future__ import annotations

from pathlib import Path

from app.pipeline.signature import TrustedKeys
from app.settings import Settings


def trusted_keys(settings: Settings) -> TrustedKeys | None:
    """The keys as they are now, so that one can be added or taken away without a restart; None: anybody's bundle is taken.

    Raises
    ------
    BundleError
        There are none where they should be.
    """
    return TrustedKeys.read(Path(settings.trusted_keys)) if settings.trusted_keys else None
