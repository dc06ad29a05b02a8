"""MODEL_CARD.md from the run's own records: no number is typed by hand. Its text is in ``templates/``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from ..attacks.goals import CallGoal, Goal
from ..evaluation.adaptive import STARTS, STEEPEST, STRIDES
from ..generated_tables import markdown_table
from ..report.reading import AimedRow
from ..report.words import text
from ..training.harden import HARDENED
from .measured import BundleReport


def model_card(
    fields: dict[str, Any],
    report: BundleReport | None,
    turned: dict[str, Any],
    shown: dict[str, Any],
    calls: dict[str, Any],
) -> str:
    """Markdown of the card.

    `fields` are the manifest's; `turned` and `shown` are the records of orientation and content; `calls` is the result of
    ``measure_calls``.
    """
    environment = Environment(
        loader=PackageLoader("offline.bundles"),
        autoescape=False,  # the output is Markdown, from our own records
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as"] = _as
    return environment.get_template("MODEL_CARD.md").render(
        fields=fields,
        report=report,
        turned=turned,
        shown=shown,
        calls=calls,
        aimed_table="" if report is None else aimed_table(report.aimed),
        CALL_GOALS=get_args(CallGoal),
        **{"HARDENED": HARDENED, "STEEPEST": STEEPEST, "STRIDES": STRIDES, "STARTS": STARTS},
    )


def _as(value: float | Undefined | None, form: str, without: str = "n/a") -> str:
    """A number in a form such as ``.1%``; the text `without` if there is no number."""
    return without if value is None or isinstance(value, Undefined) else format(value, form)


#: The goals of the attackers, in the order of the columns.
COLUMNS: Final[dict[Goal, str]] = {
    "absent-to-present": "to turn absent into present: passed",
    "present-to-absent": "to turn present into absent: passed",
    "hide": "to hide a finding: passed",
    "invent": "to invent one: passed",
}


def aimed_table(rows: Iterable[AimedRow]) -> str:
    """Table of a report's ``aimed`` attackers: how many pass, and how far the probability moves."""
    rows = list(rows)
    goals = [goal for goal in COLUMNS if any(row.goal == goal for row in rows)]
    found: dict[tuple[str, str, str], dict[Goal | None, str]] = {}
    for row in rows:
        key = (text(row.attacker), text(row.informed), f"{(row.epsilon or 0) * 255:.3g}/255")
        found.setdefault(key, {})[row.goal] = _passed(row)
    heading = ["attacker", "knows the gate", "largest change of a pixel", *(COLUMNS[goal] for goal in goals)]
    return markdown_table(heading, [[*key, *(cells.get(goal, "") for goal in goals)] for key, cells in found.items()])


def _passed(row: AimedRow) -> str:
    if row.evaded is None or not row.eligible:
        return "n/a"
    return f"{row.evaded / row.eligible:.0%} ({row.evaded} of {row.eligible}; {_as(row.probability_change, '.3f')})"
