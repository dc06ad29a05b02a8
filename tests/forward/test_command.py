"""``cxr-gate forward``: its options, from flags and environment, and what it does not load."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from app.forward.command import add_command, run
from tests.support.processes import ROOT, command


def parse(*arguments: str, **environment: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers(dest="command"), environment)
    return parser.parse_args(["forward", *arguments])


def test_flags_go_before_the_environment_and_that_before_defaults() -> None:
    parsed = parse("--state", "a", "--in-flight", "2", CXR_FORWARD_STATE="b", CXR_FORWARD_MODALITIES="dx, CR,RF")
    assert str(parsed.state) == "a"
    assert parsed.in_flight == 2
    assert parsed.modalities == {"CR", "DX", "RF"}
    assert parsed.poll_seconds == 2.0
    assert parse(CXR_FORWARD_STATE="b", CXR_FORWARD_IN_FLIGHT="3").in_flight == 3


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--orthanc-url", "localhost:8042"),
        ("--orthanc-url", "ftp://localhost"),
        ("--service-url", "http://user:password@host"),  # a secret on a command line
        ("--modalities", "CR,SR"),  # reports would be posted as films
        ("--modalities", ""),
        ("--start", "yesterday"),
        ("--start", "-1"),
        ("--in-flight", "0"),
        ("--in-flight", "1.5"),
        ("--poll-seconds", "nan"),
        ("--metrics-port", "65536"),
    ],
)
@pytest.mark.parametrize("source", ["flag", "environment"])
def test_a_wrong_value_is_named(flag: str, value: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    variable = {"CXR_FORWARD_" + flag[2:].upper().replace("-", "_"): value} if source == "environment" else {}
    with pytest.raises(SystemExit) as ended:
        parse("--state", "a", *(() if variable else (f"{flag}={value}",)), **variable)
    assert ended.value.code == 2
    assert f"argument {flag}" in capsys.readouterr().err


def test_a_misspelt_variable_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parse("--state", "a", CXR_FORWARD_ORTHANC_PASWORD="x")) == 1
    assert "unknown setting CXR_FORWARD_ORTHANC_PASWORD" in capsys.readouterr().err


def test_help_teaches() -> None:
    done = subprocess.run(
        command("forward", "--help"), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for word in ("same study", "CXR_FORWARD_ORTHANC_PASSWORD", "beginning", "SIGTERM", "example"):
        assert word in done.stdout


def test_forwarding_loads_no_torch() -> None:
    code = "import app.cli, sys; assert not {'torch', 'fastapi', 'pydicom'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
