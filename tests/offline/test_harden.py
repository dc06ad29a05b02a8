"""Hardening: its attacks keep their budget, its loss counts what attacks move, and a network trained with it moves less."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from offline.augmentation import exposure
from offline.films import FilmsError
from offline.harden import NOISE, Hardening, HardenOptions

LABELS = 3
EPSILON = 4 / 255


class Linear(nn.Module):
    """A network of one layer, whose strongest attack is known."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.classifier = nn.Linear(64, LABELS)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.randn(LABELS, 64, generator=generator))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = images.flatten(1)
        return features, self.classifier(features)


def films(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1


def hardening(**options: object) -> Hardening:
    chosen = HardenOptions(**{"epsilon": EPSILON, "precision": "float32", **options})  # type: ignore[arg-type]
    return Hardening(Linear(), torch.ones(LABELS), chosen)


@pytest.mark.parametrize(("steps", "furthest"), [(1, (1 + NOISE) * EPSILON), (3, EPSILON)])
def test_attacks_keep_their_budget(steps: int, furthest: float) -> None:
    images = films(20)
    attacked = hardening(steps=steps).attacked(Linear(), images, EPSILON)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert EPSILON / 2 < (attacked - images).abs().max() <= furthest + 1e-6
    assert not attacked.requires_grad


def test_an_attack_of_several_steps_moves_a_linear_network_as_far_as_can_be() -> None:
    torch.manual_seed(0)
    images, network = films(200), Linear()
    made = hardening(steps=3)
    made._directions = lambda count: torch.tensor([[1.0, 0, 0]]).repeat(count, 1)  # type: ignore[method-assign]
    moved = (network(made.attacked(network, images, EPSILON))[1] - network(images)[1])[:, 0]
    most = EPSILON * network.classifier.weight[0].abs().sum()
    assert (moved > 0.97 * most).all()
    assert (moved <= most * 1.0001).all()


def test_the_loss_is_that_of_the_labels_where_nothing_moves() -> None:
    network = Linear()
    nn.init.zeros_(network.classifier.weight)
    targets = torch.ones(5, LABELS)
    expected = nn.functional.binary_cross_entropy_with_logits(network(films(5))[1], targets)
    assert torch.isclose(hardening(likeness=0.0).loss(network, films(5), targets, 1.0), expected)


def test_a_network_trained_with_it_moves_less_under_attack() -> None:
    torch.manual_seed(0)
    images, targets = films(64), (torch.rand(64, LABELS) < 0.5).float()
    made = hardening(consistency=30.0, likeness=0.0)
    network = Linear()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    before = network.classifier.weight.abs().sum()
    for step in range(200):
        optimizer.zero_grad()
        made.loss(network, images, targets, step / 200).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert network.classifier.weight.abs().sum() < before / 2


def test_exposure_gives_films() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        film = exposure(films(1)[0])
        assert film.shape == (1, 8, 8)
        assert 0 <= film.min() < film.max() <= 1


@pytest.mark.parametrize("options", [{"epsilon": 0.0}, {"steps": 0}])
def test_options_that_make_no_attack(options: dict[str, float]) -> None:
    with pytest.raises(FilmsError, match="--epsilon must be over 0"):
        HardenOptions(**options)  # type: ignore[arg-type]
