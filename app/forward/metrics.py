"""Prometheus metrics of the forwarder. Labels hold no identifier of patient, study or film."""

from __future__ import annotations

from app.metric_table import MetricTable, counter, gauge


class ForwardMetrics(MetricTable):
    """All of them."""

    instances = counter(
        "cxr_forward_instances",
        "New instances done with: stored, already_stored (a repeat), refused, skipped (not asked for), gone, failed.",
        ["outcome"],
    )
    given_up = counter(
        "cxr_forward_given_up", "Films given up on, refused or failed for too long, each time it happens.", ["reason"]
    )
    given_up_dropped = counter(
        "cxr_forward_given_up_dropped",
        "Films that left the list of those given up on because it was full, the oldest first.",
    )
    given_up_films = gauge("cxr_forward_given_up_films", "On the list of films given up on (cxr-gate given-up).")
    postponed_films = gauge("cxr_forward_postponed_films", "Set aside, to be tried again by itself.")
    refusals = counter("cxr_forward_refusals", "Films that the service cannot score.", ["status", "reason"])
    retries = counter("cxr_forward_retries", "Attempts that are made again.")
    in_flight = gauge("cxr_forward_in_flight", "Instances in hand.")
    checkpoint = gauge("cxr_forward_checkpoint", "Change up to which all is done with.")
    backlog = gauge("cxr_forward_backlog_changes", "Orthanc's changes after the checkpoint.")
    found = counter(
        "cxr_forward_found_instances", "Instances that Orthanc has, and of which its log of changes did not tell."
    )
    restored = counter("cxr_forward_restored", "Times that Orthanc was found restored from a backup.")
    conflicts = counter(
        "cxr_forward_report_conflicts",
        "Reports of somebody else's, or changed ones, that Orthanc has under the UID of a report.",
    )
    log_lost = gauge(
        "cxr_forward_log_lost_timestamp_seconds",
        "When it was last noticed that Orthanc was restored, or that its log lacks what it has (Unix time); 0: never.",
    )
    last_success = gauge(
        "cxr_forward_last_success_timestamp_seconds",
        "When Orthanc was last asked for changes with success, or a report was stored (Unix time).",
    )

    def __init__(self) -> None:
        super().__init__()
        self.instances.labels("failed")  # begins at 0, so that an alert misses no first one
