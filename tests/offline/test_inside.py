"""Rivals inside a network: formulas against numpy's, nothing changed as they are put in, hardened and read back, measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.spatial.distance import cdist, pdist
from scipy.special import expit, softmax
from torch import Tensor, nn

from app.pipeline import LABELS, ChestNetwork
from offline.data.films import FilmsError, of_split
from offline.run import Run
from offline.training.harden import HardenOptions, harden
from offline.training.inside import INSIDE, load_inside, widened
from offline.training.inside.blocks import CENTRES, RANK, Denoising, NonLocalContext, RadialBasisMapping
from offline.training.inside.dual_norm import DualNorm, meeting, norms_of, with_clean_norms
from research.frontier import inside as measuring
from research.frontier import rivals
from tests.support.bundles import random_network

from .small import noise_films, random_run
from .test_bands import Tiny

ROOT = Path(__file__).resolve().parents[2]
Array = NDArray[np.float64]


def maps_of(channels: int, side: int) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(side))


def disturbed(block: nn.Module) -> nn.Module:
    """With weights drawn at random, so that what it adds can be seen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return block


def convolved(layer: nn.Conv2d, maps: Array) -> Array:
    """A 1 x 1 convolution."""
    weight, bias = layer.weight.detach().double().numpy()[:, :, 0, 0], layer.bias
    found = np.einsum("oc,nchw->nohw", weight, maps)
    return found if bias is None else found + bias.detach().double().numpy()[:, None, None]


def attended(queries: Array, keys: Array, values: Array) -> Array:
    alike = np.einsum("nchw,ncij->nhwij", queries, keys) / np.sqrt(queries.shape[1])
    weights = softmax(alike.reshape(*alike.shape[:3], -1), axis=-1).reshape(alike.shape)
    return np.asarray(np.einsum("nhwij,ncij->nchw", weights, values))


def halved(maps: Array, side: int) -> Array:
    return maps.reshape(*maps.shape[:2], side // 2, 2, side // 2, 2).max((3, 5)) if side > 28 else maps


@pytest.mark.parametrize("side", [6, 30])
def test_non_local_context_is_numpys(side: int) -> None:
    block, maps = NonLocalContext(8), maps_of(8, side)
    disturbed(block)
    x = maps.double().numpy()
    coarse = halved(x, side)
    found = attended(convolved(block.query, x), convolved(block.key, coarse), convolved(block.value, coarse))
    z = x + convolved(block.out, found)
    weight, bias = (each.detach().double().numpy() for each in (block.gate.weight, block.gate.bias))
    gate = 2 * expit(np.einsum("oc,nc->no", weight, z.mean((2, 3))) + bias)
    np.testing.assert_allclose(block(maps).detach().numpy(), z * gate[:, :, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [6, 30])
def test_non_local_means_are_numpys(side: int) -> None:
    block, maps = Denoising(8, "mean"), maps_of(8, side)
    disturbed(block)
    x = maps.double().numpy()
    coarse = halved(x, side)
    expected = x + convolved(block.out, attended(x, coarse, coarse))
    np.testing.assert_allclose(block(maps).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_median_is_scipys() -> None:
    block, maps = Denoising(8, "median"), maps_of(8, 6)
    disturbed(block)
    x = maps.double().numpy()
    expected = x + convolved(block.out, median_filter(x, (1, 1, 3, 3), mode="nearest"))
    np.testing.assert_allclose(block(maps).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_radial_basis_functions_are_of_a_mahalanobis_distance() -> None:
    block, maps = RadialBasisMapping(8), maps_of(8, 6)
    disturbed(block)
    a = block.distance.weight.detach().double().numpy()[:, :, 0, 0]
    centres, widths = block.centres.detach().double().numpy(), np.exp(block.log_widths.detach().double().numpy())
    places = maps.double().numpy().transpose(0, 2, 3, 1).reshape(-1, 8)
    # Mahalanobis, of A^T A, to what a centre is in the space of the features.
    there = (np.linalg.pinv(a) @ centres.T).T
    off = ((centres - there @ a.T) ** 2).sum(1)  # no feature comes nearer than this
    difference = places[:, None] - there
    squared = np.einsum("pkc,cd,pkd->pk", difference, a.T @ a, difference) + off
    expected = np.exp(-squared / (2 * widths**2)).reshape(2, 6, 6, CENTRES).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(block.basis(maps).detach().numpy(), expected, rtol=1e-3, atol=1e-6)
    whole = maps.double().numpy() + convolved(block.out, expected)
    np.testing.assert_allclose(block(maps).detach().numpy(), whole, rtol=1e-3, atol=1e-5)


def test_centres_start_on_places_of_films() -> None:
    block, maps = RadialBasisMapping(8), maps_of(8, 12)
    block.start_at(maps)
    a = block.distance.weight.detach().numpy()[:, :, 0, 0]
    places = maps.numpy().transpose(0, 2, 3, 1).reshape(-1, 8) @ a.T
    centres = block.centres.detach().numpy()
    assert centres.shape == (CENTRES, RANK)
    assert cdist(centres, places).min(1).max() < 1e-5
    distances = np.sort(pdist(centres))  # torch takes the lower of two middle ones
    np.testing.assert_allclose(block.log_widths.exp().detach().numpy(), distances[(len(distances) - 1) // 2], rtol=1e-3)


@pytest.mark.parametrize(
    "block", [NonLocalContext(8), Denoising(8, "mean"), Denoising(8, "median"), RadialBasisMapping(8)]
)
def test_blocks_start_without_effect_and_can_be_learned(block: nn.Module) -> None:
    maps = maps_of(8, 6).requires_grad_(True)
    assert torch.equal(block(maps), maps)
    disturbed(block)
    block(maps).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        # The softmax does not see what is added to every query alike.
        assert name == "key.bias" or parameter.grad.abs().max() > 0
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize(
    "block", [NonLocalContext(8), Denoising(8, "mean"), Denoising(8, "median"), RadialBasisMapping(8)]
)
def test_blocks_can_be_hardened_in_bfloat16(block: nn.Module) -> None:
    """As ``harden`` computes: what a bfloat16 map gives is near what a float32 one gives, and gradients flow."""
    disturbed(block)
    maps = maps_of(8, 6).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = block(maps.bfloat16())
    assert (found.float() - block(maps)).abs().max() < 0.1 * block(maps).abs().max()
    (gradient,) = torch.autograd.grad(found.float().sum(), maps)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", INSIDE)
def test_a_network_answers_exactly_as_before_with_a_rival_inside(name: str, tmp_path: Path) -> None:
    network, films = random_network(0), noise_films(tmp_path, {"train": 2})
    made = INSIDE[name].make(network, films).eval()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for one, other in zip(network(images), made(images), strict=True):
            assert torch.equal(one, other)
    count = len(INSIDE[name].where)
    assert len(made.features) == len(network.features) + count  # type: ignore[arg-type]
    assert len(norms_of(made)) == (121 if name == "dual-norm" else 0)
    assert norms_of(network) == []
    kept = INSIDE[name].kept(made)
    assert norms_of(kept) == []
    if name == "dual-norm":
        assert kept.state_dict().keys() == network.state_dict().keys()


def test_attacked_films_have_statistics_of_their_own() -> None:
    plain = nn.BatchNorm2d(3)
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
    layer = nn.Sequential(DualNorm(plain)).eval()
    (norm,) = norms_of(layer)
    clean, attacked = maps_of(3, 6), maps_of(3, 5) * 2 + 1
    before = layer(clean).detach().clone()
    with meeting([norm], attacked=True, learning=True):
        found = layer(attacked)
    np.testing.assert_allclose(norm.of_attacked.running_mean, 0.1 * attacked.mean((0, 2, 3)).numpy(), rtol=1e-5)
    batch = (attacked - attacked.mean((0, 2, 3), keepdim=True)) / attacked.std((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(found, batch * plain.weight[:, None, None], rtol=1e-3, atol=1e-4)
    assert torch.equal(layer(clean), before)  # what clean films meet has learned nothing
    assert not norm.attacked
    assert not any(module.training for module in layer.modules())
    with meeting([norm], attacked=True, learning=False):
        assert not torch.allclose(layer(clean), before)
    with_clean_norms(layer)
    assert layer[0] is plain


@pytest.mark.parametrize("name", ["non-local", "dual-norm"])
def test_a_rival_is_hardened_kept_and_read_back(name: str, tmp_path: Path) -> None:
    run, films = random_run(tmp_path / "run", 1), noise_films(tmp_path, {"train": 2, "val": 2})
    options = HardenOptions(epochs=1, batch_size=2, precision="float32", workers=0)
    output = Run(tmp_path / "new")
    harden(run, films, output, options, torch.device("cpu"), inside=INSIDE[name])
    network, record = load_inside(output), output.training.read()
    assert record["options"]["arch"] == INSIDE[name].arch
    assert record["initial_weights"].endswith(f"with {name} inside")
    own = ChestNetwork(len(LABELS)).state_dict().keys()
    if name == "dual-norm":
        assert output.network().state_dict().keys() == own
        assert (network.features.norm0.running_mean != run.network().features.norm0.running_mean).any()  # type: ignore[union-attr]
    else:
        added = [value for name, value in network.state_dict().items() if name.endswith("out.weight")]
        assert len(added) == len(INSIDE[name].where)
        assert all(value.abs().max() > 0 for value in added)
        with pytest.raises(FilmsError, match="nothing inside it"):
            output.network()
    with pytest.raises(FilmsError, match="other options or data"):
        harden(run, films, output, options, torch.device("cpu"))


def test_a_plain_run_is_read_too(tmp_path: Path) -> None:
    assert load_inside(random_run(tmp_path / "run", 1)).state_dict().keys() == random_network(0).state_dict().keys()
    made = widened(INSIDE["non-local"], ChestNetwork(len(LABELS), watched=True))
    assert made.watch is not None


def test_rivals_inside_are_measured_through_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films = noise_films(tmp_path, {"train": 8, "val": 60, "test": 8})
    hardened = []

    def harden(
        start: Run,
        made: list[object],
        run: Run,
        options: HardenOptions,
        device: object,
        teachers: object,
        *,
        inside: object,
    ) -> None:
        assert teachers == (Run(tmp_path / "teacher"), Run(tmp_path / "other"))
        assert options.ramp == 1
        assert len(made) == len(films)
        assert options.epochs == 1
        hardened.append(inside)
        run.folder.mkdir(parents=True)

    monkeypatch.setattr(rivals, "read_films", lambda _: films)
    monkeypatch.setattr(measuring, "harden", harden)
    monkeypatch.setattr(measuring, "_watch_of", lambda _: None)
    monkeypatch.setattr(measuring, "load_inside", lambda _: Tiny())
    monkeypatch.setattr(Run, "network", lambda _: Tiny())
    start, runs = tmp_path / "start", tmp_path / "runs"
    command = ["--data", "films", "--quick", "--start", str(start), "--runs", str(runs), "--workers", "0"]
    command += ["--ramp", "1", "--teacher", str(tmp_path / "teacher"), str(tmp_path / "other")]
    assert rivals.main([*command, "--inside", "non-local"]) == 0
    assert hardened == [INSIDE["non-local"]]
    report = json.loads((runs / "inside.json").read_text())
    (row,) = report["networks"].values()
    assert row["lost"]["test"] == {"value": 0, "low": 0, "high": 0}
    assert {one["goal"] for one in row["aimed"]} == {"absent-to-present", "present-to-absent"}
    assert row["cost"]["least"] <= row["cost"]["ratio"] <= row["cost"]["most"]
    table = measuring.table_of_inside(report)
    assert table in capsys.readouterr().out
    heading, rule, line = table.splitlines()
    assert heading.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| non-local context between the blocks |")


def test_the_watch_is_the_first_block_of_what_was_started_from() -> None:
    network = random_network(0)
    watch = measuring._watch_of(network)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = images
    for name, layer in network.features.named_children():
        maps = layer(maps)
        if name == "denseblock1":
            break
    torch.testing.assert_close(watch.eval()(images)[:, :256], maps.mean((2, 3)))


def test_the_page_shows_the_committed_report() -> None:
    page, report = (ROOT / "research" / "README.md").read_text(), ROOT / measuring.REPORT
    assert page == measuring.filled(page, json.loads(report.read_text()) if report.is_file() else {})


def test_train_films_alone_start_centres(tmp_path: Path) -> None:
    films = noise_films(tmp_path, {"train": 1, "val": 1})
    network = random_network(0)
    together, alone = (
        INSIDE["radial-basis"].make(network, some).state_dict() for some in (films, of_split(films, "train"))
    )
    assert all(torch.equal(value, alone[name]) for name, value in together.items())
