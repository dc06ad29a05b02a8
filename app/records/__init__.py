"""Decisions, written before they are answered, so that they can be answered again and proven.

    image -> RecordKey (keyed hashes) -> Repeats: found in the Record? else judge -> Writer -> Record -> the Verdict

No identifier enters the record in clear, and nobody can make its hashes without its key. Entries are chained:
``cxr-gate verify-record`` finds an entry that was changed, removed or put in (docs/record.md).
"""

from .chain import EMPTY, Head, Verification
from .decided import Decided
from .entries import Decision, DecisionSubject, Entry, FilmEvent, Recalled, VersionEvent
from .films import FilmState, KeptFilm, UnsealedEntry
from .key import RecordKey
from .open import is_in_memory, open_for_reading, open_record
from .record import Record, RecordUnavailable
from .repeats import Repeats
from .writer import Writer

__all__ = [
    "EMPTY",
    "Decided",
    "Decision",
    "DecisionSubject",
    "Entry",
    "FilmEvent",
    "FilmState",
    "Head",
    "KeptFilm",
    "Recalled",
    "Record",
    "RecordKey",
    "RecordUnavailable",
    "Repeats",
    "UnsealedEntry",
    "Verification",
    "VersionEvent",
    "Writer",
    "is_in_memory",
    "open_for_reading",
    "open_record",
]
