"""Which finding is chosen, on which side of its point it is, and what the losses say of it."""

import pytest
import torch
from torch import Tensor, nn

from offline.attacks import AttackOptions, Goal, attack, choose_target, goal_loss

POINTS = torch.tensor([0.5, 0.1, 0.9])
ZERO, LOW, HIGH = (float(torch.logit(point)) for point in POINTS)


@pytest.fixture
def logits() -> Tensor:
    return torch.tensor(
        [
            [1.0, LOW + 2, HIGH - 0.5],  # two present; the second is further over, though less probable
            [-1.0, LOW - 0.2, HIGH - 3],  # none present
            [1.0, LOW + 1, HIGH + 0.1],  # all present
        ]
    )


def test_hide_takes_the_finding_furthest_over_its_point(logits: Tensor) -> None:
    target = choose_target("hide", logits, POINTS)
    assert target.eligible.tolist() == [True, False, True]
    assert target.finding[[0, 2]].tolist() == [1, 0]
    torch.testing.assert_close(target.margin(logits)[[0, 2]], torch.tensor([-2.0, -1.0]))


def test_invent_takes_the_finding_nearest_under_its_point(logits: Tensor) -> None:
    target = choose_target("invent", logits, POINTS)
    assert target.eligible.tolist() == [True, True, False]
    assert target.finding[:2].tolist() == [2, 1]
    torch.testing.assert_close(target.margin(logits)[:2], torch.tensor([-0.5, -0.2]))


@pytest.mark.parametrize(("goal", "wanted"), [("hide", [False, False, True]), ("invent", [True, True, False])])
def test_at_the_point_a_finding_is_present(goal: Goal, wanted: list[bool]) -> None:
    target = choose_target(goal, torch.tensor([[1.0 if goal == "hide" else -1.0]] * 3), torch.tensor([0.5]))
    assert target.reached(torch.tensor([[1e-3], [0.0], [-1e-3]])).tolist() == wanted


def test_margin_and_reached_agree(logits: Tensor) -> None:
    for goal in ("hide", "invent"):
        target = choose_target(goal, logits, POINTS)  # type: ignore[arg-type]
        moved = logits + torch.linspace(-4, 4, 41).add(0.0123)[:, None, None]
        for one in moved:
            torch.testing.assert_close(target.margin(one) > 0, target.reached(one))


@pytest.mark.parametrize("point", [0.0, 1.0])
def test_an_operating_point_that_nothing_can_pass(logits: Tensor, point: float) -> None:
    with pytest.raises(ValueError, match="over 0 and under 1"):
        choose_target("hide", logits, torch.tensor([0.5, 0.5, point]))


def test_the_goal_as_a_loss_moves_the_chosen_finding_alone() -> None:
    class Identity(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, 0]

    images = torch.tensor([[0.9, 0.2, 0.4], [0.1, 0.2, 0.3]])[:, None, None]
    target = choose_target("hide", images[:, 0, 0], torch.tensor([0.51, 0.51, 0.6]))
    moved = attack(Identity(), images, AttackOptions(0.1, 0.1, 1), loss=goal_loss(target))
    expected = images.clone()
    for row, finding in enumerate(target.finding):
        if target.eligible[row]:
            expected[row, 0, 0, finding] -= 0.1
    assert target.eligible.any()
    torch.testing.assert_close(moved, expected)
