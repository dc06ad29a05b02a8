"""A run that was killed and resumed gives the weights of one that was not, and other options are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import offline.training.optimisation
from app.pipeline import LABELS, ChestNetwork
from offline.data.films import Film, FilmsError
from offline.run import Run
from offline.training.substitute import initial_network
from offline.training.train import TrainOptions, train

OPTIONS = TrainOptions(epochs=2, batch_size=2, precision="float32", workers=0)


class Killed(Exception):
    """Stands for SIGKILL."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(0)
    films = []
    for number in range(5):
        path = folder / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (224, 224), dtype=np.uint8)).save(path)
        targets = tuple(int(value) for value in generator.integers(0, 2, len(LABELS)))
        findings = tuple(name for name, present in zip(LABELS, targets, strict=True) if present) or ("No Finding",)
        films.append(Film(path, str(number), "val" if number > 2 else "train", targets, findings, "PA", "F", 50))
    return films


@pytest.fixture(scope="module")
def uninterrupted(films: list[Film], tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = Run(tmp_path_factory.mktemp("run"))
    train(films, "none", output, OPTIONS, "cpu")
    return output


def test_resumed_is_uninterrupted(
    films: list[Film], uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = offline.training.train.save_checkpoint

    def save_first_only(path: Path, state: Any, identity: Any, epoch: int, history: Any) -> None:
        if epoch == 2:
            raise Killed  # late in the second epoch: its steps were taken, and are lost
        save(path, state, identity, epoch, history)

    with monkeypatch.context() as patched:
        patched.setattr(offline.training.train, "save_checkpoint", save_first_only)
        with pytest.raises(Killed):
            train(films, "none", Run(tmp_path), OPTIONS, "cpu")
    assert not Run(tmp_path).weights.exists()
    resumed = load_file(train(films, "none", Run(tmp_path), OPTIONS, "cpu"))
    whole = uninterrupted.tensors()
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0, msg=name)
    records = [run.training.read() for run in (Run(tmp_path), uninterrupted)]
    assert records[0] == records[1]
    assert [entry["epoch"] for entry in records[0]["history"]] == [1, 2]


def test_weights_load_and_moved(uninterrupted: Run) -> None:
    network = ChestNetwork(len(LABELS))
    network.load_state_dict(uninterrupted.tensors())
    torch.manual_seed(OPTIONS.seed)
    assert not torch.equal(network.classifier.weight, ChestNetwork(len(LABELS)).classifier.weight)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 3}, {"precision": "bf16"}], ids=str)
def test_other_options_are_refused(films: list[Film], uninterrupted: Run, change: dict[str, Any]) -> None:
    with pytest.raises(FilmsError, match="other options or data"):
        train(films, "none", uninterrupted, dataclasses.replace(OPTIONS, **change), "cpu")


def test_other_films_are_refused(films: list[Film], uninterrupted: Run) -> None:
    with pytest.raises(FilmsError, match="other options or data"):
        train(films[1:], "none", uninterrupted, OPTIONS, "cpu")


def test_initial_weights_from_a_file_with_torchvisions_names(tmp_path: Path) -> None:
    source = ChestNetwork(len(LABELS))
    path = tmp_path / "backbone.safetensors"
    save_file({f"features.{name}": value.contiguous() for name, value in source.features.state_dict().items()}, path)
    loaded = initial_network(str(path))
    torch.testing.assert_close(loaded.features.state_dict(), source.features.state_dict(), rtol=0, atol=0)


def test_initial_weights_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(FilmsError, match="do not exist"):
        initial_network(str(path))
    save_file({"features.weight": torch.zeros(3)}, path)
    with pytest.raises(FilmsError, match="does not hold a DenseNet-121"):
        initial_network(str(path))
    with pytest.raises(FilmsError, match="unknown weights 'IMAGENET'"):
        initial_network("IMAGENET")


def test_a_film_that_cannot_be_decoded_is_named(films: list[Film], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(films[0].path.read_bytes()[:200])
    with pytest.raises(FilmsError, match=r"broken\.png: the PNG is damaged"):
        train([dataclasses.replace(films[0], path=broken), *films[1:]], "none", Run(tmp_path / "run"), OPTIONS, "cpu")


def test_a_gpu_that_is_absent_is_an_error(films: list[Film], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FilmsError, match="no GPU"):
        train(films, "none", Run(tmp_path), OPTIONS, "cuda")


@pytest.mark.parametrize("epochs", [1, 2, 4, 5, 10])
def test_every_number_of_steps_has_a_schedule(
    films: list[Film], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """One batch an epoch, so epochs are steps; a schedule whose first phase ends at step 0 divides by zero."""

    class Reached(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(offline.training.optimisation, "AveragedModel", stop)  # made just after the schedule
    with pytest.raises(Reached):
        train(films, "none", Run(tmp_path), dataclasses.replace(OPTIONS, epochs=epochs), "cpu")
