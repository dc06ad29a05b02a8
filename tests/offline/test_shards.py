"""Features in one shard or seven are one set of features, one set of moments, and are not extracted twice."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import offline.gate.features
from app.pipeline import LABELS, ChestNetwork
from app.pipeline.outputs import Outputs
from offline.data.films import Film, FilmsError
from offline.data.loading import load_film
from offline.detectors import Observed
from offline.gate.features import (
    Shard,
    extract,
    harmless_variant,
    measured,
    merge_shards,
    reuse_or_extract,
    saved,
    saved_moments,
)
from offline.run import Run, weights_sha256

from .small import noise_films

CPU = torch.device("cpu")


class Quick(nn.Module):
    """Features and logits of the right shapes, without the work; counts its films."""

    feature_count, watch = 1024, None

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.mixing = nn.Parameter(torch.randn(224, 1024, generator=generator), requires_grad=False)
        self.films = 0

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        self.films += len(images)
        # Row by row, since a product of more rows rounds otherwise; far from zero, where naive sums of squares fail.
        features = torch.stack([row @ self.mixing + 100 for row in images.mean((1, 2))])
        return Outputs(features, features, features[:, : len(LABELS)])


class QuickWithGateNetwork(Quick):
    """Its gate sees five features of its own."""

    gate_feature_count, watch = 5, nn.Identity()

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        return super().forward(images)._replace(gate_features=images[:, 0, :5].mean(2))


@pytest.fixture
def network() -> ChestNetwork:
    return Quick()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return noise_films(tmp_path_factory.mktemp("films"), {"train": 40})


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.gate.features, "BLOCK", 9)
    monkeypatch.setattr(offline.gate.features, "BATCH", 4)


def run_shards(network: ChestNetwork, films: list[Film], run: Run, count: int, *, skip: int = 0) -> None:
    for index in range(count, 0, -1):  # the order in which processes end is nobody's to choose
        if index != skip:
            extract(network, films, run, "train", CPU, 0, Shard(index, count))


@pytest.mark.parametrize("n", [1, 6, 7, 40, 112_120])
def test_shards_are_disjoint_contiguous_and_even(n: int) -> None:
    ranges = [Shard(index, 7).of(n) for index in range(1, 8)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == n
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    assert {stop - start for start, stop in ranges} <= {n // 7, n // 7 + 1}


@pytest.mark.parametrize("text", ["3", "0/7", "8/7", "a/7", "1/", "-1/7", "1/2/3", "²/7"])
def test_a_wrong_shard(text: str) -> None:
    with pytest.raises(FilmsError, match="shard"):
        Shard.parse(text)


def test_the_gates_features_are_kept_apart_from_the_others(films: list[Film], tmp_path: Path) -> None:
    network: ChestNetwork = QuickWithGateNetwork()  # type: ignore[assignment]
    run = Run(tmp_path)
    run_shards(network, films, run, 3)
    merged = merge_shards(run, "train")
    with torch.inference_mode():
        expected = network(torch.stack([load_film(film.path) for film in films]))
    for found, wanted in zip(merged, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    moments = saved_moments(run, "train")
    np.testing.assert_allclose(moments.mean, merged.gate_features.mean(0, dtype=np.float64), rtol=1e-10)
    assert moments.scatter.shape == (5, 5)


def test_a_stage_is_read_back_and_one_of_before_is_parted() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 1029)).astype(np.float32)
    logits = rows[:, :4]
    observed = Observed(rows[:, :1024], rows[:, 1024:], logits)
    before = {"BIM|features": rows, "BIM|logits": logits}
    for arrays in (observed.arrays("BIM|"), before):
        for found, wanted in zip(vars(Observed.stored(arrays, "BIM|")).values(), vars(observed).values(), strict=True):
            np.testing.assert_array_equal(found, wanted)
    plain = Observed.stored({"features": rows[:, :1024], "logits": logits})
    np.testing.assert_array_equal(plain.gate_features, plain.features)


@pytest.mark.parametrize("count", [7, 50], ids=["seven", "more-than-films"])
def test_one_shard_and_many_agree(network: ChestNetwork, films: list[Film], tmp_path: Path, count: int) -> None:
    whole = extract(network, films, Run(tmp_path / "1"), "train", CPU, 0)
    run_shards(network, films, Run(tmp_path / "n"), count)
    merged = merge_shards(Run(tmp_path / "n"), "train")
    np.testing.assert_array_equal(merged.features, whole.features)
    np.testing.assert_array_equal(merged.logits, whole.logits)
    values = np.asarray(merged.features, np.float64)
    moments = saved_moments(Run(tmp_path / "n"), "train")
    assert moments.n == len(films)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-10)
    np.testing.assert_allclose(moments.covariance, np.cov(values, rowvar=False, bias=True), rtol=0, atol=1e-10)
    one = saved_moments(Run(tmp_path / "1"), "train")
    np.testing.assert_allclose(moments.mean, one.mean, rtol=1e-10)
    np.testing.assert_allclose(moments.covariance, one.covariance, rtol=0, atol=1e-10)
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == sorted(
        path.name for path in (tmp_path / "1").iterdir()
    )
    assert measured(Run(tmp_path / "n").features("train"))[0] == len(films)


def test_each_variant_is_films_of_its_own_and_is_reused_as_that_alone(
    network: ChestNetwork, films: list[Film], tmp_path: Path
) -> None:
    plain = extract(network, films, Run(tmp_path / "plain"), "train", CPU, 0).features
    first = extract(network, films, Run(tmp_path), "changed", CPU, 0, variant=harmless_variant(1)).features.copy()
    assert not (first == plain).all(axis=1).any()
    before = network.films
    again = reuse_or_extract(network, films, Run(tmp_path), "changed", CPU, 0, harmless_variant(1)).features
    assert network.films == before
    np.testing.assert_array_equal(again, first)
    second = reuse_or_extract(network, films, Run(tmp_path), "changed", CPU, 0, harmless_variant(2)).features
    assert network.films == before + len(films)
    assert not (second == first).all(axis=1).any()


def test_what_is_there_is_reused(network: ChestNetwork, films: list[Film], tmp_path: Path) -> None:
    run_shards(network, films, Run(tmp_path), 3)
    before = network.films
    first = reuse_or_extract(network, films, Run(tmp_path), "train", CPU, 0)
    again = reuse_or_extract(network, films, Run(tmp_path), "train", CPU, 0)
    assert network.films == before
    np.testing.assert_array_equal(first.features, again.features)


def test_another_network_or_other_films_are_not(network: ChestNetwork, films: list[Film], tmp_path: Path) -> None:
    reuse_or_extract(network, films, Run(tmp_path), "train", CPU, 0)
    reuse_or_extract(network, films[::-1], Run(tmp_path), "train", CPU, 0)
    assert network.films == 2 * len(films)
    np.testing.assert_allclose(
        saved(Run(tmp_path), "train").features[0],
        extract(network, films[-1:], Run(tmp_path), "x", CPU, 0).features[0],
        rtol=1e-5,
    )
    sha = weights_sha256(network)
    with torch.no_grad():
        network.mixing += 1
    assert weights_sha256(network) != sha
    before = network.films
    reuse_or_extract(network, films[::-1], Run(tmp_path), "train", CPU, 0)
    assert network.films == before + len(films)


def test_an_interrupted_extraction_is_not_trusted(network: ChestNetwork, films: list[Film], tmp_path: Path) -> None:
    broken = films[20].path.with_name("broken.png")
    broken.write_bytes(films[20].path.read_bytes()[:300])
    damaged = [*films[:20], dataclasses.replace(films[20], path=broken), *films[21:]]
    with pytest.raises(FilmsError, match=r"broken\.png"):
        extract(network, damaged, Run(tmp_path), "train", CPU, 0, Shard(2, 3))
    with pytest.raises(FilmsError, match="no shards of train"):
        merge_shards(Run(tmp_path), "train")


def test_shards_that_do_not_make_a_whole(network: ChestNetwork, films: list[Film], tmp_path: Path) -> None:
    run_shards(network, films, Run(tmp_path), 3, skip=2)
    with pytest.raises(FilmsError, match="2/3 are missing"):
        reuse_or_extract(network, films, Run(tmp_path), "train", CPU, 0)
    extract(network, films[1:], Run(tmp_path), "train", CPU, 0, Shard(2, 3))
    with pytest.raises(FilmsError, match="one network and one list"):
        merge_shards(Run(tmp_path), "train")
    extract(network, films, Run(tmp_path), "train", CPU, 0, Shard(1, 2))
    with pytest.raises(FilmsError, match="out of 2 and out of 3"):
        merge_shards(Run(tmp_path), "train")
