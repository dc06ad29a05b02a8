"""A site's table of prevalences and points, over a real socket: probabilities move, calls do not, and the version says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from app.pipeline.bundle import read_manifest
from app.pipeline.calls import read_site_table, site_digest
from app.pipeline.labels import LABELS
from tests.http.conftest import Start
from tests.support.films import png
from tests.support.processes import run_command
from tests.support.served import Served

TABLE = "finding,prevalence\nMass,0.02\nEdema,0.9\n"


def test_probabilities_hold_for_the_sites_prevalence(
    service: Served, start: Start, accepting_bundle: Path, tmp_path: Path
) -> None:
    usual = service.post(png()).json()
    table = tmp_path / "site.csv"
    table.write_text(TABLE)
    with start(CXR_CALLS_FILE=str(table)) as site:
        answer = site.post(png()).json()
        model = {finding["name"]: finding for finding in site.get("/v1/model").json()["findings"]}
        metrics = site.get("/metrics").text
    version = read_manifest(accepting_bundle).model_version
    assert usual["model_version"] == version
    assert answer["model_version"] == f"{version}-site-{site_digest(read_site_table(TABLE.splitlines()))}"
    assert f'model_version="{answer["model_version"]}"' in metrics
    for name, prevalence in (("Mass", 0.02), ("Edema", 0.9)):
        # The bundle's prevalence is one half, whose log odds are 0.
        assert answer["probabilities"][name] == pytest.approx(
            expit(logit(usual["probabilities"][name]) + logit(prevalence)), abs=1e-5
        )
        assert model[name]["prevalence"] == prevalence
        assert model[name]["present_from"] == pytest.approx(expit(logit(0.6) + logit(prevalence)))
        assert answer["calls"][name]["present_from"] == model[name]["present_from"]
    assert {name: one["call"] for name, one in answer["calls"].items()} == {
        name: one["call"] for name, one in usual["calls"].items()
    }
    for name in set(LABELS) - {"Mass", "Edema"}:
        assert answer["probabilities"][name] == pytest.approx(usual["probabilities"][name], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("finding,prevalence\nMass,2\n", "line 2, prevalence: must be a number over 0 and under 1"),
        (None, "No such file"),
    ],
    ids=["per cent", "no file"],
)
def test_a_table_that_cannot_be_used_stops_the_start(
    text: str | None, words: str, accepting_bundle: Path, tmp_path: Path
) -> None:
    table = tmp_path / "site.csv"
    if text is not None:
        table.write_text(text)
    told = run_command("check-bundle", str(accepting_bundle), "--device", "cpu", CXR_CALLS_FILE=str(table))
    assert told.returncode == 1
    assert "CXR_CALLS_FILE" in told.stderr
    assert words in told.stderr


def test_calls_of_an_answer_follow_its_probabilities(service: Served) -> None:
    """The random bundle's points are .6 and .4, and it knows no film without a finding."""
    answer = service.post(png(3)).json()
    assert list(answer["calls"]) == list(LABELS) == list(answer["probabilities"])
    for name, called in answer["calls"].items():
        probability = answer["probabilities"][name]
        expected = np.select([probability >= 0.6, probability < 0.4], ["present", "absent"], "indeterminate")
        assert called == {"call": str(expected), "present_from": 0.6, "absent_below": 0.4, "percentile": None}
