"""What fired, and when: asked of Prometheus when all is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx

#: Points of the plot, by name: expressions on the deployed recording rules.
CURVES: Final = {
    "rejected": "sum(cxr:rejected:increase15m) / (sum(cxr:films:increase15m) > 5)",
    "extreme": "sum(cxr:extreme:increase15m) / (sum(cxr:films:increase15m) > 5)",
    "not judged": "sum(cxr:not_judged:increase15m) / (sum(cxr:sent:increase15m) > 5)",
}
CURVE_STEP: Final = 5.0  # real seconds: five minutes of the day
SHORTEST_GAP: Final = 3.0  # real seconds; an alert that comes again sooner went on
MOST_POINTS: Final = 10_000  # of Prometheus's limit of 11,000 a series

#: Unix time -> hours of the day.
Hours = Callable[[float], float]


def firing(port: int, began: float, ended: float, step: float, hours: Hours) -> list[dict[str, Any]]:
    """Every span in which an alert fired, in order: ``alert``, ``from`` and ``to`` in hours of the day.

    Parameters
    ----------
    began, ended : float
        Unix time.
    step : float
        Seconds between the evaluations of the rules.
    """
    spans = []
    for series in _range(port, 'max by (alertname) (ALERTS{alertstate="firing"})', began, ended, step):
        moments = [moment for moment, _ in series["values"]]
        first = last = moments[0]
        for moment in [*moments[1:], float("inf")]:
            if moment - last > SHORTEST_GAP:
                spans.append({"alert": series["metric"]["alertname"], "from": hours(first), "to": hours(last)})
                first = moment
            last = moment
    return sorted(spans, key=lambda span: span["from"])


def curves(port: int, began: float, ended: float, hours: Hours) -> dict[str, list[list[float]]]:
    """Name -> pairs of an hour of the day and a share."""
    return {
        name: [
            [round(hours(moment), 3), round(float(value), 4)]
            for series in _range(port, expression, began, ended, CURVE_STEP)
            for moment, value in series["values"]
        ]
        for name, expression in CURVES.items()
    }


def attributed(phases: list[dict[str, Any]], spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each phase with the alerts that began in it, how late, and whether these are the right ones and no others."""
    told = []
    for phase in phases:
        fired = [
            {
                "alert": span["alert"],
                "minutes_after_begin": round(60 * (span["from"] - phase["from"]), 1),
                "minutes_after_end": round(60 * (span["to"] - phase["to"]), 1),
            }
            for span in spans
            if phase["from"] <= span["from"] < phase["to"]
        ]
        right = {one["alert"] for one in fired} == set(phase["expected"])
        told.append(phase | {"fired": fired, "right": right})
    return told


def _range(port: int, expression: str, began: float, ended: float, step: float) -> list[dict[str, Any]]:
    if (ended - began) / step > MOST_POINTS:
        raise ValueError("Prometheus gives no more than 11,000 points of a series")
    query = {"query": expression, "start": f"{began:.3f}", "end": f"{ended:.3f}", "step": f"{step:g}"}
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query_range", params=query, timeout=60)
    answer.raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def now(port: int, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now."""
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression}, timeout=60)
    answer.raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result
