"""The sanity checks pass on sound attacks, and fail on broken ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from offline.attacks import AttackResult, SearchOptions, Target, Victim, joint, minimal, orthogonal, selective
from offline.attacks.adaptive import AwareAttack
from offline.attacks.sanity import gradients_flow, never_lower, reaches_all, sanity_checks

from .toys import LinearVictim, entangled

OPTIONS = SearchOptions(4 / 255, 0.5 / 255, 24)


@pytest.mark.parametrize("attack", [joint, selective, orthogonal])
def test_sound_attacks_pass(attack: AwareAttack) -> None:
    victim, images = entangled(levels=3)
    target = victim.choose("hide", images)
    # A hair off the mean, where the density's gradient is not zero.
    images[:, :, 0, -1] += 1 / 255
    checks = sanity_checks(attack, victim, images, target, OPTIONS)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 5
    assert all(check.detail for check in checks)


def test_an_uninformed_attack_reaches_its_goal_unbounded() -> None:
    victim, images = entangled(levels=3)
    result = minimal(victim, images, victim.choose("hide", images), replace(OPTIONS, epsilon=1.0))
    assert reaches_all(result, informed=False).passed
    assert not reaches_all(result).passed


def test_an_attack_that_moves_nothing_fails() -> None:
    def idle(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
        return selective(victim, images, replace(target, eligible=torch.zeros(2, dtype=torch.bool)), options)

    victim, images = entangled()
    result = idle(victim, images, victim.choose("hide", images), OPTIONS)
    eligible = replace(result, eligible=torch.ones(2, dtype=torch.bool))
    assert not reaches_all(eligible).passed


def test_falling_success_fails() -> None:
    victim, images = entangled(levels=3)
    target = victim.choose("hide", images)
    good = selective(victim, images, target, replace(OPTIONS, epsilon=8 / 255, steps=60))
    bad = selective(victim, images, target, replace(OPTIONS, epsilon=1 / 255, steps=1))
    assert never_lower("epsilon", [1, 8], [bad, good]).passed
    fallen = never_lower("epsilon", [1, 8], [good, bad])
    assert not fallen.passed
    assert fallen.detail == "evaded of 2: 1: 2, 8: 0"
    with pytest.raises(ValueError, match="rising"):
        never_lower("epsilon", [8, 1], [good, bad])


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_masked_gradients_fail(value: float) -> None:
    victim, images = entangled()
    target = victim.choose("hide", images)
    images[:, :, 0, -1] += 1 / 255
    assert gradients_flow(victim, images, target).passed
    network = victim.network
    assert isinstance(network, LinearVictim)
    network.logits.data.fill_(value)
    check = gradients_flow(victim, images, target)
    assert not check.passed
    assert "margin: 2 bad of 2" in check.detail
