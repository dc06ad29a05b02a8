"""Minutes of films as the service's own metrics would show them, written as input series of ``promtool test rules``.

What is simulated are the scores; names, labels and buckets come from ``Metrics`` itself, so a rule that names another fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from app.http.problems import SENDER_FAULTS
from app.metrics import Metrics
from app.pipeline import LABELS, Bundle, Verdict, read_bundle, torch_backend
from tests.support.processes import ROOT

JOB = "cxr-gate"
BUNDLE = read_bundle(ROOT / "artifacts" / "paper")
BACKEND = torch_backend(BUNDLE.network, torch.device("cpu"))

#: One film or answer, counted in the metrics of one replica that serves the bundle.
Event = Callable[[Metrics, Bundle, np.random.Generator], None]


def film(margin: float, *, accepted: bool | None = None) -> Event:
    """A film that lies so many nats over the threshold; `accepted` if the gate does not do what it should."""

    def count(metrics: Metrics, bundle: Bundle, random: np.random.Generator) -> None:
        passed = margin >= 0 if accepted is None else accepted
        probabilities = np.full(len(LABELS), 0.1) if passed else None
        log_density = bundle.manifest.gate.threshold + margin
        metrics.count_judged(Verdict(passed, log_density, probabilities), bundle, "dicom")
        answered(200 if passed else 422)(metrics, bundle, random)

    return count


def clean(*, lowest: float = 0.0, accepted: bool | None = None) -> Event:
    """A film like the calibration films, of those over the quantile `lowest`."""

    def count(metrics: Metrics, bundle: Bundle, random: np.random.Generator) -> None:
        log_density = float(np.quantile(bundle.golden.calibration_scores, random.uniform(lowest, 1)))
        film(log_density - bundle.manifest.gate.threshold, accepted=accepted)(metrics, bundle, random)

    return count


def around(margin: float, spread: float) -> Event:
    """A film whose margin is normal, of this mean and standard deviation, in nats."""
    return lambda metrics, bundle, random: film(random.normal(margin, spread))(metrics, bundle, random)


def refused(slug: str) -> Event:
    """A film that was not judged."""

    def count(metrics: Metrics, bundle: Bundle, random: np.random.Generator) -> None:
        metrics.count_not_judged(slug, bundle.manifest.model_version, "dicom")
        answered(400)(metrics, bundle, random)

    return count


def answered(status: int, seconds: float = 0.1) -> Event:
    """An answer of /v1/score."""

    def count(metrics: Metrics, _: Bundle, __: np.random.Generator) -> None:
        metrics.requests.labels("/v1/score", str(status)).inc()
        metrics.request_seconds.labels("/v1/score").observe(seconds)

    return count


@dataclass
class Service:
    """Replicas scraped once a minute; ``series`` is what Prometheus would have stored of them."""

    replicas: int = 1
    bundle: Bundle = BUNDLE
    seed: int = 0
    minutes: int = 0
    series: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.start(self.bundle)
        self._scrape()

    def start(self, *bundles: Bundle) -> Service:
        """Begin anew, as after a restart: with a bundle for all replicas, or one for each."""
        self.bundles = list(bundles) * (self.replicas if len(bundles) == 1 else 1)
        self.metrics = [Metrics(SENDER_FAULTS) for _ in self.bundles]
        for metrics, bundle in zip(self.metrics, self.bundles, strict=True):
            metrics.describe(bundle, [BACKEND], 64)
            metrics.ready.set(1)
        return self

    def shadow(self, bundle: Bundle) -> Service:
        """Load a bundle beside the one that is served."""
        return self.set(lambda metrics: metrics.introduce(bundle))

    def promote(self, bundle: Bundle) -> Service:
        """Serve another bundle from now on, in the same processes: what was counted of the one before stays."""
        self.bundles = [bundle] * self.replicas
        return self.set(lambda metrics: metrics.describe(bundle, [BACKEND], 64))

    def run(self, minutes: int, films: Mapping[Event, float]) -> Service:
        """Let minutes pass, with so many of each event a minute (fractions add up), in turn over the replicas."""
        owed = dict.fromkeys(films, 0.0)
        number = 0
        for _ in range(minutes):
            for event, rate in films.items():
                owed[event] += rate
                while owed[event] >= 1:
                    owed[event] -= 1
                    event(self.metrics[number % self.replicas], self.bundles[number % self.replicas], self.random)
                    number += 1
            self._scrape()
        return self

    def set(self, change: Callable[[Metrics], Any]) -> Service:
        """Change every replica's gauges."""
        for metrics in self.metrics:
            change(metrics)
        return self

    def silent(self, minutes: int) -> Service:
        """Let minutes pass in which no replica answers."""
        for _ in range(minutes):
            self._store({f'up{{job="{JOB}",instance="{number}:8000"}}': "0" for number in range(self.replicas)})
        return self

    def input_series(self) -> list[dict[str, str]]:
        """As promtool wants them."""
        return [{"series": name, "values": " ".join(values)} for name, values in self.series.items()]

    def _scrape(self) -> None:
        seen = {}
        for number, metrics in enumerate(self.metrics):
            target = f'job="{JOB}",instance="{number}:8000"'
            seen[f"up{{{target}}}"] = "1"
            for family in metrics.registry.collect():
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        labels = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                        seen[f"{sample.name}{{{target}{labels}}}"] = f"{sample.value:g}"
        self._store(seen)

    def _store(self, seen: Mapping[str, str]) -> None:
        for name in {*self.series, *seen}:
            values = self.series.setdefault(name, ["_"] * self.minutes)
            # A series that a scrape no longer finds is stale at once.
            values.append(seen.get(name) or ("_" if values[-1:] in ([], ["_"], ["stale"]) else "stale"))
        self.minutes += 1
