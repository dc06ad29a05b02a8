"""The record's one table.

A row is a judgement by the network and the gate. The same subject may have several (two processes that judged it at the
same moment); the earliest holds. Times are UTC.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, DateTime, Double, Index, Integer, MetaData, String, Table

METADATA = MetaData()

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("request_id", String(32), nullable=False),
    Column("model_version", String(255), nullable=False),
    Column("verdict", String(8), nullable=False),  # accepted, rejected
    Column("log_density", Double, nullable=False),
    Column("probabilities", JSON(none_as_null=True)),  # 14 numbers, or NULL where rejected
    Column("instance_hash", String(64), nullable=False),
    Column("pixels_hash", String(64), nullable=False),
    Index("decisions_of_a_subject", "instance_hash", "pixels_hash", "model_version"),
)
