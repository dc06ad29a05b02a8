"""The change up to which everything is finished, in a file that holds the old or the new value after a crash or a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app import durable

from .errors import Misconfigured
from .history import Anchor, thinned

FORMAT_VERSION: Final = 1


class Checkpoint:
    """A file that holds one number and anchors of some changes up to it; owned by one forwarder at a time.

    Parameters
    ----------
    path : Path
        The state file; beside it lie ``.lock`` and, while it is written, one that ends in ``.part``.

    Raises
    ------
    Misconfigured
        Another forwarder has it, it cannot be opened, or it is no state file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        held = path.with_name(path.name + ".lock")
        try:
            held.touch()
            self._lock = durable.lock(held)
            durable.remove_unfinished(path.parent, path.name + ".*")
        except BlockingIOError:
            raise Misconfigured("another forwarder uses this --state; each Orthanc needs one forwarder") from None
        except OSError as error:
            raise Misconfigured(f"--state cannot be written ({error.strerror}); its folder must exist") from None
        try:
            self.last, self.anchors = self._read()
        except Misconfigured:
            self.close()
            raise

    def close(self) -> None:
        """Let another forwarder have it."""
        os.close(self._lock)

    def save(self, last: int, anchors: Sequence[Anchor] = ()) -> None:
        """Move to `last`, and return when it is on the disk. `anchors` are changes up to it, in order."""
        known = [[anchor.sequence, anchor.digest] for anchor in anchors]
        content = {"format_version": FORMAT_VERSION, "last_change": last, "anchors": known}
        try:
            durable.replace(self._path, json.dumps(content).encode())
        except OSError as error:
            raise Misconfigured(f"--state cannot be written ({error.strerror})") from None
        self.last, self.anchors = last, tuple(anchors)

    def _read(self) -> tuple[int | None, tuple[Anchor, ...]]:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None, ()
        except (OSError, UnicodeDecodeError):
            text = ""
        try:
            state = json.loads(text)
            if state["format_version"] == FORMAT_VERSION and state["last_change"] >= 0:
                known = state.get("anchors", [])  # none if an earlier version wrote the file
                return int(state["last_change"]), tuple(Anchor(int(number), str(digest)) for number, digest in known)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise Misconfigured(
            "the file at --state is not a forwarder's state; move it away to start over (films that have a report keep it)"
        )


class Progress:
    """Which changes are being worked on, and so up to which change all are finished.

    Changes begin in order, and finish in any order.
    """

    def __init__(self, last: int, anchors: Sequence[Anchor] = ()) -> None:
        self._begun = last
        self._in_hand: set[int] = set()
        self._anchors = list(anchors)

    def begin(self, sequence: int, anchor: Anchor | None = None) -> None:
        """Begin with a change, and remember its anchor."""
        self._begun = sequence
        self._in_hand.add(sequence)
        if anchor:
            self._anchors.append(anchor)

    def finish(self, sequence: int) -> None:
        """A change is finished."""
        self._in_hand.remove(sequence)

    @property
    def settled(self) -> int:
        """The greatest number up to which all changes are finished."""
        return min(self._in_hand) - 1 if self._in_hand else self._begun

    @property
    def newest(self) -> Anchor | None:
        """The anchor of the newest change that was read, if there is one."""
        return self._anchors[-1] if self._anchors else None

    def all_anchors(self) -> tuple[Anchor, ...]:
        """Anchors of the changes that were read, unfinished ones too."""
        return tuple(self._anchors)

    def anchors(self) -> tuple[Anchor, ...]:
        """Some of the changes up to ``settled``, in order; the newest is among them."""
        settled = self.settled
        kept = thinned([each for each in self._anchors if each.sequence <= settled])
        self._anchors = [*kept, *(each for each in self._anchors if each.sequence > settled)]
        return kept
