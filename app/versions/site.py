"""A site's own prevalences and points, applied to every bundle that is loaded here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from app.pipeline import Bundle
from app.pipeline.calls import SiteRow, at_site, read_site_table, site_digest
from app.pipeline.errors import SiteTableError
from app.settings import Settings, SettingsError

#: Stands between a bundle's version and the digest of the site's table, since other answers need another name.
_MARK: Final = "-site-"


def site_table(settings: Settings) -> dict[str, SiteRow]:
    """The table of ``CXR_CALLS_FILE``; empty if there is none.

    Raises
    ------
    SettingsError
        The file cannot be read, or has another form.
    """
    if not settings.calls_file:
        return {}
    try:
        with Path(settings.calls_file).open(encoding="utf-8-sig", newline="") as lines:
            return read_site_table(lines)
    except (OSError, UnicodeDecodeError, SiteTableError) as error:
        raise SettingsError(f"CXR_CALLS_FILE={settings.calls_file!r} cannot be used: {error}") from error


def name_here(model_version: str, site: dict[str, SiteRow]) -> str:
    """The name of a bundle's version with this table applied."""
    return model_version + _MARK + site_digest(site) if site else model_version


def name_of_bundle(name: str) -> str:
    """The version in the bundle's manifest, without the table's digest."""
    return name.partition(_MARK)[0]


def at_this_site(bundle: Bundle, site: dict[str, SiteRow]) -> Bundle:
    """The bundle with the site's prevalences and points; the bundle itself if there is no table.

    Raises
    ------
    SiteTableError
        The table asks for a point of a finding that the bundle does not call.
    """
    if not site:
        return bundle
    manifest = bundle.manifest
    changed = {"findings": at_site(manifest.findings, site), "model_version": name_here(manifest.model_version, site)}
    return replace(bundle, manifest=manifest.model_copy(update=changed))
