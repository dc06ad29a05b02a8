"""Whose bundles may be served."""

from __future__ import annotations

from pathlib import Path

from app.pipeline.signature import TrustedKeys
from app.settings import Settings


def trusted_keys(settings: Settings) -> TrustedKeys | None:
    """The keys as they are now, so that one can be added or removed without a restart; None: any bundle is accepted.

    Raises
    ------
    BundleError
        The setting names a place without keys.
    """
    return TrustedKeys.read(Path(settings.trusted_keys)) if settings.trusted_keys else None
