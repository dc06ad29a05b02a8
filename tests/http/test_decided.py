"""The record's decisions over a real socket: pages, filters, and nothing that helps past the gate."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.access import add_key
from app.records import open_record
from tests.records.making import decision, subject, verdict
from tests.support.films import dicom, png
from tests.support.reviewing import Keeping, Site, keeping
from tests.support.served import assert_problem

EARLIER = 700
FIELDS = {
    *("entry", "time", "request_id", "verdict", "model_version", "source_kind", "route", "caller", "seconds"),
    *("film", "repeated", "intact"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site.make(tmp_path_factory.mktemp("site"))
    made.keys["chief"] = add_key(made.folder / "callers.json", "chief", ["operate"])
    record = open_record(made.settings["CXR_RECORD_URL"], Path(made.settings["CXR_RECORD_KEY_FILE"]))
    record.write(
        [
            decision(subject(record.key, seed), verdict(seed, accepted=seed % 10 > 0), request_id=f"{seed:032x}")
            for seed in range(EARLIER)
        ]
    )
    record.close()
    return made


@pytest.fixture(scope="module")
def kept(site: Site, rejecting_bundle: Path) -> Iterator[Keeping]:
    with keeping(site, rejecting_bundle) as service:
        yield service


def page(kept: Keeping, query: str = "") -> dict[str, Any]:
    answer = kept.get(f"/v1/decisions{query}", "chief")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def test_pages_give_every_decision_once_newest_first(kept: Keeping, site: Site) -> None:
    film = kept.reject(png(1))
    kept.get(f"/v1/quarantine/{film}")  # no decision, though an entry
    seen: list[int] = []
    told = page(kept, "?limit=100")
    assert told["decisions"][0] | {"time": "", "seconds": 0} == {
        "entry": EARLIER + 1,
        "time": "",
        "request_id": film,
        "verdict": "rejected",
        "model_version": site.entries("request_id = ?", film)[0]["model_version"],
        "source_kind": "png",
        "route": "/v1/score",
        "caller": "pacs",
        "seconds": 0,
        "film": film,
        "repeated": False,
        "intact": True,
    }
    seen += [each["entry"] for each in told["decisions"]]
    while told["next"] is not None:
        told = page(kept, f"?limit=100&before={told['next']}")
        seen += [each["entry"] for each in told["decisions"]]
    decided = site.entries("kind IN ('judged', 'repeated')")
    assert seen == [entry["id"] for entry in reversed(decided)]


def test_filters_narrow(kept: Keeping) -> None:
    kept.reject(dicom(2), "application/dicom", who="ward")
    assert [each["caller"] for each in page(kept, "?caller=ward")["decisions"]] == ["ward"]
    rejected = page(kept, "?verdict=rejected&caller=anonymous&limit=500")["decisions"]
    assert len(rejected) == EARLIER / 10
    assert {each["verdict"] for each in rejected} == {"rejected"}
    assert page(kept, "?source_kind=jpeg") == {"decisions": [], "next": None}
    assert {each["model_version"] for each in page(kept, "?model_version=model")["decisions"]} == {"model"}


def test_no_score_and_no_probability_is_told(kept: Keeping) -> None:
    for each in page(kept)["decisions"]:
        assert set(each) == FIELDS


def test_an_entry_that_was_changed_says_so(kept: Keeping, site: Site) -> None:
    with closing(sqlite3.connect(site.folder / "record.sqlite")) as connection, connection:
        connection.execute("UPDATE entries SET verdict = 'accepted' WHERE id = 11")
    told = {each["entry"]: each["intact"] for each in page(kept, "?before=14&limit=5")["decisions"]}
    assert told == {13: True, 12: True, 11: False, 10: True, 9: True}


@pytest.mark.parametrize(
    "query",
    [
        *("verdict=maybe", "source_kind=tiff", "limit=0", "limit=501", "limit=x", "before=-1", "before=" + "9" * 19),
        *("caller=%00", "model_version=" + "a" * 256, "limit=1_0", "before=%2B5"),
    ],
)
def test_a_query_that_is_none(kept: Keeping, query: str) -> None:
    problem = assert_problem(kept.get(f"/v1/decisions?{query}", "chief"), 400)
    assert "the query parameter " + query.split("=")[0] in problem["detail"]
