"""The bundles that are there: in the folder of ``CXR_BUNDLES``, and the one of ``CXR_BUNDLE``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from app.pipeline.bundle import read_bundle, read_manifest
from app.pipeline.errors import BundleError
from app.pipeline.signature import TrustedKeys
from app.settings import Settings, SettingsError

from .site import name_here, site_table
from .trust import trusted_keys

_Mark = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Entry:
    """A folder that holds a bundle, or something that should be one.

    Attributes
    ----------
    folder : Path
    model_version : str or None
        None if the manifest cannot be read or was changed. For a folder that does not verify, it is the folder's own claim.
    signed_by : str or None
        Identifier of the trusted key; None if the bundle does not verify, or no keys are set.
    reason : str or None
        Why it does not verify; None if it does. Loading it shows whether it reproduces its golden outputs.
    """

    folder: Path
    model_version: str | None
    signed_by: str | None
    reason: str | None


class Catalogue:
    """Finds bundles only by their version: no name in a request becomes a path. Several threads may use it.

    Raises
    ------
    SettingsError
        There is no such folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.bundle
        self._folder = Path(settings.bundles) if settings.bundles else None
        if self._folder and not self._folder.is_dir():
            raise SettingsError(f"CXR_BUNDLES={settings.bundles!r} is no folder; name one whose subfolders are bundles")
        self._site = site_table(settings)
        self._checked: dict[Path, tuple[_Mark, frozenset[str], Entry]] = {}
        self._alone = threading.Lock()

    def entries(self) -> list[Entry]:
        """All bundles, verified. A bundle is read again only if its files or the trusted keys have changed."""
        with self._alone:
            try:
                trusted = trusted_keys(self._settings)
            except BundleError as error:
                return [Entry(folder, self._name_in(folder), None, str(error)) for folder in self._folders()]
            return [self._entry(folder, trusted) for folder in self._folders()]

    def find(self, model_version: str) -> Path | None:
        """The folder whose manifest has this version; its other files are not read.

        A signed folder comes before one that is not signed. One without a signature is found too, so that it can be
        refused with the reason.
        """
        folders = [folder for folder in self._folders() if self._name_in(folder) == model_version]
        try:
            trusted = trusted_keys(self._settings)
        except BundleError:
            trusted = None
        signed = (folder for folder in folders if _version_in(folder, trusted))
        return next(signed, folders[0] if folders else None)

    def _name_in(self, folder: Path) -> str | None:
        version = _version_in(folder)
        return None if version is None else name_here(version, self._site)

    def _folders(self) -> list[Path]:
        """The folders by name. ``write_bundle`` and copying tools write beside them, in folders whose names begin with a dot."""
        inside = sorted(self._folder.iterdir()) if self._folder else []
        folders = [folder for folder in inside if folder.is_dir() and not folder.name.startswith(".")]
        if self._own.resolve() not in {folder.resolve() for folder in folders}:
            folders.append(self._own)
        return folders

    def _entry(self, folder: Path, trusted: TrustedKeys | None) -> Entry:
        mark, ids = _mark(folder), trusted.ids if trusted else frozenset()
        known = self._checked.get(folder)
        if known and known[:2] == (mark, ids):
            return known[2]
        try:
            bundle = read_bundle(folder, trusted)
            entry = Entry(folder, name_here(bundle.manifest.model_version, self._site), bundle.signed_by, None)
        except (BundleError, OSError) as error:
            entry = Entry(folder, self._name_in(folder), None, str(error))
        self._checked[folder] = (mark, ids, entry)
        return entry


def _version_in(folder: Path, trusted: TrustedKeys | None = None) -> str | None:
    try:
        return read_manifest(folder, trusted).model_version
    except (BundleError, OSError):
        return None


def _mark(folder: Path) -> _Mark:
    """A mark that changes whenever a file is written or replaced."""
    files = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        files.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(files)
