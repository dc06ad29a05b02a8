"""Attackers with a goal, where what can be reached is known exactly."""

from dataclasses import replace

import pytest
import torch

from offline.attacks import (
    Goal,
    SearchOptions,
    epsilon_curve,
    feature_constraint,
    joint,
    judged,
    minimal,
    orthogonal,
    selective,
)
from offline.attacks.adaptive import AwareAttack, ascend_orthogonal, ascend_unmet, without
from offline.attacks.density import LogMixture
from offline.attacks.posting import posted_within
from offline.attacks.search import Probe, direction

from .toys import LinearVictim, apart, entangled, gaussian

AWARE = {"joint": joint, "selective": selective, "orthogonal": orthogonal, "constraint": feature_constraint}
EVERY = {"minimal": minimal, **AWARE}
attacks = pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY.keys())
aware = pytest.mark.parametrize("attack", AWARE.values(), ids=AWARE.keys())
goals = pytest.mark.parametrize("goal", ["hide", "invent"])


def levels(count: float, **changes: object) -> SearchOptions:
    return replace(SearchOptions(count / 255, 0.5 / 255, 30), **changes)  # type: ignore[arg-type]


@attacks
@goals
@pytest.mark.parametrize("count", [1, 8.5, 20])
def test_reaches_what_a_linear_network_lets_it_reach(attack: AwareAttack, goal: Goal, count: float) -> None:
    victim, images = apart()
    target = victim.choose(goal, images)
    result = attack(victim, images, target, levels(count, step_size=1 / 255))
    network = victim.network
    assert isinstance(network, LinearVictim)
    way = network.logits.detach()[target.finding].sign()[:, None] * (1 if goal == "invent" else -1)
    optimum = posted_within((images + way * int(count) / 255).clamp(0, 1), images, count / 255)
    possible = target.reached(network(optimum).logits) & target.eligible
    if count > 1:
        assert 0 < possible.sum() < target.eligible.sum()
    assert result.success.tolist() == possible.tolist()
    assert result.goal_reached.tolist() == possible.tolist()
    failed = target.eligible & ~possible  # and where the goal is out of reach, the nearest point is kept
    torch.testing.assert_close(
        target.margin(network(result.images).logits)[failed], target.margin(network(optimum).logits)[failed]
    )


@attacks
@goals
@pytest.mark.parametrize("restarts", [1, 3])
def test_keeps_its_budget_on_the_grid(attack: AwareAttack, goal: Goal, restarts: int) -> None:
    victim, images = entangled() if goal == "hide" else apart()
    before = images.clone()
    options = levels(2.6, restarts=restarts, steps=4)
    result = attack(victim, images, victim.choose(goal, images), options)
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    assert float((result.images - images).abs().max()) <= 2 / 255 + 1e-6  # whole levels under 2.6
    torch.testing.assert_close(result.images * 255, (result.images * 255).round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(result.images[~result.eligible], images[~result.eligible], rtol=0, atol=0)
    torch.testing.assert_close(result.grey_change, (result.images - images).abs().mean((1, 2, 3)) * 255)
    assert not result.images.requires_grad


def test_the_uninformed_attack_stops_at_the_first_flip_and_is_caught() -> None:
    victim, images = entangled(levels=3)
    result = minimal(victim, images, victim.choose("hide", images), levels(8))
    torch.testing.assert_close(result.images, images - 3 / 255)
    torch.testing.assert_close(result.grey_change, torch.full((2,), 3.0))
    assert result.goal_reached.all()
    assert not result.accepted.any()
    assert result.clean_accepted.all()
    # 1/2 over the point before, 1/2 under it after: 2.5 - 3 levels.
    expected = torch.sigmoid(torch.tensor(-0.5)) - torch.sigmoid(torch.tensor(2.5))
    torch.testing.assert_close(result.probability_change, expected.double().expand(2), rtol=1e-3, atol=1e-4)


@aware
def test_who_knows_the_gate_passes_it(attack: AwareAttack) -> None:
    victim, images = entangled(levels=3)
    result = attack(victim, images, victim.choose("hide", images), levels(8, steps=60))
    assert result.success.all()
    assert result.success_rate == 1
    right = (result.images - images)[..., 4:].mean((1, 2, 3)) * 255
    assert (right.abs() <= 1.5).all()


@aware
def test_what_cannot_be_passed_is_not(attack: AwareAttack) -> None:
    """3.5 levels are needed: the left half, moved by 4, gives 2, and the right, which the gate lets move by 1, a half."""
    victim, images = entangled(levels=4)
    result = attack(victim, images, victim.choose("hide", images), levels(4, restarts=2))
    assert not result.success.any()
    if attack is not orthogonal:  # whose step toward the goal leaves the density alone, so that it stays accepted
        assert result.goal_reached.all()  # the nearest: goal first


@pytest.mark.parametrize("attack", [selective, orthogonal], ids=["selective", "orthogonal"])
def test_the_l2_geometry_passes_too(attack: AwareAttack) -> None:
    victim, images = entangled(levels=3)
    assert attack(victim, images, victim.choose("hide", images), levels(8, steps=60, geometry="l2")).success.all()


def test_hidden_layers_can_be_constrained() -> None:
    victim, images = entangled(levels=3)
    named = torch.nn.Sequential()
    network = victim.network
    network.add_module("body", named)
    original = network.forward
    network.forward = lambda x: original(named(x))  # type: ignore[method-assign]
    mode = LogMixture([gaussian(torch.tensor([128 / 255]), torch.eye(1))])
    result = feature_constraint(
        victim,
        images,
        victim.choose("hide", images),
        levels(8),
        {"body": mode, "final": LogMixture([victim.gate.density])},
    )
    assert result.success.all()
    with pytest.raises(ValueError, match="no layer nowhere"):
        feature_constraint(victim, images, victim.choose("hide", images), levels(8), {"nowhere": mode})


class Plane:
    """margin = 3 a + b - 1 and excess = b - a (for two pixels a, b), with gradients (3, 1) and (-1, 1)."""

    def probe(self, a: float, b: float) -> Probe:
        image = torch.tensor([[[[a, b]]]], requires_grad=True)
        margin = 3 * image[:, 0, 0, 0] + image[:, 0, 0, 1] - 1
        excess = (image[:, 0, 0, 1] - image[:, 0, 0, 0]).double()
        return Probe(image, torch.tensor([0]), margin, excess, margin >= 0, image.flatten(1))


@pytest.mark.parametrize(("place", "expected"), [((0.0, 0.5), (3, 1)), ((1.0, 0.0), (-1, 1))])
def test_the_selective_rule_by_hand(place: tuple[float, float], expected: tuple[float, float]) -> None:
    assert ascend_unmet(Plane().probe(*place)).flatten().tolist() == list(expected)


@pytest.mark.parametrize(
    ("place", "expected"),
    # (3,1) - (-3+1)/2 (-1,1) = (2,2); (-1,1) - (-2)/10 (3,1) = (-0.4, 1.2)
    [((0.0, 0.5), (2, 2)), ((1.0, 0.0), (-0.4, 1.2))],
)
def test_the_orthogonal_rule_by_hand(place: tuple[float, float], expected: tuple[float, float]) -> None:
    torch.testing.assert_close(ascend_orthogonal(Plane().probe(*place)).flatten(), torch.tensor(expected).float())


def test_the_projection_leaves_nothing_of_a_gradient_a_million_times_longer() -> None:
    generator = torch.Generator().manual_seed(6)
    short, long = torch.randn((2, 4, 1, 8, 8), generator=generator)
    rest = without(short, 1e6 * long)
    cosine = (rest * long).flatten(1).sum(1) / (rest.flatten(1).norm(dim=1) * long.flatten(1).norm(dim=1))
    assert cosine.abs().max() < 1e-6
    torch.testing.assert_close(without(short, torch.zeros_like(short)), short)


def test_directions() -> None:
    gradient = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert direction(gradient, "sign").tolist() == [[[[1.0, -1.0]]], [[[0.0, 0.0]]]]
    l2 = direction(gradient, "l2")
    torch.testing.assert_close(l2[0].norm(), torch.tensor(2.0).sqrt())
    torch.testing.assert_close(l2[1], torch.zeros(1, 1, 2))


def test_the_least_change_is_smaller_than_that_of_sign_steps() -> None:
    """On weights of very different size, moving the heavy pixels alone does it."""
    victim, images = entangled(levels=3)
    network = victim.network
    assert isinstance(network, LinearVictim)
    heavy = torch.full((1, 8, 8), 0.01)
    heavy[0, 0, 0] = 255.0
    network.logits.data = heavy
    network.bias.data = 1.5 - torch.einsum("hw,hw->", images[0, 0], heavy[0])[None]  # 1.5 levels of the heavy pixel
    target = victim.choose("hide", images)
    least = minimal(victim, images, target, SearchOptions.least(4 / 255))
    assert least.success.all()
    torch.testing.assert_close(least.grey_change, torch.full((2,), 2 / 64))
    assert (minimal(victim, images, target, levels(4)).grey_change >= 1.9).all()


def test_the_curve_keeps_what_a_smaller_budget_did() -> None:
    victim, images = apart()
    target = victim.choose("hide", images)
    budgets = [levels(count, step_size=1 / 255) for count in (6, 10, 20)]
    curve = epsilon_curve(selective, victim, images, target, budgets)
    alone = [selective(victim, images, target, options) for options in budgets]
    assert [one.success.tolist() for one in curve] == [one.success.tolist() for one in alone]
    assert [one.epsilon for one in curve] == [options.epsilon for options in budgets]
    first = curve[0].success
    assert 0 < first.sum() < curve[2].success.sum()
    torch.testing.assert_close(curve[2].images[first], curve[0].images[first], rtol=0, atol=0)
    assert (curve[2].steps[first] == curve[0].steps[first]).all()
    assert (curve[2].steps >= curve[1].steps).all()
    assert curve[2].eligible.tolist() == target.eligible.tolist()
    with pytest.raises(ValueError, match="rising"):
        epsilon_curve(selective, victim, images, target, budgets[::-1])


def test_seeds_repeat() -> None:
    victim, images = entangled(levels=4)
    target = victim.choose("hide", images)
    first, again, other = (
        selective(victim, images, target, levels(4, restarts=2, steps=2, seed=seed)).images for seed in (0, 0, 7)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert first.shape == other.shape


def test_images_between_levels_and_budgets_exceeded_are_refused() -> None:
    victim, images = entangled()
    target = victim.choose("hide", images)
    with pytest.raises(ValueError, match="8-bit grid"):
        selective(victim, images + 0.3 / 255, target, levels(4))
    with pytest.raises(AssertionError, match="over epsilon"):
        judged(victim, images, images + 3 / 255, target, 2 / 255)


@pytest.mark.parametrize(
    "changes", [{"epsilon": 0.0}, {"step_size": -1.0}, {"steps": 0}, {"restarts": 0}, {"weight_rounds": 0}]
)
def test_options_that_make_no_attack(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(SearchOptions(0.1, 0.1), **changes)  # type: ignore[arg-type]


def test_success_rate_counts_the_eligible() -> None:
    victim, films = apart()
    target = victim.choose("hide", films)
    assert not target.eligible.all()
    result = minimal(victim, films, target, levels(30))
    assert result.success_rate == int(result.success.sum()) / int(target.eligible.sum())
