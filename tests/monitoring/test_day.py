"""The scripted day: its configuration is the deployed one, its page is its report's, and (slow) it is lived through."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.day import compress, page, plan
from benchmarks.day.watching import attributed
from tests.support.processes import ROOT

REPORT = ROOT / "reports" / "day"
DURATION = re.compile(r"(?<![\w:-])(\d+)(ms|s|m|h|d)\b")  # in a name, as cxr-films-15m, it is none


def milliseconds(duration: str) -> int:
    number, unit = DURATION.fullmatch(duration).groups()
    return int(number) * compress.MILLISECONDS[unit]


def leaves(content: object) -> list[str]:
    """Every value of a YAML file, in order."""
    if isinstance(content, dict | list):
        below = content.items() if isinstance(content, dict) else enumerate(content)
        return [leaf for _, child in sorted(below) for leaf in leaves(child)]
    return [str(content)]


@pytest.mark.parametrize("name", compress.RULE_FILES)
def test_rules_are_the_deployed_ones_but_for_their_durations(name: str) -> None:
    deployed = yaml.safe_load((ROOT / "deploy" / "prometheus" / name).read_text())
    before, after = leaves(deployed), leaves(compress.rules(deployed, plan.FACTOR))
    after = [leaf.replace("* 5 >= ", "* 300 >= ") for leaf in after]  # five minutes, in seconds
    assert [DURATION.sub("", leaf) for leaf in after] == [DURATION.sub("", leaf) for leaf in before]
    was, now = ([found[0] for leaf in each for found in DURATION.finditer(leaf)] for each in (before, after))
    assert was
    assert [milliseconds(one) for one in was] == [plan.FACTOR * milliseconds(one) for one in now]


def test_prometheus_and_alertmanager_take_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    prometheus = compress.write_prometheus(tmp_path, plan.FACTOR, 8000, 9093, "key")
    alertmanager = compress.write_alertmanager(tmp_path, plan.FACTOR, 9000)
    for check in (["promtool", "check", "config", prometheus], ["amtool", "check-config", alertmanager]):
        done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("duration", ["15", "1h30m", "1w", "31ms"])
def test_what_cannot_be_divided_is_an_error(duration: str) -> None:
    with pytest.raises(ValueError, match=duration):
        compress.shorter(duration, 60)


def test_an_alert_counts_for_the_phase_in_which_it_begins() -> None:
    phases = [
        {"name": "quiet", "from": 0.0, "to": 2.0, "expected": []},
        {"name": "attack", "from": 2.0, "to": 3.0, "expected": ["CxrAttackBurst"]},
        {"name": "quiet again", "from": 3.0, "to": 4.0, "expected": []},
    ]
    late = {"alert": "CxrAttackBurst", "from": 2.5, "to": 3.25}
    told = attributed(phases, [late])
    assert [phase["right"] for phase in told] == [True, True, True]
    assert told[1]["fired"] == [{"alert": "CxrAttackBurst", "minutes_after_begin": 30.0, "minutes_after_end": 15.0}]
    assert [phase["right"] for phase in attributed(phases, [{**late, "from": 3.1}])] == [True, False, False]


def test_the_page_is_the_reports() -> None:
    assert (ROOT / "docs" / "day.md").read_text() == page.page(*page.read(REPORT))
    assert (REPORT / page.PICTURE).is_file()


@pytest.mark.slow
def test_the_day(tmp_path: Path, shared_data: Path) -> None:
    """Half an hour, as ``make day``."""
    command = [sys.executable, "-m", "benchmarks.day", "--data", str(shared_data / "chest_xrays")]
    command += ["--output", str(tmp_path), "--page", str(tmp_path / "day.md")]
    subprocess.run(command, cwd=ROOT, timeout=3600, check=True)
    result = json.loads((tmp_path / page.REPORT).read_text())
    assert [phase["name"] for phase in result["phases"] if not phase["right"]] == []
    for compared in result["recalibration"]["compared"]:
        rejected, _ = page.judge(compared)
        assert rejected <= result["recalibration"]["report"]["threshold"]["target"] + 0.02
    made_as_in_recalibrate = result["recalibration"]["compared"][-1]
    assert page.judge(made_as_in_recalibrate)[1] <= 0.02
