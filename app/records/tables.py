"""The record's tables: entries, chained, and the version of their shape.

Times are text and numbers are double precision, in every database: a seal covers exactly the stored values.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION: Final = 6
METADATA = MetaData()

#: One row.
SCHEMA = Table("record_schema", METADATA, Column("version", Integer, nullable=False))

#: One row: the id of the key that the record was begun under (``proof``). It needed no new version: older code ignores it.
KEYS = Table("record_key", METADATA, Column("id", String(32), nullable=False))

#: Stands for the seal before the first entry.
GENESIS: Final = "0" * 64

JUDGED: Final = "judged"  # by the network and the gate
REPEATED: Final = "repeated"  # answered again from an earlier entry
EXPLAINED: Final = "explained"  # a heatmap was given of a film that an earlier entry accepted: no decision
CHECKPOINT: Final = "checkpoint"  # no decision: the oldest entries were removed
# Events of a film in quarantine. The entry of the decision names the film, and so says that it was kept.
VIEWED: Final = "viewed"  # somebody looked at it
RELEASED: Final = "released"  # somebody says that it is clean
CONFIRMED: Final = "confirmed"  # somebody says that it is bad
ANSWERED: Final = "answered"  # its probabilities were given, after its release
EXPORTED: Final = "exported"  # it was written out in clear
REMOVED: Final = "removed"  # it is kept no longer
# What an operator does with a version is written before it is done; the kinds are those of ``VersionEvent``.

#: The columns that each version added. A seal covers them only if they are not NULL, so seals of older entries stay valid.
ADDED: Final[dict[int, tuple[str, ...]]] = {
    3: ("film", "reason"),
    4: ("calls",),
    5: ("presentation",),
    6: ("caller_request_id",),
}
ADDED_LATER: Final = tuple(name for names in ADDED.values() for name in names)

ENTRIES = Table(
    "entries",
    METADATA,
    # 1, 2, 3 ... without a gap, given by the code: a sequence of the database leaves gaps where it rolls back.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("previous", String(64), nullable=False),  # seal of the entry before, or GENESIS
    Column("seal", String(64), nullable=False),  # over all other columns
    Column("kind", String(10), nullable=False),
    Column("time", String(27), nullable=False, index=True),  # when it was written, UTC, 2026-01-31T12:00:00.000000Z
    # Of a decision. Those marked * are unknown (NULL) where the entry was taken over from a record of version 1.
    Column("request_id", String(32)),
    Column("model_version", String(255)),
    Column("verdict", String(8)),  # accepted, rejected
    Column("log_density", Double),  # nats
    Column("percentile", Double),  # * of it among the bundle's calibration scores, 0 to 100
    Column("probabilities", Text),  # JSON, a number each finding; NULL where rejected, and in repeats
    Column("pixels_hash", String(64)),
    Column("instance_hash", String(64)),  # NULL where the film named no SOPInstanceUID
    Column("caller", Text),  # *
    Column("source_kind", String(5)),  # * png, jpeg, dicom
    Column("route", Text),  # * template of the path
    Column("seconds", Double),  # * from the film's arrival to the entry
    Column("repeat_of", BigInteger),  # id of the entry that a repeat was answered from
    Column("calls", Text),  # JSON, a word each finding, as the probabilities were called
    Column(
        "presentation", Text
    ),  # of a DICOM film: the window's numbers or the LUT's digest, and whether it is inverted
    Column("caller_request_id", String(128)),  # the caller's own name for the request, which may repeat
    # Of a checkpoint.
    Column("removed_through", BigInteger),  # the last entry that was removed
    Column("removed_seal", String(64)),  # and its seal, which the first that stays names as previous
    # For entries about a film in quarantine: the decision that kept it, its repeats, and its later events.
    Column("film", String(48)),  # request_id, or in STOW-RS request_id-NUMBER of the part
    Column(
        "reason", Text
    ),  # of a release, confirmation or removal; of what is done with a version, which one was active
    Index("entries_of_a_subject", "instance_hash", "pixels_hash", "model_version"),
)

#: Few entries concern a film in quarantine, and the index holds only these.
ENTRIES_OF_A_FILM = Index(
    "entries_of_a_film",
    ENTRIES.c.film,
    ENTRIES.c.id,
    sqlite_where=ENTRIES.c.film.is_not(None),
    postgresql_where=ENTRIES.c.film.is_not(None),
)
