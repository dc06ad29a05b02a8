"""The experiment runs from a bundle and a folder, resumes where it stopped, and gives the same for the same seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.pipeline import LABELS
from offline.attacks.blackbox import Substitute
from offline.attacks.goals import AT_POINT, OPPOSITE, Wanted
from offline.data.films import Film, FilmsError, evenly
from offline.data.harmless import CHANGES, drawn
from offline.data.loading import load_film
from offline.evaluation import PRESETS, evaluate
from offline.evaluation.store import Stages
from offline.evaluation.subject import LoadedBundle
from tests.support.bundles import ACCEPT_EVERYTHING, random_network, write_random_bundle

COUNTS = {"train": 28, "val": 19, "test": 4}
CALLS = (Wanted("absent-to-present", "nearest"), Wanted("any-change", "random"))  # every one of them takes minutes
TINY = replace(
    PRESETS["quick"],
    name="tiny",
    films=3,
    attack_steps=1,
    minimal_films=1,
    gradient_films=1,
    transfer_films=1,
    constraint_films=1,
    native_films=1,
    sanity_films=0,
    library_films=1,
    aware_steps=2,
    weight_rounds=1,
    square_queries=3,
    supervised_films=2,
    budgets=(2 / 255,),
    calls=CALLS,
    harmless=True,
)


SUBSTITUTES = [
    Substitute(random_network(7), {"name": "one", "learned_from": "answers"}),
    Substitute(random_network(8), {"name": "other", "learned_from": "labels"}),
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(0)
    films: list[Film] = []
    for split, count in COUNTS.items():
        for _ in range(count):
            number = len(films)
            path = folder / f"{number}.png"
            coarse = Image.fromarray(generator.integers(0, 256, (9, 9), dtype=np.uint8))
            coarse.resize((256, 256)).save(path)
            targets = tuple(int((number + column) % 2) for column in range(len(LABELS)))
            findings = tuple(name for name, one in zip(LABELS, targets, strict=True) if one)
            films.append(Film(path, str(number), split, targets, findings, "PA", "F", 30 + number))  # type: ignore[arg-type]
    return films


@pytest.fixture(scope="module")
def subject(films: list[Film], tmp_path_factory: pytest.TempPathFactory) -> LoadedBundle:
    folder = write_random_bundle(tmp_path_factory.mktemp("bundle") / "bundle", ACCEPT_EVERYTHING, watched=True)
    subject = LoadedBundle.load(folder, torch.device("cpu"))
    images = torch.stack([load_film(film.path) for film in films if film.split == "test"])
    with torch.no_grad():
        logits = subject.victim.network(images).logits.double()
    assert subject.victim.calls is not None
    # A network that learned nothing says much the same of all films: its points are put among these, so that some are called.
    calls = replace(subject.victim.calls, present_from=logits.quantile(0.6, 0), absent_below=logits.quantile(0.4, 0))
    return replace(subject, victim=replace(subject.victim, calls=calls))


@pytest.fixture(scope="module")
def outcome(
    films: list[Film], subject: LoadedBundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    output = tmp_path_factory.mktemp("output")
    evaluation, arrays = evaluate(subject, films, output, TINY, substitutes=SUBSTITUTES)
    return output, evaluation, arrays


def test_every_part_is_there(outcome: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    _, evaluation, arrays = outcome
    json.dumps(evaluation, allow_nan=False)
    attacks = {f"{setting} {name}" for setting in ("white-box", "black-box") for name in ("FGSM", "BIM", "PGD", "MIM")}
    assert [row["detector"] for row in evaluation["detectors"]][:2] == ["served", "mgm-lambda"]
    assert {row["detector"] for row in evaluation["detectors"]} >= {"isolation-forest", "one-class-svm"}
    assert all(set(row["attacks"]) == attacks for row in evaluation["detectors"])
    assert set(evaluation["no_defence"]) == attacks | {"clean"}
    assert [row["name"] for row in evaluation["substitutes"]] == ["one", "other"]
    assert all(len(row["transfer"]) == 3 for row in evaluation["substitutes"])
    assert evaluation["extraction"]["chest_xray14_hours"] > 0
    tried = {(row["attacker"], row["goal"], row["finding_choice"], row["size"]) for row in evaluation["aware"]}
    both = ("minimal", "selective")
    assert tried == {
        *((name, *wanted, 224) for name in both for wanted in (*AT_POINT, *CALLS)),
        *(
            (name, *wanted, 224)
            for name in ("joint", "orthogonal", "feature-constraint")
            for wanted in (*AT_POINT, *OPPOSITE)
        ),
        *(("selective", *wanted, 256) for wanted in (*AT_POINT, *OPPOSITE)),  # at the film's own size
    }
    for goal in ("absent-to-present", "present-to-absent", "any-change"):
        assert any(row["eligible"] for row in evaluation["aware"] if row["goal"] == goal)
    library = {(row["goal"], row["finding_choice"]) for row in evaluation["libraries"]}
    assert library == {*AT_POINT, *OPPOSITE}
    assert {row["attack"] for row in evaluation["libraries"]} == {"APGD", "Square", "DeepFool"}
    assert [row["change"] for row in evaluation["harmless"]] == list(CHANGES)
    assert sum(row["films"] for row in evaluation["groups"] if row["group"].startswith("sex")) == TINY.films
    assert evaluation["films"]["test"] == TINY.films
    for name in ("scores/val", "scores/test", "scores/white-box BIM", "features/test", "example/maps_clean"):
        assert np.isfinite(arrays[name]).all(), name


def test_counts_add_up(outcome: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    for row in outcome[1]["aware"] + outcome[1]["libraries"]:
        assert row["evaded"] <= row["goal_reached"] <= row["eligible"] <= row["films"]
        if row["eligible"]:
            assert row["evasion_rate"]["value"] == pytest.approx(row["evaded"] / row["eligible"])


def test_a_finished_run_is_not_computed_again(
    outcome: tuple[Path, dict[str, Any], dict[str, Any]],
    films: list[Film],
    subject: LoadedBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, first, _ = outcome

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(type(subject.bundle.network), "forward", forbidden)
    again, _ = evaluate(subject, films, output, TINY, substitutes=SUBSTITUTES)
    assert {**again, "created": ""} == {**first, "created": ""}


def test_a_stopped_run_gives_what_a_whole_one_does(
    outcome: tuple[Path, dict[str, Any], dict[str, Any]], films: list[Film], subject: LoadedBundle
) -> None:
    """And so the same seed gives the same: what draws at random is among what is done again."""
    output, first, arrays = outcome
    for stage in (
        "features-val",
        "white-box-PGD",
        "attacker-minimal-hide-000",
        "attacker-selective-invent-000",
        "attacker-selective-any-change-random-000",
        "libraries",
    ):
        (output / "work" / f"{stage}.json").unlink()  # as a kill in the midst of that stage leaves it
    again, arrays_again = evaluate(subject, films, output, TINY, substitutes=SUBSTITUTES)
    unlike = {"created": "", "seconds": {}, "extraction": {}}
    assert {**again, **unlike} == {**first, **unlike}
    for name, array in arrays.items():
        assert np.array_equal(arrays_again[name], array), name


def test_another_seed_is_refused(
    outcome: tuple[Path, dict[str, Any], dict[str, Any]], films: list[Film], subject: LoadedBundle
) -> None:
    with pytest.raises(FilmsError, match="another bundle, films, preset or seed"):
        evaluate(subject, films, outcome[0], TINY, seed=1)


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Stages.open(tmp_path, {"seed": 0})

    def broken() -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.stage("one", broken)
    assert store.stage("one", lambda: ({"a": 1}, {"b": np.ones(2)}))[0] == {"a": 1}
    content, arrays = store.stage("one", broken)
    assert content == {"a": 1}
    assert arrays["b"].tolist() == [1, 1]
    assert set(store.seconds()) == {"one"}


@pytest.mark.parametrize(("count", "wanted"), [(10, 3), (3, 10), (5, 5), (1, 1)])
def test_evenly_spread(count: int, wanted: int) -> None:
    index = evenly(count, wanted)
    assert len(index) == min(count, wanted)
    assert index[0] == 0
    assert index[-1] in (count - 1, 0)


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_harmless_change_gives_a_film(name: str) -> None:
    line = np.linspace(0, 1, 300, dtype=np.float32)
    film = (line[:, None] * line[None, :]).astype(np.float32)
    before = film.copy()
    changed = CHANGES[name](film)
    assert changed.dtype == np.float32
    assert changed.ndim == 2
    assert 0 <= changed.min() < changed.max() <= 1
    assert (film == before).all()
    assert (name == "none") == (changed.shape == film.shape and bool((changed == film).all()))


def test_drawn_changes_are_films_of_their_own_and_the_same_again() -> None:
    line = np.linspace(0.1, 0.9, 300, dtype=np.float32)
    film = (line[:, None] * line[None, :]).astype(np.float32)
    before = film.copy()
    drawings = [drawn(np.random.default_rng((1, index)))(film) for index in range(40)]
    assert (film == before).all()
    for changed in drawings:
        assert changed.dtype == np.float32
        assert 0 <= changed.min() < changed.max() <= 1
        assert min(changed.shape) >= 270
    assert (drawn(np.random.default_rng((1, 7)))(film) == drawings[7]).all()
    assert len({changed.tobytes() for changed in drawings}) >= 36  # two crops may cut the same pixels
