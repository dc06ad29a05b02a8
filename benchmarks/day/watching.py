"""What fired, and when: asked of Prometheus when all is over."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx

from benchmarks.day.traffic import Traffic

#: Points of the plot, by name: expressions on the deployed recording rules.
CURVES: Final = {
    "rejected": "sum(cxr:rejected:increase15m) / (sum(cxr:films:increase15m) > 5)",
    "extreme": "sum(cxr:extreme:increase15m) / (sum(cxr:films:increase15m) > 5)",
    "not judged": "sum(cxr:not_judged:increase15m) / (sum(cxr:sent:increase15m) > 5)",
}
CURVE_STEP: Final = 5.0  # real seconds: five minutes of the day
SHORTEST_GAP: Final = 3.0  # real seconds; an alert that comes again sooner went on
MOST_POINTS: Final = 10_000  # of Prometheus's limit of 11,000 a series


def seen(port: int, traffic: Traffic, step: float) -> tuple[list[dict[str, Any]], dict[str, list[list[float]]]]:
    """Spans in which alerts fired, and the curves, from the day's begin to now.

    Parameters
    ----------
    step : float
        Seconds between the evaluations of the rules.

    Returns
    -------
    list of dict
        ``alert``, ``from`` and ``to`` in hours of the day, in order.
    dict
        Name -> pairs of an hour of the day and a share.
    """
    spans = []
    for series in _range(port, 'max by (alertname) (ALERTS{alertstate="firing"})', traffic.began, step):
        moments = [moment for moment, _ in series["values"]]
        first = last = moments[0]
        for moment in [*moments[1:], float("inf")]:
            if moment - last > SHORTEST_GAP:
                hours = {"from": round(traffic.hours(first), 3), "to": round(traffic.hours(last), 3)}
                spans.append({"alert": series["metric"]["alertname"], **hours})
                first = moment
            last = moment
    curves = {
        name: [
            [round(traffic.hours(moment), 3), round(float(value), 4)]
            for series in _range(port, expression, traffic.began, CURVE_STEP)
            for moment, value in series["values"]
        ]
        for name, expression in CURVES.items()
    }
    return sorted(spans, key=lambda span: span["from"]), curves


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


def _range(port: int, expression: str, began: float, step: float) -> list[dict[str, Any]]:
    ended = time.time()
    if (ended - began) / step > MOST_POINTS:
        raise ValueError("Prometheus gives no more than 11,000 points of a series")
    query = {"query": expression, "start": f"{began:.3f}", "end": f"{ended:.3f}", "step": f"{step:g}"}
    return _asked(port, "query_range", query)


def now(port: int, expression: str) -> list[dict[str, Any]]:
    """What an expression gives now."""
    return _asked(port, "query", {"query": expression})


def _asked(port: int, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=query, timeout=60)
    answer.raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result
