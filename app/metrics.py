"""Prometheus metrics; one registry an application, so that two in one process do not mix."""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, get_args

import torch
from prometheus_client import Histogram, Info
from prometheus_client.samples import Sample

from app import __version__
from app.metric_table import MetricTable, counter, gauge, metric
from app.pipeline import Backend, Bundle, Verdict
from app.pipeline.calls import Call
from app.pipeline.image import SourceKind

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Nats from the threshold: attacked films lie thousands below, and the answer itself reveals the side of 0. Finer buckets would
#: show a sender who reads them before and after a film its score, which is a way past the gate.
_MARGINS: Final = (-1000, 0)
#: Deciles: each holds a tenth of the clean films. The threshold lies within the first, so they do not reveal it.
_PERCENTILES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Of probabilities.
_DIFFERENCES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
#: Near-duplicates of a film.
_NEIGHBOURS: Final = (0, 1, 2, 3, 5, 7, 10, 20, 50, 100, 200, 500, 1000)
#: Why a connection was ended: a fault in the request line, headers or body; too many bytes; too late; or answers were not read.
CutReason = Literal["request-line", "headers", "body", "too-large", "late", "unread"]
REJECTED: Final = "rejected-as-adversarial"
UNKNOWN_KIND: Final = "unknown"


class CoarseHistogram(Histogram):
    """Buckets and a count, but no sum: the sum grows by a film's exact value, so it would reveal that value."""

    def _child_samples(self) -> Iterable[Sample]:
        return [sample for sample in super()._child_samples() if sample.name != "_sum"]


class Metrics(MetricTable):
    """All metrics of one application. Labels hold no identifier of patient, study or caller.

    Parameters
    ----------
    sender_faults : collection of str
        Names of the problems that are a sender's fault. Films that are not judged because of these are counted.
    """

    # HTTP.
    requests = counter("cxr_http_requests", "Answers by route and status.", ["route", "status"])
    request_seconds = metric(
        Histogram, "cxr_http_request_seconds", "From request to answer.", ["route"], buckets=_SECONDS
    )
    connections_cut = counter(
        "cxr_connections_cut",
        "Connections that the service ended: the bytes were no request, or came too late, or the caller did not read its answer.",
        ["reason"],
    )

    # Decisions and their films.
    decisions = counter(
        "cxr_decisions",
        "Films accepted, rejected, or not judged by their sender's fault; the reason is the problem's name.",
        ["decision", "reason", "model_version", "source_kind"],
    )
    calls = counter(
        "cxr_calls",
        "Accepted films on which a finding was called present, indeterminate or absent, or not called.",
        ["finding", "call", "model_version"],
    )
    heatmaps = counter(
        "cxr_heatmaps",
        "Heatmaps given, by whether some place of the film stands out for the finding.",
        ["localised", "model_version"],
    )
    stored_instances = counter(
        "cxr_store_instances", "Instances of STOW-RS requests: scored, answered from the record, or failed.", ["answer"]
    )
    missing_tags = counter(
        "cxr_missing_tags", "DICOM films without a tag that would say that they are frontal chest films.", ["tag"]
    )

    # Stages and decoding.
    stage_seconds = metric(
        Histogram,
        "cxr_stage_seconds",
        "Time in each stage: decode, preprocess and queue of a film, inference of a batch, shadow of a film once more.",
        ["stage"],
        buckets=_SECONDS,
    )
    decode_seconds = metric(
        Histogram,
        "cxr_decode_seconds",
        "Time to decode a film, by where: in a thread, or in a process of its own (compressed DICOM).",
        ["place"],
        buckets=_SECONDS,
    )
    decode_process_failures = counter(
        "cxr_decode_process_failures",
        "Decoding processes that gave no answer: crash, memory or cpu (over its limit), starved (killed with CPU time left).",
        ["reason"],
    )
    batch_size = metric(Histogram, "cxr_batch_size", "Images in a forward pass.", buckets=(1, 2, 4, 8, 16, 32, 64))

    # Admission and queues.
    waiting_limit = gauge("cxr_waiting_requests_limit", "Requests that may wait; further ones get 503.")
    waiting = gauge("cxr_waiting_requests", "Requests admitted and not yet answered.")
    waiting_bytes = gauge("cxr_waiting_bytes", "Bytes of their bodies that have arrived.")
    estimated_wait = gauge("cxr_estimated_wait_seconds", "Estimated seconds until the requests that wait now are done.")
    admissions_refused = counter(
        "cxr_admissions_refused",
        "Requests refused, most before their bodies were read: requests, bytes or wait over the limit, or not-ready.",
        ["reason"],
    )
    places_taken = counter(
        "cxr_places_taken",
        "Requests that got 503 while their body arrived, since it was slow or its caller had many, and another "
        "caller needed the place.",
    )
    queue_films = gauge(
        "cxr_queue_films",
        "Films that wait to be decoded in a thread or a process (decode-thread, decode-process), until their caller has "
        "fewer there (decode-caller), for a device (device), and for the version in shadow (shadow).",
        ["queue"],
    )
    wait_seconds = metric(Histogram, "cxr_wait_seconds", "From admission to the device.", buckets=_SECONDS)
    dropped_films = counter(
        "cxr_dropped_films",
        "Decoded films that were not judged, because the caller had left (cancelled) or the deadline passed (expired).",
        ["reason"],
    )

    # Devices.
    devices_in_service = gauge("cxr_devices_in_service", "Devices that take films and give them back.")
    device_failures = counter("cxr_device_failures", "Films that failed alone on a device.", ["device"])
    ready = gauge("cxr_ready", "1 while work is accepted and a device is in service.")

    # The gate, against what its bundle expects.
    log_density_margin = metric(
        CoarseHistogram,
        "cxr_log_density_margin_nats",
        "Log density minus the threshold, of every judged image; below 0 is rejected.",
        ["model_version"],
        buckets=_MARGINS,
    )
    clean_percentile = metric(
        CoarseHistogram,
        "cxr_clean_percentile_ratio",
        "Share of the bundle's calibration films whose log density is at most that of the judged image; "
        "uniform over films like those.",
        ["model_version"],
        buckets=_PERCENTILES,
    )
    false_rejection_target = gauge(
        "cxr_false_rejection_target_ratio", "The share of clean films rejected that was asked for.", ["model_version"]
    )
    false_rejection_lower = gauge(
        "cxr_false_rejection_lower_ratio",
        "The share on films like the calibration films is over this, with 95 % confidence.",
        ["model_version"],
    )
    false_rejection_upper = gauge(
        "cxr_false_rejection_upper_ratio",
        "The share on films like the calibration films is below this, with 95 % confidence.",
        ["model_version"],
    )
    calibration_films = gauge(
        "cxr_calibration_films", "Films that the threshold and the percentiles come from.", ["model_version"]
    )
    bundle_loaded = gauge(
        "cxr_bundle_loaded_timestamp_seconds", "When the bundle was proven and taken into service.", ["model_version"]
    )

    # Reports to the DICOMweb server.
    results = counter("cxr_results", "Reports to the DICOMweb server, by outcome.", ["outcome"])
    result_failures = counter("cxr_result_failures", "Failed attempts to deliver a report.")
    results_waiting = gauge("cxr_results_waiting", "Reports in the outbox.")
    results_oldest = gauge(
        "cxr_results_oldest_seconds", "Seconds for which the oldest report in the outbox has waited."
    )
    result_conflicts = counter(
        "cxr_report_conflicts",
        "Reports that the DICOMweb server has under the UID of one of ours, but that somebody else wrote or changed.",
    )

    # Threads.
    thread_up = gauge("cxr_thread_up", "1 while a thread that the service needs lives.", ["thread"])
    thread_failures = counter(
        "cxr_thread_failures", "Errors that ended the work of a thread, which began again.", ["thread"]
    )

    # The record.
    record_failures = counter("cxr_record_failures", "Decisions that could not be written to the record.")
    record_head = gauge("cxr_record_head", "Number of the newest entry that this process wrote.")
    record_oldest = gauge(
        "cxr_record_oldest_timestamp_seconds",
        "When the oldest entry was written, as of the last run of retention (Unix time); 0: no entry, or no retention.",
    )
    record_days = gauge("cxr_record_retention_days", "Days after which entries are removed; 0: never.")

    # The version in shadow.
    shadow_decisions = counter(
        "cxr_shadow_decisions",
        "Films that the version in shadow judged after the active one, by what each decided.",
        ["shadow_version", "active", "shadow"],
    )
    shadow_difference = metric(
        CoarseHistogram,
        "cxr_shadow_probability_difference",
        "The largest absolute difference of a probability, of films that both versions accepted.",
        ["shadow_version"],
        buckets=_DIFFERENCES,
    )
    shadow_dropped = counter(
        "cxr_shadow_dropped", "Films that the shadow did not judge, because too many waited for it.", ["shadow_version"]
    )
    shadow_errors = counter("cxr_shadow_errors", "Films that the shadow failed on.", ["shadow_version"])

    # The quarantine.
    quarantine_films = gauge(
        "cxr_quarantine_films", "Rejected films that are kept, by what was decided on them.", ["state"]
    )
    quarantine_bytes = gauge("cxr_quarantine_bytes", "Bytes of all kept films' files.")
    quarantine_orphans = gauge("cxr_quarantine_orphans", "Films that lie aside, since the record does not know them.")
    quarantine_removed = counter(
        "cxr_quarantine_removed", "Films that were removed: for their age, or for room.", ["reason"]
    )
    quarantine_decisions = counter("cxr_quarantine_decisions", "Films that were released or confirmed.", ["decision"])
    quarantine_failures = counter("cxr_quarantine_failures", "Rejected films that could not be kept.")

    # Attacks by queries.
    near_duplicates = metric(
        CoarseHistogram,
        "cxr_near_duplicate_films",
        "For each new film: how many other films of its caller differ from it by very little.",
        buckets=_NEIGHBOURS,
    )
    query_sequence_films = counter(
        "cxr_query_sequence_films",
        "New films with so many near-duplicates that they look like an attack by queries: judged, or refused.",
        ["answer"],
    )

    # Certificates and keys; what runs.
    tls_certificate_ends = gauge(
        "cxr_tls_certificate_expiry_timestamp_seconds",
        "When the service's own certificate, or one of its chain, ends (Unix time); 0: it has none.",
    )
    oidc_keys_fetched = gauge(
        "cxr_oidc_keys_timestamp_seconds",
        "When the identity provider's keys were last fetched (Unix time); 0: there is no provider, or none came.",
    )
    build = metric(Info, "cxr_build", "Versions.")

    def __init__(self, sender_faults: Collection[str] = ()) -> None:
        super().__init__()
        self._sender_faults = sender_faults
        for reason in get_args(CutReason):
            self.connections_cut.labels(reason)
        for answer in ("judged", "refused"):
            self.query_sequence_films.labels(answer)

    def count_judged(self, verdict: Verdict, bundle: Bundle, source_kind: SourceKind) -> None:
        """Count a film that went through the network and the gate."""
        manifest = bundle.manifest
        version = manifest.model_version
        self.log_density_margin.labels(version).observe(verdict.log_density - manifest.gate.threshold)
        self.clean_percentile.labels(version).observe(bundle.golden.clean_percentile(verdict.log_density))
        if verdict.probabilities is None:
            self.decisions.labels("rejected", REJECTED, version, source_kind).inc()
            return
        self.decisions.labels("accepted", "none", version, source_kind).inc()
        for finding, call in zip(manifest.findings, bundle.calls.words(verdict.probabilities), strict=True):
            self.calls.labels(finding.name, call, version).inc()

    def count_heatmap(self, localised: bool, version: str) -> None:
        """Count a heatmap that is given."""
        self.heatmaps.labels("yes" if localised else "no", version).inc()

    def introduce_shadow(self, version: str) -> None:
        """Begin a shadow's counters at 0."""
        for active in ("accepted", "rejected"):
            for shadow in ("accepted", "rejected", "not_judged"):
                self.shadow_decisions.labels(version, active, shadow)
        self.shadow_difference.labels(version)
        self.shadow_dropped.labels(version)
        self.shadow_errors.labels(version)

    def count_not_judged(self, slug: str, model_version: str, source_kind: str) -> None:
        """Count a film that was refused by its sender's fault; other problems are in the answers by status alone."""
        if slug in self._sender_faults:
            self.decisions.labels("not_judged", slug, model_version, source_kind).inc()

    def describe(self, bundle: Bundle, backends: Sequence[Backend], max_waiting: int) -> None:
        """Set the metrics of the bundle and the backends that are served."""
        version = bundle.manifest.model_version
        self.build.info(
            {
                "version": __version__,
                "model_version": version,
                "backend": "; ".join(backend.description for backend in backends),
                "device": backends[0].device.type,
                "torch": torch.__version__,
                "python": platform.python_version(),
            }
        )
        self.waiting_limit.set(max_waiting)
        self.bundle_loaded.labels(version).set(time.time())
        self.introduce(bundle)

    def introduce(self, bundle: Bundle) -> None:
        """Begin a bundle's counters at 0 before it is served, or their first increments would be lost; set its expected rates."""
        manifest = bundle.manifest
        version, gate = manifest.model_version, manifest.gate
        self.false_rejection_target.labels(version).set(gate.target_false_rejection_rate)
        self.false_rejection_lower.labels(version).set(gate.calibration_lower_bound)
        self.false_rejection_upper.labels(version).set(gate.calibration_bound)
        self.calibration_films.labels(version).set(gate.calibration_n)
        self.log_density_margin.labels(version)
        self.clean_percentile.labels(version)
        for localised in ("yes", "no"):
            self.heatmaps.labels(localised, version)
        for finding in manifest.findings:
            for call in get_args(Call):
                self.calls.labels(finding.name, call, version)
        kinds: Sequence[str] = get_args(SourceKind)
        for kind in kinds:
            self.decisions.labels("accepted", "none", version, kind)
            self.decisions.labels("rejected", REJECTED, version, kind)
        for kind in (*kinds, UNKNOWN_KIND):
            for slug in self._sender_faults:
                self.decisions.labels("not_judged", slug, version, kind)
