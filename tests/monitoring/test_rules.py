"""The rules hold to promtool; and of each kind of trouble exactly its own alert fires."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes import ROOT

from .simulated import BUNDLE, Event, Service, answered, around, clean, refused

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = (PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")
#: Films a minute of a busy hospital, and how the others look.
BUSY: Mapping[Event, float] = {clean(): 4}
ATTACKED = around(-6000, 2000)
NOISY = around(-100, 100)


def promtool(*arguments: str | Path) -> None:
    environment = {**os.environ, "GOGC": "400"}  # it lives for seconds: its garbage may lie
    done = subprocess.run(
        ["promtool", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expect_alerts(
    folder: Path,
    service: Service,
    *alerts: str,
    at: int | None = None,
    end: tuple[str, ...] | None = None,
    interval: str = "1m",
) -> None:
    """These alerts and no others fired at any minute; those fire at minute `at`, and those of `end` in the end, if given.

    `interval` is between two scrapes, and between two evaluations.
    """

    def expected(expression: str, minute: int, names: tuple[str, ...]) -> dict[str, object]:
        return {
            "expr": f"count by (alertname) ({expression})",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }

    last = service.minutes - 1
    ever = f'group by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{last + 1}m]))'
    now = 'group by (alertname) (ALERTS{alertstate="firing"})'
    tests = [expected(ever, last, alerts)]
    if at is not None:
        tests.append(expected(now, at, alerts))
    if end is not None:
        tests.append(expected(now, last, end))
    file = folder / "scenario.yml"
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(path) for path in RULES],
                "evaluation_interval": interval,
                "tests": [{"interval": interval, "input_series": service.input_series(), "promql_expr_test": tests}],
            }
        )
    )
    promtool("test", "rules", file)


def test_promtool_accepts_rules_and_configuration() -> None:
    promtool("check", "rules", "--lint-fatal", *RULES)
    promtool("check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml")


def test_a_quiet_day(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service().run(400, BUSY))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_twenty_quiet_days(tmp_path: Path, seed: int) -> None:
    """A day, a night without a film, and another day."""
    expect_alerts(tmp_path, Service(seed=seed).run(720, BUSY).run(480, {}).run(720, BUSY))


def test_restarts_are_quiet(tmp_path: Path) -> None:
    service = Service()
    for _ in range(6):
        service.run(40, BUSY).start(BUNDLE)
    expect_alerts(tmp_path, service.run(40, BUSY))


def test_a_few_odd_films_are_no_alarm(tmp_path: Path) -> None:
    service = Service().run(30, {}).run(4, {ATTACKED: 1}).run(60, {}).run(4, {NOISY: 1}).run(30, {})
    expect_alerts(tmp_path, service.run(4, {refused("malformed-image"): 1}).run(30, {}))


def test_a_quiet_site_of_few_films(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service().run(600, {clean(): 0.1}))


def test_attack_among_clean_films(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).run(60, {**BUSY, ATTACKED: 1})
    expect_alerts(tmp_path, service, "CxrAttackBurst", at=120 + 7)


def test_attack_alone(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service().run(120, {clean(): 0.1}).run(20, {ATTACKED: 2}), "CxrAttackBurst", at=120 + 5)


def test_noisy_scanner(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).run(60, {NOISY: 4})
    expect_alerts(tmp_path, service, "CxrScoreDrift", at=120 + 12)


@pytest.mark.parametrize("seed", range(2))
def test_two_noisy_scanners_of_four(tmp_path: Path, seed: int) -> None:
    """More is rejected, minutes before there are films enough to say that the whole spread has changed: which is told alone."""
    service = Service(seed=seed).run(120, BUSY).run(60, {clean(): 2, NOISY: 2})
    expect_alerts(tmp_path, service, "CxrScoreDrift", at=120 + 20)


def test_a_rise_that_nothing_explains_is_told_within_half_an_hour(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).run(60, {**BUSY, around(-300, 100): 1.5})
    expect_alerts(tmp_path, service, "CxrRejectionRateHigh", at=120 + 30)


@pytest.mark.parametrize("minutes", [40, 180])
def test_a_noisy_scanner_that_came_and_went(tmp_path: Path, minutes: int) -> None:
    """Its films stay in the windows of six hours; what is left of them there is no new trouble."""
    expect_alerts(tmp_path, Service().run(120, BUSY).run(minutes, {NOISY: 4}).run(380, BUSY), "CxrScoreDrift")


def test_one_noisy_scanner_of_four(tmp_path: Path) -> None:
    """Too little to say that the whole spread has changed, with 139 calibration films; enough to say that more is rejected."""
    service = Service().run(120, BUSY).run(120, {clean(): 3, NOISY: 1})
    expect_alerts(tmp_path, service, "CxrRejectionRateHigh", at=120 + 40)


def test_films_more_typical_than_expected_are_drift_too(tmp_path: Path) -> None:
    service = Service().run(60, BUSY).run(60, {clean(lowest=0.5): 4})
    expect_alerts(tmp_path, service, "CxrScoreDrift", at=60 + 20)


def test_noisy_scanner_and_attack_are_both_told(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).run(60, {NOISY: 4, ATTACKED: 1})
    expect_alerts(tmp_path, service, "CxrScoreDrift", "CxrAttackBurst", at=service.minutes - 1)


def test_more_rejections_without_drift(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).run(240, {**BUSY, around(-40, 10): 0.6})
    expect_alerts(tmp_path, service, "CxrRejectionRateHigh", at=service.minutes - 1)


def test_gate_that_stopped_rejecting(tmp_path: Path) -> None:
    service = Service().run(180, {clean(accepted=True): 4})
    expect_alerts(tmp_path, service, "CxrGateStuck", at=service.minutes - 1)


def test_gate_that_rejects_too_little(tmp_path: Path) -> None:
    service = Service().run(360, {clean(accepted=True): 4, around(-40, 10): 0.012})
    expect_alerts(tmp_path, service, "CxrRejectionRateLow", at=service.minutes - 1)


@pytest.mark.parametrize("slug", ["malformed-image", "unsupported-media-type", "malformed-request"])
def test_broken_sender(tmp_path: Path, slug: str) -> None:
    service = Service().run(120, BUSY).run(30, {**BUSY, refused(slug): 1})
    expect_alerts(tmp_path, service, "CxrBrokenSender", at=120 + 10)


def test_lateral_films_of_every_day_and_a_scanner_that_turns_films(tmp_path: Path) -> None:
    with_laterals = {**BUSY, refused("unsuitable-image"): 2}
    expect_alerts(tmp_path, (usual := Service().run(240, with_laterals)))
    turned = usual.run(40, {clean(): 2, refused("unsuitable-image"): 4})
    expect_alerts(tmp_path, turned, "CxrUnsuitableFilms", at=turned.minutes - 1)


def test_replicas_are_summed(tmp_path: Path) -> None:
    """Neither of the two has enough events alone."""
    service = Service(replicas=2).run(120, BUSY).run(10, {**BUSY, ATTACKED: 0.8})
    expect_alerts(tmp_path, service, "CxrAttackBurst", at=service.minutes - 1)


def test_a_threshold_from_training_films_promises_no_rate(tmp_path: Path) -> None:
    gate = BUNDLE.manifest.gate.model_copy(update={"threshold_rule": "training", "calibration_bound": 1.0})
    bundle = replace(BUNDLE, manifest=BUNDLE.manifest.model_copy(update={"gate": gate}))
    expect_alerts(tmp_path, Service(bundle=bundle).run(180, {**BUSY, around(-40, 10): 0.6}))
    expect_alerts(tmp_path, Service(bundle=bundle).run(180, {clean(accepted=True): 4}))


# The service.


def test_down(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service().run(30, BUSY).silent(10), "CxrDown", at=34)


def test_no_target(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service(replicas=0).run(10, {}), "CxrDown", at=9)


def test_not_ready(tmp_path: Path) -> None:
    service = Service().run(30, BUSY).set(lambda metrics: metrics.ready.set(0)).run(10, {answered(503): 5})
    expect_alerts(tmp_path, service, "CxrNotReady", at=34)


def test_told_503(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service().run(30, BUSY).run(15, {**BUSY, answered(503): 2}), "CxrSaturated", at=40)


def test_places_nearly_all_taken(tmp_path: Path) -> None:
    service = Service().run(30, BUSY).set(lambda metrics: metrics.waiting.set(60)).run(15, BUSY)
    expect_alerts(tmp_path, service, "CxrSaturated", at=44)


def test_slow(tmp_path: Path) -> None:
    service = Service().run(30, BUSY).run(15, {**BUSY, answered(200, seconds=8): 4})
    expect_alerts(tmp_path, service, "CxrLatencyHigh", at=44)


@pytest.mark.parametrize("status", [500, 504])
def test_faults(tmp_path: Path, status: int) -> None:
    expect_alerts(tmp_path, Service().run(30, BUSY).run(10, {**BUSY, answered(status): 1}), "CxrServerFaults", at=39)


def test_certificate(tmp_path: Path) -> None:
    service = Service().run(10, {})
    service.series['probe_ssl_earliest_cert_expiry{job="cxr-gate-tls",instance="https://gate"}'] = ["1000000"] * 11
    expect_alerts(tmp_path, service, "CxrCertificateExpires", at=10)


@pytest.mark.parametrize(("ends", "alerts"), [("1000000", ("CxrCertificateExpires",)), ("0", ()), ("9000000", ())])
def test_the_services_own_certificate(tmp_path: Path, ends: str, alerts: tuple[str, ...]) -> None:
    service = Service().run(10, BUSY)
    service.series['cxr_tls_certificate_expiry_timestamp_seconds{job="cxr-gate",instance="a"}'] = [ends] * 11
    expect_alerts(tmp_path, service, *alerts, at=10)


@pytest.mark.parametrize("answer", ["judged", "refused"])
def test_a_sequence_of_queries(tmp_path: Path, answer: str) -> None:
    """One such film is enough, and an hour later it is over."""
    service = Service().run(90, BUSY)
    name = f'cxr_query_sequence_films_total{{job="cxr-gate",instance="a",answer="{answer}"}}'
    service.series[name] = ["0"] * 20 + ["1"] * 71
    expect_alerts(tmp_path, service, "CxrQuerySequence", at=25, end=())


@pytest.mark.parametrize(("outcome", "alerts"), [("failed", ("CxrForwarderGaveUp",)), ("refused", ())])
def test_the_forwarder_gave_up(tmp_path: Path, outcome: str, alerts: tuple[str, ...]) -> None:
    """What the service refuses for good is told otherwise, and an hour later it is over."""
    service = Service().run(90, BUSY)
    name = f'cxr_forward_instances_total{{job="cxr-gate-forward",instance="forwarder",outcome="{outcome}"}}'
    service.series[name] = ["0"] * 20 + ["1"] * 71
    expect_alerts(tmp_path, service, *alerts, at=25, end=())


@pytest.mark.parametrize(("orphans", "alerts"), [(26, ("CxrQuarantineOrphans",)), (0, ())])
def test_films_that_the_record_does_not_know(tmp_path: Path, orphans: int, alerts: tuple[str, ...]) -> None:
    """After a restart with another record; an hour later it is over, though they lie aside still."""
    service = Service().run(90, BUSY).start(BUNDLE)
    service.set(lambda metrics: metrics.quarantine_orphans.set(orphans)).run(90, BUSY)
    expect_alerts(tmp_path, service, *alerts, at=95, end=())


def test_the_log_of_orthanc_was_lost(tmp_path: Path) -> None:
    """Told at the first scrape after it, and an hour later it is over."""
    service = Service().run(90, BUSY)
    name = 'cxr_forward_log_lost_timestamp_seconds{job="cxr-gate-forward",instance="forwarder"}'
    service.series[name] = ["_"] * 20 + ["1200"] * 71
    expect_alerts(tmp_path, service, "CxrForwarderLogLost", at=22, end=())


@pytest.mark.parametrize("name", ["cxr_report_conflicts_total", "cxr_forward_report_conflicts_total"])
def test_another_report_in_the_place_of_one(tmp_path: Path, name: str) -> None:
    """One is enough, and an hour later it is over."""
    service = Service().run(90, BUSY)
    service.series[name + '{job="cxr-gate",instance="a"}'] = ["0"] * 20 + ["1"] * 71
    expect_alerts(tmp_path, service, "CxrReportConflict", at=25, end=())


@pytest.mark.parametrize(("days", "alerts"), [(1, ("CxrRecordOld",)), (3, ()), (0, ())])
def test_entries_that_should_be_gone(tmp_path: Path, days: int, alerts: tuple[str, ...]) -> None:
    """An entry of the first hour, seen on the fourth day; without retention, and with a longer one, it may stay."""
    service = Service(replicas=0)
    labels = '{job="cxr-gate",instance="a"}'
    scrapes = 5000 // 30
    service.series["up" + labels] = ["1"] * scrapes
    service.series["cxr_record_retention_days" + labels] = [str(days)] * scrapes
    service.series["cxr_record_oldest_timestamp_seconds" + labels] = ["600"] * scrapes
    service.minutes = 30 * (scrapes - 1) + 1
    expect_alerts(tmp_path, service, *alerts, at=service.minutes - 1, interval="30m")


def test_a_report_that_waits(tmp_path: Path) -> None:
    """Minutes are no alarm: a server is restarted."""
    service = Service().run(10, BUSY)
    service.set(lambda metrics: metrics.results_oldest.set(1500)).run(10, BUSY)
    expect_alerts(tmp_path, service)
    expect_alerts(
        tmp_path, service.set(lambda metrics: metrics.results_oldest.set(1900)).run(8, BUSY), "CxrResultsOld", at=27
    )


@pytest.mark.parametrize("thread", ["record", "delivery"])
def test_a_thread_that_is_dead(tmp_path: Path, thread: str) -> None:
    service = Service().set(lambda metrics: metrics.thread_up.labels(thread).set(1)).run(10, BUSY)
    service.set(lambda metrics: metrics.thread_up.labels(thread).set(0)).run(5, BUSY)
    expect_alerts(tmp_path, service, "CxrThreadFailed", at=14)


def test_a_thread_that_failed_and_began_again(tmp_path: Path) -> None:
    service = Service().set(lambda metrics: metrics.thread_failures.labels("delivery")).run(10, BUSY)
    service.set(lambda metrics: metrics.thread_failures.labels("delivery").inc()).run(30, BUSY)
    expect_alerts(tmp_path, service, "CxrThreadFailed", at=15, end=())


OTHER = replace(BUNDLE, manifest=BUNDLE.manifest.model_copy(update={"model_version": "densenet121-mgm-other"}))


def test_bundle_changed(tmp_path: Path) -> None:
    """It is told for an hour, and a restart with the same bundle is not told."""
    service = Service().run(90, BUSY).start(BUNDLE).run(30, BUSY).start(OTHER).run(90, BUSY)
    expect_alerts(tmp_path, service, "CxrBundleChanged", at=125)


@pytest.mark.parametrize(
    ("films", "alert"),
    [({NOISY: 4}, "CxrScoreDrift"), ({clean(accepted=True): 4}, "CxrGateStuck")],
    ids=["drift", "stuck"],
)
def test_what_a_bundle_was_blamed_for_ends_with_it(tmp_path: Path, films: Mapping[Event, float], alert: str) -> None:
    service = Service().run(180, films).promote(OTHER).run(30, BUSY)
    expect_alerts(tmp_path, service, alert, "CxrBundleChanged", end=("CxrBundleChanged",))


def test_promotion_and_rollback(tmp_path: Path) -> None:
    """Told as a change, and as nothing else; the way back within the hour is to what was served an hour ago."""
    service = Service(replicas=2).run(120, BUSY).shadow(OTHER).run(30, BUSY).promote(OTHER).run(40, BUSY)
    expect_alerts(tmp_path, service, "CxrBundleChanged", at=150 + 5)
    expect_alerts(tmp_path, service.promote(BUNDLE).run(90, BUSY), "CxrBundleChanged", at=155)


def test_a_promoted_version_is_held_to_what_it_expects_itself(tmp_path: Path) -> None:
    service = Service().run(120, BUSY).shadow(OTHER).run(5, BUSY).promote(OTHER).run(40, {NOISY: 4})
    expect_alerts(tmp_path, service, "CxrBundleChanged", "CxrScoreDrift", at=125 + 12)


def test_replicas_of_two_bundles(tmp_path: Path) -> None:
    expect_alerts(tmp_path, Service(replicas=2).start(BUNDLE, OTHER).run(50, {}), "CxrBundlesDiffer", at=40)
