"""Which version was made active, on the disk: this outlives the process and a crash of the machine."""

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
    """The version that judges, and the previous one, if it can still return at once."""

    active: str
    previous: str | None


class ChoiceFile:
    """The choice of one service; no other service writes to the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Choice | None:
        """The choice; None if there never was one.

        Raises
        ------
        SettingsError
            The file holds something else.
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
            f"CXR_VERSIONS_FILE={str(self.path)!r} cannot be read, or is not such a file; repair it, or move it "
            "away to start with CXR_BUNDLE"
        )

    def write(self, choice: Choice) -> None:
        """Replace the whole choice; it is durable when this returns.

        Raises
        ------
        OSError
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"format_version": FORMAT_VERSION, "active": choice.active, "previous": choice.previous}
        durable.replace(self.path, json.dumps(content).encode() + b"\n")
