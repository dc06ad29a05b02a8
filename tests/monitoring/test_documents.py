"""docs/monitoring.md and docs/runbook.md name what there is, and all of it."""

from __future__ import annotations

import json
import re

import yaml

from app.forward.metrics import ForwardMetrics
from app.http.problems import PROBLEMS, SENDER_FAULTS
from app.metrics import REJECTED, Metrics
from tests.support.processes import ROOT

METRICS = (ROOT / "docs" / "monitoring.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


def exported() -> dict[str, str]:
    """Every metric of the service and of the forwarder, and its type."""
    return {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, ""): family.type
        for registry in (Metrics().registry, ForwardMetrics().registry)
        for family in registry.collect()
    }


def test_every_metric_is_documented_with_its_type() -> None:
    told = {
        name: kind
        for names, kind in re.findall(r"^\| (`cxr_.*?`) \| (\w+) \|", METRICS, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == exported()


def test_every_reason_is_documented_and_has_its_page() -> None:
    section = METRICS[METRICS.index("### Decisions") :]
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", section.split("\n\n")[2])) == {*SENDER_FAULTS, REJECTED}
    assert set(PROBLEMS) >= {*SENDER_FAULTS, REJECTED}


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = re.split(r"^## (Cxr\w+)\n", RUNBOOK, flags=re.MULTILINE)[1:]
    assert set(sections[::2]) == set(ALERTS)
    for name, text in zip(sections[::2], sections[1::2], strict=True):
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Means", "Look", "Do"], name
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        assert set(rule["labels"]) == {"severity", "concern"}


def test_what_the_runbook_names_exists() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "cxr-gate.json").read_text())
    titles = {panel["title"] for panel in dashboard["panels"]}
    named = {name.replace("\n", " ") for name in re.findall(r"(?<!\*)\*([A-Z][^*]{8,})\*(?!\*)", RUNBOOK)}
    assert len(named) > 8
    assert named <= titles
    metrics = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"cxr_\w+", RUNBOOK)}
    assert metrics <= exported().keys()
    assert set(re.findall(r"\bCxr[A-Z]\w+", RUNBOOK)) == set(ALERTS)
