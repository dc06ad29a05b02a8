"""The versions of one service, and the steps between their roles."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.engine import Comparison, Engine, Version
from app.metrics import Metrics
from app.records import VersionEvent

from .catalogue import Catalogue
from .choice import Choice, ChoiceFile
from .errors import UnknownVersion, VersionConflict, VersionRefused

log = logging.getLogger("cxr_gate")

Role = Literal["active", "shadow", "previous", "idle"]


@dataclass(frozen=True)
class Listed:
    """A bundle and its role; without a folder if it is loaded but its folder is gone or changed."""

    model_version: str | None
    folder: str | None
    signed_by: str | None
    reason: str | None
    role: Role


@dataclass(frozen=True)
class Asked:
    """Who asked for something, and by which request."""

    caller: str
    request_id: str
    route: str


class Versions:
    """Loads, compares, promotes and takes back versions. Any thread but that of the event loop may call the methods.

    Only loading takes long, and no other step waits for it: a rollback is possible meanwhile. Each step is in the
    record before it is taken. If it cannot be written there, it is not taken.

    Parameters
    ----------
    previous : Version or None
        The version that was active before the engine's version.
    load : callable
        Folder -> Version, proven on the engine's devices.
    announce : callable
        Called with each version that becomes active.
    record : callable
        Writes an entry durably; may raise RecordUnavailable.
    """

    def __init__(
        self,
        engine: Engine,
        previous: Version | None,
        catalogue: Catalogue,
        choice: ChoiceFile,
        load: Callable[[Path], Version],
        announce: Callable[[Version], None],
        record: Callable[[VersionEvent], None],
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._previous = previous
        self._catalogue = catalogue
        self._choice = choice
        self._load = load
        self._announce = announce
        self._record = record
        self._metrics = metrics
        self._comparison: Comparison | None = None
        self._loading = threading.Lock()
        self._changing = threading.Lock()

    @property
    def comparison(self) -> Comparison | None:
        """The comparison of the shadow, or of the last one."""
        return self._comparison

    def listed(self) -> list[Listed]:
        """Every bundle that is loaded or in a folder."""
        entries = self._catalogue.entries()
        with self._changing:
            roles = self._roles()
        there = [
            Listed(
                entry.model_version,
                entry.folder.name,
                entry.signed_by,
                entry.reason,
                roles.get(entry.model_version or "", "idle"),
            )
            for entry in entries
        ]
        gone = roles.keys() - {entry.model_version for entry in entries}
        reason = "its folder is gone or changed: it cannot be loaded again"
        return [*there, *(Listed(name, None, None, reason, roles[name]) for name in sorted(gone))]

    def shadow(self, name: str, asked: Asked) -> None:
        """Load a version, prove it, and let it run in shadow. If it already does, it goes on.

        Raises
        ------
        UnknownVersion
        VersionConflict
            It is active or previous, another one is in shadow, or one is being loaded.
        VersionRefused
            It does not verify, or does not reproduce its golden outputs here.
        RecordUnavailable
        """
        if not self._loading.acquire(blocking=False):
            raise VersionConflict("another version is being loaded; try again when that is done")
        try:
            if self._runs_in_shadow(name):
                return
            folder = self._catalogue.find(name)
            if folder is None:
                raise UnknownVersion("no bundle of this version is in the folder of CXR_BUNDLES")
            version = self._loaded(name, folder)
            with self._changing:
                self._require_idle(name)  # a promotion or a rollback may have come in between
                self._write_down("shadowed", name, asked)
                self._metrics.introduce(version.bundle)
                self._metrics.introduce_shadow(name)
                self._comparison = self._engine.begin_shadow(version).comparison
                self._note("a version runs in shadow", name, asked)
        finally:
            self._loading.release()

    def promote(self, name: str, asked: Asked) -> None:
        """Make the shadow or the previous version active, durably and at once. If it is active already, it stays active.

        Raises
        ------
        UnknownVersion, VersionConflict
        VersionRefused
            The choice could not be written down; nothing was changed.
        RecordUnavailable
        """
        with self._changing:
            if name == self._engine.active.name:
                return
            shadow = self._engine.shadow
            if shadow and shadow.version.name == name:
                chosen = shadow.version
            elif self._previous and self._previous.name == name:
                chosen = self._previous
            elif self._catalogue.find(name) is None:
                raise UnknownVersion("no bundle of this version is in the folder of CXR_BUNDLES")
            else:
                raise VersionConflict(
                    "the version is not loaded and proven; let it run in shadow first (POST /v1/versions/.../shadow)"
                )
            self._write_down("promoted", name, asked)
            self._activate(chosen, self._engine.active)
            self._note("a version was promoted", name, asked)

    def roll_back(self, asked: Asked) -> None:
        """Make the previous version active, durably and at once. The version that was active is released, so a
        repeated call does no harm.

        Raises
        ------
        VersionConflict
            There is no previous version.
        VersionRefused
            The choice could not be written down; nothing was changed.
        RecordUnavailable
        """
        with self._changing:
            if self._previous is None:
                raise VersionConflict(
                    f"there is no previous version to go back to; {self._engine.active.name} is active; to "
                    "bring in another version, let it run in shadow first"
                )
            left = self._engine.active.name
            self._write_down("rolledback", self._previous.name, asked)
            self._activate(self._previous, None)
            self._note(f"rolled back from {left}", self._engine.active.name, asked)

    def end_shadow(self, asked: Asked) -> None:
        """Take the shadow out; without a shadow nothing happens.

        Raises
        ------
        RecordUnavailable
        """
        with self._changing:
            if shadow := self._engine.shadow:
                self._write_down("withdrawn", shadow.version.name, asked)
                self._engine.end_shadow("an operator took it out")
                self._note("the shadow was taken out", shadow.version.name, asked)

    def _runs_in_shadow(self, name: str) -> bool:
        with self._changing:
            if (shadow := self._engine.shadow) and shadow.version.name == name:
                return True
            self._require_idle(name)
            return False

    def _require_idle(self, name: str) -> None:
        role = self._roles().get(name)
        if role == "active":
            raise VersionConflict("the version is active, and cannot be its own shadow")
        if role == "previous":
            raise VersionConflict("the version is the previous one, loaded and proven: promote it, or roll back")
        if shadow := self._engine.shadow:
            raise VersionConflict(
                f"{shadow.version.name} is in shadow; promote it, or DELETE /v1/versions/shadow first"
            )

    def _roles(self) -> dict[str, Role]:
        roles: dict[str, Role] = {self._engine.active.name: "active"}
        if self._previous:
            roles[self._previous.name] = "previous"
        if shadow := self._engine.shadow:
            roles[shadow.version.name] = "shadow"
        return roles

    def _loaded(self, name: str, folder: Path) -> Version:
        try:
            version = self._load(folder)
        except Exception as error:  # a fault of the bundle, the backend, or the device's memory: the version is refused
            log.error("a version was refused", exc_info=error, extra={"model_version": name, "reason": str(error)})
            raise VersionRefused(f"the bundle cannot be served here: {error or type(error).__name__}") from error
        if version.name != name:
            raise VersionRefused("its folder was changed while it was read; repeat the request")
        return version

    def _activate(self, version: Version, previous: Version | None) -> None:
        """Write the choice to the disk first: an answered promotion must survive a crash."""
        try:
            self._choice.write(Choice(version.name, previous.name if previous else None))
        except OSError as error:
            raise VersionRefused(
                f"the choice cannot be written to CXR_VERSIONS_FILE ({error.strerror}); nothing was changed"
            ) from error
        self._engine.activate(version)
        self._previous = previous
        self._announce(version)

    def _write_down(
        self, kind: Literal["shadowed", "promoted", "rolledback", "withdrawn"], name: str, asked: Asked
    ) -> None:
        event = VersionEvent(kind, name, self._engine.active.name, asked.caller, asked.request_id, asked.route)
        self._record(event)

    def _note(self, message: str, name: str, asked: Asked) -> None:
        log.warning(message, extra={"model_version": name, "caller": asked.caller})
