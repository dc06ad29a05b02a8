"""A linear probe is a logistic regression on the features that the network then has, and the same for every seed."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from app.pipeline import LABELS, ChestNetwork
from offline.data.augmentation import mixup
from offline.data.films import Film, targets_of
from offline.data.loading import keep_pixels
from offline.training.probe import PENALTY, logistic_layer, probe
from offline.training.train import TrainOptions

from .small import noise_films

OPTIONS = TrainOptions(epochs=1, batch_size=2, precision="float32", workers=0)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return noise_films(tmp_path_factory.mktemp("films"), {"train": 6})


def test_layer_is_the_logistic_regression_of_another_library() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(2, 3, (80, 5))
    targets = (features @ generator.normal(size=(5, 3)) + generator.normal(0, 6, (80, 3)) > 8).astype(np.float32)
    assert targets.sum(0).min() > 5
    assert targets.sum(0).max() < 75
    weight, bias = logistic_layer(torch.from_numpy(features).float(), torch.from_numpy(targets))
    deviation = features.std(0) + 1e-3
    standard = (features - features.mean(0)) / deviation
    for finding in range(3):
        oracle = LogisticRegression(C=1 / (2 * len(features) * PENALTY), tol=1e-8, max_iter=1000)
        oracle.fit(standard, targets[:, finding])
        logits = features @ weight[finding].double().numpy() + float(bias[finding])
        np.testing.assert_allclose(logits, oracle.decision_function(standard), atol=2e-3)


def test_start_answers_for_the_films_and_is_the_same_for_every_seed(films: list[Film]) -> None:
    starts = []
    for seed in (0, 1):
        torch.manual_seed(0)  # the backbone's random weights
        network = ChestNetwork(len(LABELS))
        before = {name: value.clone() for name, value in network.features.named_parameters()}
        probe(network, films, keep_pixels(films, 0), dataclasses.replace(OPTIONS, seed=seed), torch.device("cpu"))
        assert all(torch.equal(value, before[name]) for name, value in network.features.named_parameters())
        starts.append(network)
    pixels = keep_pixels(films, 0)
    assert pixels is not None
    with torch.no_grad():
        logits = starts[0].eval()(pixels).logits
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    targets = torch.from_numpy(targets_of(films)).float()
    chance = torch.logit(targets.mean(0).clamp(1e-3, 1 - 1e-3)).expand_as(targets)
    assert entropy(logits, targets) < entropy(chance, targets)
    for name, value in starts[0].state_dict().items():
        assert torch.equal(value, starts[1].state_dict()[name]), name


def test_kept_pixels_are_those_that_are_decoded(films: list[Film]) -> None:
    kept = keep_pixels(films, 0)
    assert kept is not None
    for film, pixels in zip(films, kept, strict=True):
        picture = np.asarray(Image.open(film.path), np.float32) / 255
        np.testing.assert_allclose(pixels[0].numpy(), picture, atol=1e-6)


def test_blend_keeps_each_film_with_its_labels() -> None:
    torch.manual_seed(3)
    images = torch.eye(4).view(4, 1, 2, 2)
    blended, wanted = mixup(images, torch.eye(4), alpha=0.4)
    torch.testing.assert_close(blended.flatten(1), wanted)
    torch.testing.assert_close(wanted.sum(1), torch.ones(4))
    assert not torch.equal(wanted, torch.eye(4))


def test_no_blend_is_asked_for() -> None:
    images, targets = torch.rand(3, 1, 2, 2), torch.rand(3, 14)
    assert all(torch.equal(one, other) for one, other in zip(mixup(images, targets, 0), (images, targets), strict=True))
