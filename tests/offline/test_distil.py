"""A substitute is taught by answers alone: labels change nothing, rejected films teach nothing, each is asked once."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import offline.training.command
import offline.training.distil
from app.pipeline import LABELS, ChestNetwork
from app.pipeline.gate import Gate
from app.pipeline.gaussian import Gaussian
from offline.attacks import as_posted
from offline.cli import main
from offline.data.films import Film, FilmsError
from offline.data.loading import load_film
from offline.gate.fit import FitOptions, FittedGate, save_gate
from offline.gate.threshold import Threshold
from offline.run import Run
from offline.training.distil import AnsweredFilms, DistilOptions, Served, ask, compare, distil
from tests.support.bundles import random_network, write_random_bundle

from .small import noise_films

CPU = torch.device("cpu")
OPTIONS = DistilOptions(epochs=1, batch_size=2, workers=0)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return noise_films(tmp_path_factory.mktemp("films"), {"train": 5, "val": 3})


@pytest.fixture(scope="module")
def served() -> ChestNetwork:
    torch.manual_seed(0)
    return ChestNetwork(len(LABELS)).eval()


@pytest.fixture(scope="module")
def gate(films: list[Film], served: ChestNetwork) -> FittedGate:
    """Refuses exactly the two least typical of the five train films."""
    gaussian = Gaussian(np.zeros(1024), np.eye(1024))
    with torch.inference_mode():
        features = served(as_posted(torch.stack([load_film(film.path) for film in films]))).gate_features.numpy()
    scores = np.sort(gaussian.log_density(features[:5]))
    return FittedGate(gaussian, Threshold(float(scores[1:3].mean()), 0.1), 5, "none", scores)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, served: ChestNetwork, gate: FittedGate) -> Run:
    run = Run(tmp_path_factory.mktemp("run"))
    run.save_weights(served.state_dict())
    save_gate(run, gate, FitOptions())
    return run


def with_the_same_as_val(train: list[Film]) -> list[Film]:
    """As val, the train films again: of noise so like itself no other val film might be accepted."""
    return [*train, *(dataclasses.replace(film, split="val") for film in train)]


@pytest.fixture(scope="module")
def output(run: Run, films: list[Film], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = Run(tmp_path_factory.mktemp("distilled"))
    train_only = [film for film in films if film.split == "train"]
    distil(Served.of_run(run, CPU), with_the_same_as_val(train_only), folder, OPTIONS, CPU)
    return folder


def test_answers_are_the_services(films: list[Film], served: ChestNetwork, gate: FittedGate) -> None:
    answers = ask(Served(served, gate.gate), films[:5], CPU, 0, "train")
    assert (len(answers.films), answers.rejected) == (3, 2)
    assert answers.images is not None
    for film, probabilities, image in zip(answers.films, answers.probabilities, answers.images, strict=True):
        posted = as_posted(load_film(film.path))
        torch.testing.assert_close(image.float() / 255, posted)
        with torch.inference_mode():
            expected = served(posted[None]).logits.sigmoid()[0].numpy()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_streamed_films_are_the_kept_ones(
    films: list[Film], served: ChestNetwork, gate: FittedGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ask(Served(served, gate.gate), films[:5], CPU, 0, "train")
    monkeypatch.setattr(offline.training.distil, "KEPT_FILMS", 2)
    streamed = ask(Served(served, gate.gate), films[:5], CPU, 0, "train")
    assert streamed.images is None
    for one, other in zip(AnsweredFilms(kept), AnsweredFilms(streamed), strict=True):
        torch.testing.assert_close(one, other)


def test_a_gate_that_answers_nothing(films: list[Film], served: ChestNetwork, gate: FittedGate) -> None:
    with pytest.raises(FilmsError, match="rejects all 5 films"):
        ask(Served(served, Gate(gate.density, np.inf)), films[:5], CPU, 0, "train")


def test_the_record_says_what_was_asked(output: Run) -> None:
    record = output.distillation.read()
    assert (record["train_answered"], record["train_rejected"], record["val_answered"]) == (3, 2, 3)
    assert record["options"]["arch"] == "resnet50"
    assert 0 <= record["history"][0]["val_mean_absolute_difference"] <= 1
    assert record["constant_mean_absolute_difference"] > 0


def test_labels_change_nothing(run: Run, films: list[Film], output: Run, tmp_path: Path) -> None:
    train_only = [dataclasses.replace(film, targets=(1,) * len(LABELS)) for film in films if film.split == "train"]
    distil(Served.of_run(run, CPU), with_the_same_as_val(train_only), Run(tmp_path), OPTIONS, CPU)
    one, other = output.tensors(), Run(tmp_path).tensors()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=name)


def test_a_stopped_distillation_resumes(
    run: Run, films: list[Film], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = with_the_same_as_val(films[:4])
    options = dataclasses.replace(OPTIONS, epochs=2)
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    distil(Served.of_run(run, CPU), few, whole, options, CPU)
    once = offline.training.distil.compare

    def cut_short(*arguments: Any) -> Any:
        if stopped.checkpoint.exists():
            raise KeyboardInterrupt  # in the second epoch
        return once(*arguments)

    monkeypatch.setattr(offline.training.distil, "compare", cut_short)
    with pytest.raises(KeyboardInterrupt):
        distil(Served.of_run(run, CPU), few, stopped, options, CPU)
    monkeypatch.undo()
    distil(Served.of_run(run, CPU), few, stopped, options, CPU)
    one, other = whole.tensors(), stopped.tensors()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=name)


def test_a_network_agrees_with_itself(films: list[Film], served: ChestNetwork, gate: FittedGate) -> None:
    answers = ask(Served(served, Gate(gate.density, -np.inf)), films, CPU, 0, "all")
    measured = compare(served, answers, CPU, dataclasses.replace(OPTIONS, precision="float32"))
    assert measured["val_mean_absolute_difference"] < 1e-6
    assert measured["val_same_top_finding"] == 1
    assert measured["val_correlation"] == pytest.approx(1, abs=1e-3)


def test_the_command_asks_a_bundle_or_a_run(
    run: Run, gate: FittedGate, films: list[Film], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Served] = []

    def stands_in(served: Served, *rest: Any) -> dict[str, Any]:
        asked.append(served)
        history = [{"val_mean_absolute_difference": 0.0, "val_correlation": 1.0}]
        counts = dict.fromkeys(("train_answered", "train_rejected", "val_answered"), 1)
        return {"history": history, "constant_mean_absolute_difference": 0.1, **counts}

    monkeypatch.setattr(offline.training.command, "distil", stands_in)
    monkeypatch.setattr(offline.training.command, "films_of", lambda parsed: films)
    write_random_bundle(tmp_path / "bundle", -123.0, watched=True)
    rest = ["--output", str(tmp_path / "substitute"), "--device", "cpu"]
    assert main(["distil", "--bundle", str(tmp_path / "bundle"), *rest]) == 0
    assert main(["distil", "--run", str(run), *rest]) == 0
    assert [one.gate.threshold for one in asked] == [-123.0, gate.threshold.value]
    torch.testing.assert_close(asked[0].network.classifier.weight, random_network(0, True).classifier.weight)
