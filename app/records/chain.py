"""The chain of entries: each is sealed under the key, together with the seal of the one before.

    seal_n = HMAC-SHA256(seal key, canonical JSON of all columns of entry n but the seal, seal_(n-1) among them)

(A column of a later version counts only if it is not NULL, so the seals of older entries stay valid.)

A changed entry no longer matches its seal. A removed, inserted or moved entry breaks the count and the links.
Only the newest entries can be cut off unseen, so the head is written down elsewhere too (``Head``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .key import RecordKey
from .tables import ADDED_LATER, CHECKPOINT, ENTRIES, GENESIS

_SEALED = tuple(column.name for column in ENTRIES.columns if column.name not in {"seal", *ADDED_LATER})


class Head(NamedTuple):
    """Number and seal of the newest entry; ``(0, GENESIS)`` in an empty record."""

    id: int
    seal: str

    def __str__(self) -> str:
        return f"{self.id}:{self.seal}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what ``str`` wrote.

        Raises
        ------
        ValueError
        """
        if not re.fullmatch(r"[0-9]{1,18}:[0-9a-f]{64}", text):
            raise ValueError("a head is the number of an entry, a colon, and the 64 hexadecimal digits of its seal")
        number, seal = text.split(":")
        return cls(int(number), seal)


EMPTY = Head(0, GENESIS)


def seal_of(entry: Mapping[str, Any], key: RecordKey) -> str:
    """Seal of an entry, computed without its own seal; an absent column is NULL."""
    content = {name: entry.get(name) for name in _SEALED}
    content |= {name: entry[name] for name in ADDED_LATER if entry.get(name) is not None}
    # Python writes the shortest digits that give the same double again, so both databases give the same text. A value of
    # another type from an intruder, such as a blob, must not stop a verification: `repr` makes a text that has no seal.
    return key.seal(json.dumps(content, sort_keys=True, separators=(",", ":"), default=repr).encode())


def linked(entries: Iterable[Mapping[str, Any]], head: Head, key: RecordKey) -> Iterator[dict[str, Any]]:
    """Number, link and seal entries that follow a head."""
    for number, entry in enumerate(entries, start=head.id + 1):
        made = {"id": number, "previous": head.seal, **entry}
        made["seal"] = seal_of(made, key)
        head = Head(number, made["seal"])
        yield made


class Verification:
    """Follows a chain from its oldest entry: ``take`` each, then ``end``.

    Parameters
    ----------
    key : RecordKey
    expected : Head or None
        A head of the past, which must be in the chain.

    Attributes
    ----------
    faults : list of str
        What is wrong, and at which entry; the first ``MOST_FAULTS`` of them.
    fault_count : int
    count : int
        Entries taken.
    first, head : Head or None
        The oldest and the newest.
    removed_through : int
        The last entry that retention removed, or 0.
    """

    MOST_FAULTS: Final = 20

    def __init__(self, key: RecordKey, expected: Head | None = None) -> None:
        self.faults: list[str] = []
        self.fault_count = 0
        self.count = 0
        self.first: Head | None = None
        self.head: Head | None = None
        self.removed_through = 0
        self._unsealed = 0
        self._key = key
        self._expected = expected
        self._found = False
        self._start = EMPTY  # what the first entry must follow
        self._first_previous = ""

    def take(self, entry: Mapping[str, Any]) -> None:
        """Check the next entry by its number."""
        self.count += 1
        own = Head(entry["id"], entry["seal"])
        sealed = own.seal == seal_of(entry, self._key)
        if not sealed:
            self._unsealed += 1
            self._fault(f"entry {own.id} was changed or forged: its content does not match its seal")
        if self.head is None:
            self.first, self._first_previous = own, entry["previous"]
        elif own.id != self.head.id + 1:
            self._fault(f"{_entries(self.head.id + 1, own.id - 1)} missing")
        elif entry["previous"] != self.head.seal:
            self._fault(
                f"entry {own.id} does not follow the entry {self.head.id} that is there: one of them was replaced"
            )
        if sealed and entry["kind"] == CHECKPOINT:
            self._start = Head(entry["removed_through"], entry["removed_seal"])
            self.removed_through = self._start.id
        self._found = self._found or own == self._expected
        self.head = own

    def end(self) -> None:
        """Check the beginning, and whether the expected head was in the chain."""
        if self.first is not None:
            if self.first.id != self._start.id + 1:
                self._fault(
                    f"{_entries(self._start.id + 1, self.first.id - 1)} missing at the beginning"
                    if self.first.id > self._start.id
                    else f"{_entries(self.first.id, self._start.id)} there again, though retention removed that"
                )
            elif self._first_previous != self._start.seal:
                self._fault(f"entry {self.first.id} does not follow the beginning of the record")
        if self.count > 1 and self._unsealed == self.count:
            self.faults.insert(0, "no entry is sealed under this key: is it the key of this record?")
        if self._expected is not None and not self._found and self._expected not in (EMPTY, self._start):
            self._fault(self._unmet(self._expected))

    def _unmet(self, expected: Head) -> str:
        if expected.id <= self.removed_through:
            return f"the expected head {expected.id} was removed by retention since, and cannot be compared: use a newer one"
        if self.head is None or expected.id > self.head.id:
            last = self.head.id if self.head else 0
            return f"{_entries(last + 1, expected.id)} missing at the end: the record was cut off, or is an older copy"
        return f"entry {expected.id} is not the one that was the head: the record was rewritten since"

    def _fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < self.MOST_FAULTS:
            self.faults.append(text)


def _entries(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
