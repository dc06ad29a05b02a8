"""Two runs become one: the mean of their weights, or one that answers and one that watches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.pipeline.network import GATE_NETWORK_LAYERS
from offline.data.films import FilmsError
from offline.gate.fit import load_network
from offline.training.gate_network import watch
from offline.training.interpolate_weights import average
from offline.training.train import RECORD, WEIGHTS

from .small import random_run


@pytest.mark.parametrize("share", [0.25, 1.5])
def test_the_mean_of_two_runs_and_beyond(tmp_path: Path, share: float) -> None:
    first, second = random_run(tmp_path / "a", 1), random_run(tmp_path / "b", 2)
    average(first, second, share, tmp_path / "mean")
    one, other, mean = (load_network(folder).state_dict() for folder in (first, second, tmp_path / "mean"))
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (1 - share) * one[name] + share * other[name])
    record = json.loads((tmp_path / "mean" / RECORD).read_text())
    assert "averaged with network" in record["initial_weights"]


def test_a_mean_of_what_has_none(tmp_path: Path) -> None:
    first, second = random_run(tmp_path / "a", 1), random_run(tmp_path / "b", 2, data="others")
    with pytest.raises(FilmsError, match="different films"):
        average(first, second, 0.5, tmp_path / "mean")
    with pytest.raises(FilmsError, match="not between 0 and 3"):
        average(first, second, 3.5, tmp_path / "mean")
    watch(first, second, tmp_path / "watched")
    with pytest.raises(FilmsError, match="one has a watch"):
        average(first, tmp_path / "watched", 0.5, tmp_path / "mean")
    assert not (tmp_path / "mean" / WEIGHTS).exists()


def test_one_answers_and_the_other_watches(tmp_path: Path) -> None:
    first, second = random_run(tmp_path / "a", 1), random_run(tmp_path / "b", 2)
    watch(first, second, tmp_path / "watched")
    answering, seeing, joined = (load_network(folder) for folder in (first, second, tmp_path / "watched"))
    images = torch.rand((2, 1, 224, 224), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, _, logits = joined(images)
        expected, _, expected_logits = answering(images)
        assert joined.watch is not None
        assert seeing.watch is None
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=0)
    torch.testing.assert_close(features, expected, rtol=0, atol=0)
    for name in GATE_NETWORK_LAYERS:
        theirs = seeing.features.get_submodule(name).state_dict()
        for key, value in joined.watch.features.get_submodule(name).state_dict().items():
            assert torch.equal(value, theirs[key])
    again = watch(tmp_path / "watched", first, tmp_path / "again")  # a run that has a watch gets another
    assert load_network(again.parent).watch is not None
    assert "of network" in json.loads((tmp_path / "watched" / RECORD).read_text())["watch"]
