"""The metrics of several replicas as one page: a scrape through a load balancer would see another replica each time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def merge_metrics(pages: Iterable[tuple[str, str]]) -> bytes:
    """Join pages in Prometheus' text format.

    Parameters
    ----------
    pages : iterable of (str, str)
        The name of a replica, and its page. Each of its samples gets the name as the label ``replica``.
    """
    families: dict[str, Metric] = {}
    for replica, page in pages:
        for family in text_string_to_metric_families(page):
            joined = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                joined.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
    return generate_latest(_Collected(families.values()))
