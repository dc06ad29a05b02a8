"""Which version was made active, on the disk: it outlives the process and the machine's crash."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app import durable
from app.settings import SettingsError

FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Choice:
    """The version that judges, and the one before it, if that is still to be had at once."""

    active: str
    previous: str | None


class ChoiceFile:
    """One service's choice; no other writes to the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Choice | None:
        """What was chosen; None if nothing ever was.

        Raises
        ------
        SettingsError
            There is something else in the file.
        """
        try:
            content = json.loads(self.path.read_bytes())
            active, previous = content["active"], content["previous"]
            known = content["format_version"] == FORMAT_VERSION
            if known and isinstance(active, str) and isinstance(previous, str | None):
                return Choice(active, previous)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise SettingsError(
            f"CXR_VERSIONS_FILE={str(self.path)!r} cannot be read or is none of ours; mend it, or move it away to start with "
            "CXR_BUNDLE"
        )

    def write(self, choice: Choice) -> None:
        """Replace the choice, whole; on return it is durable.

        Raises
        ------
        OSError
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"format_version": FORMAT_VERSION, "active": choice.active, "previous": choice.previous}
        durable.replace(self.path, json.dumps(content).encode() + b"\n")
