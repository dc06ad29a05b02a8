"""Metrics that a class declares: a table of names and meanings, from which each object makes its own metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge

Metric = TypeVar("Metric")


def metric(kind: Callable[..., Metric], name: str, meaning: str, labels: Sequence[str] = (), **options: Any) -> Metric:
    """Declare a metric in the body of a ``MetricTable``; the arguments are those of `kind`."""
    return cast(Metric, partial(kind, name, meaning, labels, **options))


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    """Declare a counter."""
    return metric(Counter, name, meaning, labels)


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    """Declare a gauge."""
    return metric(Gauge, name, meaning, labels)


class MetricTable:
    """Metrics in a registry of their own, so that two tables in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for attribute, declared in vars(type(self)).items():
            if isinstance(declared, partial):
                setattr(self, attribute, declared(registry=self.registry))
