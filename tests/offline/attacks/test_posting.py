"""Rounding to 8 bits keeps the budget, and images between levels are refused."""

import pytest
import torch

from offline.attacks.posting import grey_change, posted_within, project, require_posted, uniform_in_ball

from .toys import posted


@pytest.mark.parametrize("epsilon", [1 / 255, 0.02, 5.6 / 255, 8 / 255, 2.0, float("inf")])
def test_rounding_stays_in_the_ball_and_on_the_grid(epsilon: float) -> None:
    clean = posted(4, 0)
    moved = uniform_in_ball(clean, min(epsilon, 2.0), 1)
    moved[0] = (clean[0] + epsilon).clamp(0, 1)
    found = posted_within(moved, clean, epsilon)
    require_posted(found)
    assert float((found - clean).abs().max()) <= epsilon + 1e-6
    whole = min(int(epsilon * 255 + 1e-3), 255) if epsilon < 2 else 255
    torch.testing.assert_close(found[0], (clean[0] + whole / 255).clamp(0, 1))
    inside = (moved - clean).abs() * 255 <= whole - 0.5  # where plain rounding keeps the budget, it is plain rounding
    torch.testing.assert_close(found[inside], ((moved * 255).round() / 255)[inside], rtol=0, atol=0)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), 0.5 / 255])
def test_what_cannot_have_been_posted(value: float) -> None:
    images = posted(2, 1)
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]|8-bit grid"):
        require_posted(images)


def test_projection_and_change() -> None:
    clean = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    found = project(torch.tensor([[[[-0.5, 0.9, 0.95]]]]), clean, 0.1)
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.6, 0.95]]]]))
    torch.testing.assert_close(grey_change(found, clean), torch.tensor([0.15 * 255 / 3]))
