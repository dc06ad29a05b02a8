"""On a linear model, where the worst perturbation is known exactly, every attack finds it and keeps its budget."""

import pytest
import torch
from torch import Tensor, nn

from offline.attacks import AttackOptions, as_posted, attack, paper_attacks
from offline.attacks.linf import Loss, runner_up_loss, top_finding_loss, top_logit_loss

EPSILON = 0.02
NAMES = tuple(paper_attacks(EPSILON))


class Linear(nn.Module):
    """Logits W x + b; the lowered finding is x - epsilon sign(w) clipped, for its row w."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight  # (L, H, W)

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("nhw,lhw->nl", images[:, 0], self.weight)


@pytest.fixture(scope="module")
def model() -> Linear:
    return Linear(torch.randn((3, 8, 8), generator=torch.Generator().manual_seed(0)) / 8)


@pytest.fixture(scope="module")
def images() -> Tensor:
    images = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    images[0, 0, 0] = 0.0  # where clipping to [0,1] bites
    images[1, 0, 0] = 1.0
    return images


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_known_optimum(model: Linear, images: Tensor, name: str) -> None:
    top = model(images).argmax(1)
    optimum = (images - EPSILON * model.weight[top].sign()[:, None]).clamp(0, 1)
    attacked = attack(model, images, paper_attacks(EPSILON)[name])
    torch.testing.assert_close(attacked, optimum, rtol=0, atol=1e-6)
    assert (model(attacked).gather(1, top[:, None]) < model(images).gather(1, top[:, None])).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epsilon", [1 / 255, 0.02, 0.5, 2.0])
def test_keeps_its_budget(model: Linear, images: Tensor, name: str, epsilon: float) -> None:
    before = images.clone()
    attacked = attack(model, images, paper_attacks(epsilon)[name])
    assert float((attacked - images).abs().max()) <= epsilon + 1e-6
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1
    assert not attacked.requires_grad
    torch.testing.assert_close(images, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_gradient_gives_no_nan(images: Tensor, name: str) -> None:
    attacked = attack(Linear(torch.zeros(3, 8, 8)), images, paper_attacks(EPSILON)[name])
    assert torch.isfinite(attacked).all()
    if name != "PGD":  # which starts at random
        torch.testing.assert_close(attacked, images, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PGD"])  # its start depends on the batch
def test_an_image_is_attacked_as_it_is_alone(model: Linear, images: Tensor, name: str) -> None:
    options = paper_attacks(EPSILON)[name]
    alone = torch.cat([attack(model, image[None], options) for image in images])
    torch.testing.assert_close(attack(model, images, options), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_images_outside_the_unit_range(model: Linear, images: Tensor, value: float) -> None:
    spoilt = images.clone()
    spoilt[2, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        attack(model, spoilt, paper_attacks(EPSILON)["FGSM"])


@pytest.mark.parametrize(("epsilon", "step", "steps"), [(0, 0.1, 1), (-0.1, 0.1, 1), (0.1, 0, 1), (0.1, 0.1, 0)])
def test_options_that_make_no_attack(epsilon: float, step: float, steps: int) -> None:
    with pytest.raises(ValueError, match="over 0"):
        AttackOptions(epsilon, step, steps)


def test_the_random_start_repeats_with_its_seed(model: Linear, images: Tensor) -> None:
    options = AttackOptions(EPSILON, EPSILON / 1000, 1, random_start=True)
    first, again, other = (attack(model, images, options, seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().max() > EPSILON / 10


def test_loss_is_the_cross_entropy_of_the_top_finding() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    expected = -torch.log(torch.sigmoid(torch.tensor([2.0, 3.0]))).sum()
    torch.testing.assert_close(top_finding_loss(logits, torch.tensor([0, 1])), expected)


def test_as_posted_is_on_the_grid_of_eight_bits(images: Tensor) -> None:
    posted = as_posted(images)
    levels = posted * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert float((posted - images).abs().max()) <= 0.5 / 255 + 1e-6
    torch.testing.assert_close(as_posted(posted), posted, rtol=0, atol=0)
    every = torch.arange(256, dtype=torch.uint8)
    torch.testing.assert_close(as_posted(every.float() / 255), every.float() / 255, rtol=0, atol=0)


@pytest.mark.parametrize("loss", [top_finding_loss, top_logit_loss])
def test_losses_of_the_top_finding_share_their_optimum(model: Linear, images: Tensor, loss: Loss) -> None:
    options = paper_attacks(EPSILON)["BIM"]
    torch.testing.assert_close(attack(model, images, options, loss=loss), attack(model, images, options))


def test_the_runner_up_loss_is_over_zero_where_another_finding_leads() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    torch.testing.assert_close(runner_up_loss(logits, torch.tensor([0])), torch.tensor(-1.5))
    torch.testing.assert_close(runner_up_loss(logits, torch.tensor([2])), torch.tensor(1.5))
