"""The settings: what they refuse and how, and that the lists made from them are current."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from app.cli import main
from app.configuration import declared, shown
from app.forward.settings import PREFIX as FORWARD_PREFIX
from app.forward.settings import ForwardSettings
from app.settings import PREFIX, Settings, SettingsError
from scripts import settings_page

ROOT = Path(__file__).resolve().parents[1]
EVERY = {PREFIX + field.name.upper() for field in fields(Settings)}
FORWARDERS = {FORWARD_PREFIX + field.name.upper() for field in fields(ForwardSettings)}


def refusal(name: str, value: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CXR_MAX_BODYBYTES", "CXR_MAX_BODY_BYTES"),
        ("CXR_QUARANTINE_FOLDR", "CXR_QUARANTINE_FOLDER"),
        ("CXR_max_pixels", "CXR_MAX_PIXELS"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(name: str, meant: str) -> None:
    assert f"unknown setting {name}; did you mean {meant}?" in refusal(name, "5")


def test_a_name_that_is_like_none_is_refused_without_a_guess() -> None:
    told = refusal("CXR_ZZZZZZZZZZZZ", "5")
    assert "unknown setting CXR_ZZZZZZZZZZZZ" in told
    assert "did you mean" not in told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CXR_MAX_WAITING", "many", "CXR_MAX_WAITING='many' is not a whole number"),
        ("CXR_MAX_WAITING", "1.5", "CXR_MAX_WAITING='1.5' is not a whole number"),
        ("CXR_DECODE_SECONDS", "soon", "CXR_DECODE_SECONDS='soon' is not a number"),
        ("CXR_MAX_WAITING", "0", "CXR_MAX_WAITING='0' must be over 0"),
        ("CXR_RECORD_DAYS", "-1", "CXR_RECORD_DAYS='-1' must be 0 or more"),
        ("CXR_DEADLINE_SECONDS", "inf", "CXR_DEADLINE_SECONDS='inf' must be finite"),
        ("CXR_METRICS_OPEN", "yes", "CXR_METRICS_OPEN='yes' must be true or false"),
        ("CXR_DECODE_SANDBOX", "on", "CXR_DECODE_SANDBOX='on' must be try, require, off"),
        ("CXR_ALLOWED_HOSTS", "cxr.example:80/", "must be names without ports"),
        ("CXR_ACCEPTED_MODALITIES", "CR", "must name CR,DX, and may add RF,SC"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_what_it_must_be(name: str, value: str, told: str) -> None:
    assert told in refusal(name, value)


def test_an_address_that_may_hold_a_password_is_not_repeated() -> None:
    assert refusal("CXR_RESULTS_URL", "ftp://cxr:hush@pacs") == "CXR_RESULTS_URL must begin with http:// or https://"


def test_settings_are_read_by_their_types() -> None:
    read = Settings.from_environment(
        {
            "CXR_BUNDLE": "elsewhere",
            "CXR_MAX_BATCH": "4",
            "CXR_BATCH_WAIT_MS": "2.5",
            "CXR_METRICS_OPEN": "true",
            "CXR_ACCEPTED_MODALITIES": "cr, dx,RF",
            "CXR_SHARED_DATA": "films of the tests",
            "CXR_FORWARD_STATE": "of the forwarder",
            "PATH": "/bin",
        }
    )
    assert read == replace(
        Settings(),
        bundle=Path("elsewhere"),
        max_batch=4,
        batch_wait_ms=2.5,
        metrics_open=True,
        accepted_modalities=frozenset({"CR", "DX", "RF"}),
    )


@pytest.mark.parametrize(("kind", "prefix"), [(Settings, PREFIX), (ForwardSettings, FORWARD_PREFIX)])
def test_every_default_is_a_value_that_its_setting_takes(kind: type, prefix: str) -> None:
    for variable, setting, field in declared(kind, prefix):
        text = shown(field.default)
        if text and not setting.required:
            assert setting.value(variable, text) == field.default
            assert type(setting.value(variable, text)) is type(field.default)


def test_secrets_are_not_shown() -> None:
    told = repr(Settings(quarantine_key="hush", results_password="hush"))
    assert "hush" not in told


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert set(re.findall(PREFIX + r"\w+", capsys.readouterr().out)) == EVERY


@pytest.mark.parametrize("file", ["docs/settings.md", ".env.example"])
def test_the_generated_lists_are_current(file: str) -> None:
    made = settings_page.page() if file.endswith(".md") else settings_page.example()
    assert (ROOT / file).read_text() == made, f"{file} is not what the settings say; run {settings_page.COMMAND}"


def test_the_example_sets_nothing_and_names_every_setting_once() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    named = [line[1:].partition("=")[0] for line in lines if re.match("#[A-Z]", line)]
    assert sorted(named) == sorted(EVERY | FORWARDERS)


def test_the_example_as_it_stands_changes_nothing() -> None:
    pairs = dict(
        line[1:].split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if re.match("#[A-Z]", line)
    )
    given = {name: value for name, value in pairs.items() if value and name in EVERY}
    assert len(given) > 30
    assert Settings.from_environment(given) == Settings()


def test_every_page_that_a_group_names_is_there() -> None:
    for kind, prefix in ((Settings, PREFIX), (ForwardSettings, FORWARD_PREFIX)):
        for _, setting, _ in declared(kind, prefix):
            assert (ROOT / "docs" / setting.group.page).is_file()
