"""The parts that a posted film passes, from its bytes to its report."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine import Engine
from app.metrics import Metrics

from .decisions import Decisions
from .query_guard import QueryGuard
from .reports import Reports


@dataclass(frozen=True)
class Screening:
    """What every route that judges films works with."""

    engine: Engine
    guard: QueryGuard
    decisions: Decisions
    reports: Reports
    metrics: Metrics
