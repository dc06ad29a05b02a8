"""The example configuration of Alertmanager is valid, and tells those who can act."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.support.processes import ROOT

from .test_documents import ALERTS

CONFIGURATION = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
TOLD = {
    "attack": "security,radiology",
    "gate": "radiology",
    "scanner": "imaging",
    "sender": "pacs",
    "bundle": "machine-learning",
    "service": "operators",
}


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_configuration_is_valid() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIGURATION))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_reaches_those_who_can_act(alert: str) -> None:
    labels = {**ALERTS[alert]["labels"], "job": "cxr-gate", "alertname": alert}
    pairs = [f"{name}={value}" for name, value in labels.items()]
    told = amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", *pairs)
    assert told.split() == [TOLD[labels["concern"]]]


def test_what_is_inhibited_exists() -> None:
    text = str(yaml.safe_load(CONFIGURATION.read_text())["inhibit_rules"])
    named = {name for name in ALERTS if name in text}
    assert named == {"CxrDown", "CxrNotReady", "CxrSaturated", "CxrLatencyHigh", "CxrServerFaults"}
