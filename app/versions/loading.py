"""A folder -> a version, proven on every device."""

from __future__ import annotations

import logging
from pathlib import Path

from app.engine import Version
from app.pipeline import Screener, choose_backends, read_bundle
from app.pipeline.errors import PipelineError
from app.settings import Settings, SettingsError

from .catalogue import Catalogue
from .choice import ChoiceFile
from .site import at_this_site, name_here, name_of_bundle, site_table
from .trust import trusted_keys

log = logging.getLogger("cxr_gate")


def proven_screeners(folder: Path, settings: Settings) -> list[Screener]:
    """The bundle on each of the devices, proven there.

    Raises
    ------
    PipelineError
        The bundle does not verify, a device or backend is missing, one does not reproduce the golden outputs, or the site's
        table does not fit the bundle.
    """
    bundle = at_this_site(read_bundle(folder, trusted_keys(settings)), site_table(settings))
    backends = choose_backends(
        bundle.network,
        settings.backend,
        settings.device,
        max_batch=settings.max_batch,
        threads=settings.inference_threads,
    )
    screeners = [Screener(bundle, backend) for backend in backends]
    for screener in screeners:
        screener.require_golden()
    return screeners


def load(folder: Path, settings: Settings) -> Version:
    """The bundle, proven on each of the devices and warmed up there.

    Raises
    ------
    PipelineError
        As ``proven_screeners``.
    """
    screeners = proven_screeners(folder, settings)
    for screener in screeners:
        screener.warm_up(settings.max_batch)
    return Version(tuple(screeners))


def load_chosen(settings: Settings) -> tuple[Version, Version | None]:
    """The version that was made active, otherwise that of ``CXR_BUNDLE``; and the previous one, if it is available.

    If the active version is no longer available, the service does not start. Another version would give the same
    films other answers without a person's decision, and that of ``CXR_BUNDLE`` may be the one that was replaced for
    its faults. The same holds if a restart leaves ``CXR_BUNDLES`` out.

    Raises
    ------
    PipelineError, SettingsError
    """
    choice = ChoiceFile(settings.versions_file).read()
    if choice is None:
        return load(settings.bundle, settings), None
    catalogue = Catalogue(settings)
    try:
        active = _load_named(choice.active, catalogue, settings)
    except (PipelineError, SettingsError) as error:
        remedy = "Put its folder back as it was" if settings.bundles else "Set CXR_BUNDLES to the folder that has it"
        raise SettingsError(
            f"{choice.active}, which was made active ({settings.versions_file}), cannot be served: {error}. {remedy}, or move "
            "that file away to start with CXR_BUNDLE"
        ) from error
    log.info("the active version is the one chosen", extra={"model_version": active.name})
    if choice.previous is None:
        return active, None
    try:
        return active, _load_named(choice.previous, catalogue, settings)
    except (PipelineError, SettingsError) as error:
        log.error(
            "there is no way back: the previous version is no longer available",
            extra={"model_version": choice.previous, "reason": str(error)},
        )
        return active, None


def _load_named(name: str, catalogue: Catalogue, settings: Settings) -> Version:
    """Load the chosen version; the site's table may have changed since, and with it the name."""
    folder = catalogue.find(name_here(name_of_bundle(name), site_table(settings)))
    if folder is None:
        raise SettingsError(
            "no folder of CXR_BUNDLES holds its manifest, nor does CXR_BUNDLE"
            if settings.bundles
            else "CXR_BUNDLES is not set, and CXR_BUNDLE is another version"
        )
    return load(folder, settings)
