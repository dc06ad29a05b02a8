"""A real Prometheus with the rules that operators copy, and real services in front of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.films import dicom, half, png
from tests.support.processes import ROOT, Process, free_port, tool
from tests.support.served import Served, assert_accepted, assert_problem
from tests.support.waiting import eventually

Start = Callable[..., AbstractContextManager[Served]]

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "cxr-gate.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
ACCEPTED, REJECTED, MALFORMED = 4, 8, 2
START_SECONDS = 30.0


@dataclass(frozen=True)
class Prometheus:
    """One that scrapes and evaluates every second."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        response = self.client.get("/api/v1/query", params={"query": expression})
        assert response.status_code == 200, response.text
        result: list[dict[str, Any]] = response.json()["data"]["result"]
        return result

    def value(self, expression: str) -> float:
        """Of an expression with one result."""
        (sample,) = self.query(expression)
        return float(sample["value"][1])

    def until(self, expression: str) -> None:
        """Wait until an expression gives anything."""
        eventually(lambda: self.query(expression), START_SECONDS, lambda: f"{expression} gave nothing", pause=0.1)


def configure(folder: Path, services: list[Served]) -> Path:
    """The operators' own files, with these targets, and faster."""
    rules = []
    for name in ("recording.yml", "alerts.yml"):
        content = yaml.safe_load((PROMETHEUS / name).read_text())
        for group in content["groups"]:
            group.pop("interval", None)
        (folder / name).write_text(yaml.safe_dump(content, width=1000))
        rules.append(name)
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert configuration["rule_files"] == rules
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    del configuration["alerting"]
    (job,) = (job for job in configuration["scrape_configs"] if job["job_name"] == "cxr-gate")
    job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}" for service in services]}]
    configuration["scrape_configs"] = [job]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    return file


@pytest.fixture(scope="module")
def replica(start: Start) -> Iterator[Served]:
    """A second process of the bundle that `service` serves."""
    with start() as served:
        yield served


@pytest.fixture(scope="module")
def prometheus(
    service: Served, replica: Served, rejecting: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """It has scraped the three services before, while and after they were sent films."""
    folder = tmp_path_factory.mktemp("prometheus")
    services = [service, replica, rejecting]
    configuration = configure(folder, services)
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    program = Process(command, folder / "log", dict(os.environ))
    with program.running(), httpx.Client(base_url=f"http://{address}", timeout=30) as client:
        program.await_answer(lambda: client.get("/-/ready"), START_SECONDS)
        server = Prometheus(client)
        server.until("count(cxr_build_info) == 3")
        send_films(services)
        server.until(f"sum(cxr_decisions_total) == {sum(map(decisions, services))}")
        server.until('ALERTS{alertname="CxrAttackBurst", alertstate="firing"}')
        yield server


def send_films(services: list[Served]) -> None:
    accepting, rejecting = services[:2], services[2]
    for each in accepting:
        for seed in range(ACCEPTED - 1):
            assert_accepted(each.post(png(seed)))
        assert_accepted(each.post(dicom(ViewPosition=None), "application/dicom"))
        for _ in range(MALFORMED):
            assert_problem(each.post(half(png)), 400)
    for seed in range(REJECTED):
        assert_problem(rejecting.post(png(seed)), 422)


def decisions(service: Served) -> float:
    """All that a service has counted, by its own page."""
    page = service.get("/metrics").text
    return sum(float(value) for value in re.findall(r"^cxr_decisions_total\{.*\} (\S+)$", page, re.MULTILINE))


def test_processes_are_summed(prometheus: Prometheus, service: Served, replica: Served) -> None:
    """One bundle on two ports: the rules count the films of both, and the gauges of the bundle once."""
    version = service.get("/v1/model").json()["model_version"]
    assert replica.get("/v1/model").json()["model_version"] == version
    each = f'cxr_decisions_total{{decision="accepted", model_version="{version}"}}'
    assert prometheus.value(f"count(sum by (instance) ({each}))") == 2
    assert prometheus.value(f"sum(increase({each}[15m]))") >= 2 * ACCEPTED
    films = prometheus.value(f'cxr:films:increase15m{{model_version="{version}"}}')
    assert films == pytest.approx(prometheus.value(f"sum(increase({each}[15m]))"), rel=0.5)
    assert films >= 2 * ACCEPTED
    assert prometheus.value(f'max by (model_version) (cxr_calibration_films{{model_version="{version}"}})') == 2


def test_every_rule_is_evaluated_without_fault(prometheus: Prometheus) -> None:
    groups = prometheus.client.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


def test_an_alert_says_what_it_is_in_words(prometheus: Prometheus) -> None:
    alerts = prometheus.client.get("/api/v1/alerts").json()["data"]["alerts"]
    (burst,) = (alert for alert in alerts if alert["labels"]["alertname"] == "CxrAttackBurst")
    assert re.fullmatch(r"\d+ films in 15 minutes scored where attacked films score", burst["annotations"]["summary"])
    for alert in alerts:
        assert "error expanding" not in str(alert["annotations"])


@pytest.mark.parametrize("expression", QUERIES)
def test_dashboard_query_gives_data(prometheus: Prometheus, expression: str) -> None:
    for variable, value in {"$job": "cxr-gate", "$__rate_interval": "1m", "$__range": "15m"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    prometheus.until(f"({expression}) == ({expression})")  # anything that is a number; groups of rules take turns


def test_dashboard_is_whole() -> None:
    """What Grafana asks of a provisioned dashboard: unique ids, a place for each panel, a variable for the data source."""
    assert DASHBOARD["uid"] == "cxr-gate"
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query"}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert 'job="$job"' in target["expr"], panel["title"]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
