"""Prometheus metrics; one registry an application, so that two in one process do not mix."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from app import __version__
from app.pipeline import Backend, Verdict
from app.pipeline.image import SourceKind
from app.pipeline.manifest import Manifest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Nats from the threshold; clean films spread over hundreds, attacked ones lie thousands below.
_MARGINS = (-10000, -3000, -1000, -500, -200, -100, -50, -20, 0, 20, 50, 100, 200, 300, 500, 1000)


class Metrics:
    """All metrics of one application. Labels hold no identifier of patient, study or caller."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cxr_http_requests", "Answers by route and status.", ["route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "cxr_http_request_seconds", "From request to answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.decisions = Counter(
            "cxr_decisions", "Images judged.", ["decision", "model_version", "source_kind"], registry=self.registry
        )
        self.refusals = Counter(
            "cxr_input_refusals", "Images not judged, by the kind of error.", ["reason"], registry=self.registry
        )
        self.stored_instances = Counter(
            "cxr_store_instances",
            "Instances of STOW-RS requests: scored, answered from the record, or failed.",
            ["answer"],
            registry=self.registry,
        )
        self.missing_tags = Counter(
            "cxr_missing_tags",
            "DICOM films that lack a tag which would say that they are frontal chest films.",
            ["tag"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "cxr_stage_seconds",
            "Time in each stage: decode, preprocess and queue of a film, inference of a batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decode_seconds = Histogram(
            "cxr_decode_seconds",
            "Time to decode a film, by where: in a thread, or in a process of its own (compressed DICOM).",
            ["place"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decode_process_failures = Counter(
            "cxr_decode_process_failures",
            "Decoding processes that gave no answer: crash, memory (its limit), timeout (killed).",
            ["reason"],
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "cxr_batch_size", "Images in a forward pass.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.waiting = Gauge("cxr_waiting_requests", "Admitted and not yet answered.", registry=self.registry)
        self.waiting_bytes = Gauge(
            "cxr_waiting_bytes", "Bytes of bodies, held or announced, of those.", registry=self.registry
        )
        self.estimated_wait = Gauge(
            "cxr_estimated_wait_seconds", "Until what waits now is done, as estimated.", registry=self.registry
        )
        self.admissions_refused = Counter(
            "cxr_admissions_refused",
            "Requests refused before their bodies were read: requests, bytes or wait over the limit, or not-ready.",
            ["reason"],
            registry=self.registry,
        )
        self.queue_films = Gauge(
            "cxr_queue_films",
            "Films that wait to be decoded in a thread or a process (decode-thread, decode-process), and for a device (device).",
            ["queue"],
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            "cxr_wait_seconds", "From admission to the device.", buckets=_SECONDS, registry=self.registry
        )
        self.dropped_films = Counter(
            "cxr_dropped_films",
            "Decoded films that were not judged, because the caller had left (cancelled) or the deadline passed (expired).",
            ["reason"],
            registry=self.registry,
        )
        self.devices_in_service = Gauge(
            "cxr_devices_in_service", "Devices that take films and give them back.", registry=self.registry
        )
        self.device_failures = Counter(
            "cxr_device_failures", "Films that failed alone on a device.", ["device"], registry=self.registry
        )
        self.ready = Gauge("cxr_ready", "1 while work is accepted and a device is in service.", registry=self.registry)
        self.log_density_margin = Histogram(
            "cxr_log_density_margin_nats",
            "Log density less the threshold, of every judged image; below 0 is rejected.",
            buckets=_MARGINS,
            registry=self.registry,
        )
        self.results = Counter(
            "cxr_results",
            "Reports to the DICOMweb server, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.result_failures = Counter(
            "cxr_result_failures", "Attempts to deliver a report that failed.", registry=self.registry
        )
        self.results_waiting = Gauge("cxr_results_waiting", "Reports in the outbox.", registry=self.registry)
        self.record_failures = Counter(
            "cxr_record_failures", "Decisions that could not be written to the record.", registry=self.registry
        )
        self.record_head = Gauge(
            "cxr_record_head", "Number of the newest entry that this process wrote.", registry=self.registry
        )
        self.build = Info("cxr_build", "Versions.", registry=self.registry)

    def count_judged(self, verdict: Verdict, manifest: Manifest, source_kind: SourceKind) -> None:
        """Count a film that went through the network and the gate."""
        self.log_density_margin.observe(verdict.log_density - manifest.gate.threshold)
        decision = "accepted" if verdict.accepted else "rejected"
        self.decisions.labels(decision, manifest.model_version, source_kind).inc()

    def describe(self, manifest: Manifest, backends: Sequence[Backend]) -> None:
        """Set the build information once the bundle is loaded."""
        self.build.info(
            {
                "version": __version__,
                "model_version": manifest.model_version,
                "backend": "; ".join(backend.description for backend in backends),
                "device": backends[0].device.type,
                "torch": torch.__version__,
                "python": platform.python_version(),
            }
        )
