"""Prometheus metrics of the forwarder. Labels hold no identifier of patient, study or film."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ForwardMetrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.instances = Counter(
            "cxr_forward_instances",
            "New instances done with: stored, already_stored (a repeat), refused, skipped (not asked for), gone, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.instances.labels("failed")  # begins at 0, so that an alert misses no first one
        self.given_up = Counter(
            "cxr_forward_given_up",
            "Films given up on, refused or failed for too long, each time it happens.",
            ["reason"],
            registry=self.registry,
        )
        self.given_up_dropped = Counter(
            "cxr_forward_given_up_dropped",
            "Films that left the list of those given up on because it was full, the oldest first.",
            registry=self.registry,
        )
        self.given_up_films = Gauge(
            "cxr_forward_given_up_films",
            "On the list of films given up on (cxr-gate given-up).",
            registry=self.registry,
        )
        self.postponed_films = Gauge(
            "cxr_forward_postponed_films", "Set aside, to be tried again by itself.", registry=self.registry
        )
        self.refusals = Counter(
            "cxr_forward_refusals", "Films that the service cannot score.", ["status", "reason"], registry=self.registry
        )
        self.retries = Counter("cxr_forward_retries", "Attempts that are made again.", registry=self.registry)
        self.in_flight = Gauge("cxr_forward_in_flight", "Instances in hand.", registry=self.registry)
        self.checkpoint = Gauge(
            "cxr_forward_checkpoint", "Change up to which all is done with.", registry=self.registry
        )
        self.backlog = Gauge(
            "cxr_forward_backlog_changes", "Orthanc's changes after the checkpoint.", registry=self.registry
        )
        self.found = Counter(
            "cxr_forward_found_instances",
            "Instances that Orthanc has, and of which its log of changes did not tell.",
            registry=self.registry,
        )
        self.restored = Counter(
            "cxr_forward_restored", "Times that Orthanc was found restored from a backup.", registry=self.registry
        )
        self.conflicts = Counter(
            "cxr_forward_report_conflicts",
            "Reports of somebody else's, or changed ones, that Orthanc has under the UID of a report.",
            registry=self.registry,
        )
        self.log_lost = Gauge(
            "cxr_forward_log_lost_timestamp_seconds",
            "When it was last noticed that Orthanc was restored, or that its log lacks what it has (Unix time); 0: never.",
            registry=self.registry,
        )
        self.last_success = Gauge(
            "cxr_forward_last_success_timestamp_seconds",
            "When Orthanc was last asked for changes with success, or a report was stored (Unix time).",
            registry=self.registry,
        )
