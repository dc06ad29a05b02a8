"""Prometheus metrics of the forwarder. Labels hold no identifier of patient, study or film."""

from __future__ import annotations

from app.metric_table import MetricTable, counter, gauge


class ForwardMetrics(MetricTable):
    """All of them."""

    instances = counter(
        "cxr_forward_instances",
        "New instances that are finished: stored, already_stored (a repeat), refused, skipped (another modality), gone, failed.",
        ["outcome"],
    )
    given_up = counter(
        "cxr_forward_given_up", "Films given up on, refused or failed for too long, each time it happens.", ["reason"]
    )
    given_up_dropped = counter(
        "cxr_forward_given_up_dropped",
        "Films that left the list of those given up on because it was full, the oldest first.",
    )
    given_up_films = gauge("cxr_forward_given_up_films", "Films on the list of films given up on (cxr-gate given-up).")
    postponed_films = gauge(
        "cxr_forward_postponed_films", "Films set aside, which the forwarder will try again by itself."
    )
    refusals = counter("cxr_forward_refusals", "Films that the service cannot score.", ["status", "reason"])
    retries = counter("cxr_forward_retries", "Attempts that were made again.")
    in_flight = gauge("cxr_forward_in_flight", "Instances that the forwarder is working on.")
    checkpoint = gauge("cxr_forward_checkpoint", "Number of the change up to which everything is finished.")
    backlog = gauge("cxr_forward_backlog_changes", "Orthanc's changes after the checkpoint.")
    found = counter(
        "cxr_forward_found_instances", "Instances that Orthanc has, but that its log of changes did not name."
    )
    restored = counter("cxr_forward_restored", "Times that Orthanc turned out to be restored from a backup.")
    conflicts = counter(
        "cxr_forward_report_conflicts",
        "Reports that Orthanc has under the UID of one of ours, but that somebody else wrote or changed.",
    )
    log_lost = gauge(
        "cxr_forward_log_lost_timestamp_seconds",
        "When the forwarder last noticed that Orthanc was restored, or that its log has a gap (Unix time); 0: never.",
    )
    last_success = gauge(
        "cxr_forward_last_success_timestamp_seconds",
        "When Orthanc last answered with its changes, or a report was stored (Unix time).",
    )

    def __init__(self) -> None:
        super().__init__()
        self.instances.labels("failed")  # begins at 0, so that an alert misses no first one
