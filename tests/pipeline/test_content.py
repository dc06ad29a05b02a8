"""The check of content is torch's network and a plain projection, speaks of what it was fitted for, and hardly moves."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from app.pipeline.content import KINDS, LATERAL, OTHER, SHAPES, Content, normalised, thumbnails, turned_back
from app.pipeline.orientation import SENSES
from tests.support.bundles import always_frontal, random_content


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, 224, 224)).astype(np.float32)


def as_torch(content: Content) -> nn.Sequential:
    """The same network as torch builds it: the oracle."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 3)),
    ).double()
    values = [torch.from_numpy(content.arrays[name]).double() for name in SHAPES]
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network


def test_thumbnails_are_block_means_without_mean_and_of_deviation_one() -> None:
    shown = images(3)
    pooled = F.avg_pool2d(torch.from_numpy(shown).double(), 7)[:, 0].numpy()
    expected = [(one - one.mean()) / one.std() for one in pooled]
    np.testing.assert_allclose(thumbnails(shown), expected, atol=1e-9)


def test_a_flat_picture_is_not_stretched_to_noise() -> None:
    flat = 0.5 + 1e-6 * np.random.default_rng(0).random((1, 32, 32))
    assert np.abs(normalised(flat)).max() < 1e-4


def test_the_network_is_torchs() -> None:
    content = random_content(np.random.default_rng(1), 0.0, 1.0)
    small = thumbnails(images(4))
    with torch.inference_mode():
        logits = as_torch(content)(torch.from_numpy(small)[:, None])
    np.testing.assert_allclose(content.logits(small), logits.numpy(), rtol=1e-9)
    odds = torch.log_softmax(logits, 1).exp()[:, 0].logit().numpy()
    moderate = np.abs(odds) < 20
    np.testing.assert_allclose(content.log_odds(small)[moderate], odds[moderate], rtol=1e-6)


def test_what_the_subspace_leaves_is_the_least_squares_residual() -> None:
    content = random_content(np.random.default_rng(2), 0.0, 1.0)
    small = thumbnails(images(3, seed=3)).reshape(3, -1)
    basis = content.basis.astype(np.float64)
    for one, left in zip(small, content.unexplained(small.reshape(3, 32, 32)), strict=True):
        _, residual, *_ = np.linalg.lstsq(basis.T, one - content.mean, rcond=None)
        assert left == pytest.approx(float(residual[0]) / 1024, rel=1e-4)


def with_bias(*bias: float, **changes: Any) -> Content:
    base = always_frontal()
    arrays = {**base.arrays, "bias": np.array(bias, np.float32)}
    bounds = {"least_log_odds": base.least_log_odds, "most_unexplained": base.most_unexplained, **changes}
    return Content(arrays, base.mean, base.basis, **bounds)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_bias(9, 0, 0), None),
        (with_bias(0, 9, 0), LATERAL),
        (with_bias(0, 0, 9), OTHER),
        (with_bias(1, 0.9, 0.8), LATERAL),  # likelier than either, and less likely than both
        (with_bias(1, 0.9, 0.8, least_log_odds=-2.0), None),
        (
            with_bias(9, 0, 0, most_unexplained=0.5),
            OTHER,
        ),  # a thumbnail's own mean square is 1, and nothing explains it
        (with_bias(0, 9, 0, most_unexplained=0.5), LATERAL),
    ],
    ids=["frontal", "lateral", "other", "together", "with a bound", "strange", "strange and lateral"],
)
def test_what_is_said(content: Content, said: str | None) -> None:
    assert content.faults(images(2), [None, None]) == [said, said]
    assert said is None or said in KINDS


class TestTurned:
    """A film that would be a frontal chest film if it were turned back is left to the model of orientation."""

    def content(self, film: np.ndarray) -> Content:
        """It knows one film, as it hangs for reading: the subspace is that film alone."""
        base = always_frontal()
        return Content(base.arrays, thumbnails(film).reshape(-1).astype(np.float32), base.basis, 0.0, 0.1)

    def film(self) -> np.ndarray:
        """Not symmetric in any way."""
        return np.kron(images(1)[..., ::7, ::7], np.ones((7, 7), np.float32))

    TURNED = (
        ("turned a quarter to the left", lambda film: np.rot90(film, 1, (-2, -1))),
        ("turned a quarter to the right", lambda film: np.rot90(film, -1, (-2, -1))),
        ("upside down", lambda film: np.rot90(film, 2, (-2, -1))),
        ("inverted, bone dark and lung bright", lambda film: 1 - film),
    )

    def test_of_every_sense(self) -> None:
        assert [sense for sense, _ in self.TURNED] == list(SENSES[1:])
        film = self.film()
        content = self.content(film)
        for sense, turn in self.TURNED:
            turned = np.ascontiguousarray(turn(film))
            assert content.faults(turned, [sense]) == [None]
            assert content.faults(turned, [None]) == [OTHER]
            others = [other for other in SENSES[1:] if other != sense]
            assert content.faults(np.repeat(turned, 3, 0), others) == [OTHER] * 3

    def test_what_is_no_chest_film_turned_back_either(self) -> None:
        film = self.film()
        other = images(1, seed=9)
        assert self.content(film).faults(np.concatenate([film, other]), ["upside down"] * 2) == [None, OTHER]

    def test_turning_back_undoes_turning(self) -> None:
        small = thumbnails(self.film())[0]
        for sense, turn in self.TURNED:
            turned = thumbnails(np.ascontiguousarray(turn(self.film())))[0]
            np.testing.assert_allclose(turned_back(turned, sense), small, atol=1e-5)


def test_a_small_change_of_single_pixels_hardly_moves_a_thumbnail() -> None:
    generator = np.random.default_rng(4)
    film = 0.3 + 0.4 * np.kron(generator.random((2, 1, 32, 32)), np.ones((7, 7)))
    attacked = film + 0.02 * generator.choice([-1, 1], film.shape)
    assert np.abs(thumbnails(attacked) - thumbnails(film)).max() < 0.15  # of the thumbnail's deviation


def test_what_is_not_a_number_has_no_fault_and_harms_no_neighbour() -> None:
    both = images(2)
    both[0, 0, 5, 5] = np.nan
    with np.errstate(invalid="ignore"):
        assert with_bias(0, 9, 0).faults(both, [None, None]) == [None, LATERAL]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts["arrays"].pop("bias"), "shapes"),
        (lambda parts: parts["arrays"].update(bias=np.zeros(4, np.float32)), "shapes"),
        (lambda parts: parts["arrays"].update(bias=np.full(3, np.nan, np.float32)), "finite"),
        (lambda parts: parts.update(mean=np.zeros(9, np.float32)), "mean"),
        (lambda parts: parts.update(basis=np.zeros((2, 9), np.float32)), "basis"),
        (lambda parts: parts.update(basis=np.ones((2, 1024), np.float32)), "orthonormal"),
    ],
    ids=["without bias", "four kinds", "not finite", "short mean", "narrow basis", "not orthonormal"],
)
def test_arrays_of_another_shape_are_refused(change: Any, words: str) -> None:
    base = always_frontal()
    parts: dict[str, Any] = {"arrays": dict(base.arrays), "mean": base.mean, "basis": base.basis}
    change(parts)
    with pytest.raises(ValueError, match=words):
        Content(**parts, least_log_odds=0.0, most_unexplained=1.0)
