"""Filters that are blurred: of a film they give what the filters give of the blurred film."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from offline.data.films import FilmsError
from offline.run import Run
from offline.training.soften import FIRST_LAYER, blurred, soften

from .small import random_run


def test_blurred_filters_see_a_film_as_the_filters_see_the_blurred_film() -> None:
    generator = torch.Generator().manual_seed(0)
    film = torch.rand((1, 1, 64, 64), generator=generator, dtype=torch.float64)
    filters = torch.zeros((3, 1, 7, 7), dtype=torch.float64)
    filters[:, :, 2:5, 2:5] = torch.randn((3, 1, 3, 3), generator=generator, dtype=torch.float64)  # nothing is cut off
    soft = torch.from_numpy(gaussian_filter(film[0, 0].numpy(), 0.6, truncate=2 / 0.6))[None, None]
    expected, found = F.conv2d(soft, filters), F.conv2d(film, blurred(filters, 0.6))
    torch.testing.assert_close(found[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_what_is_cut_off_is_given_back() -> None:
    filters = torch.randn((4, 3, 7, 7), generator=torch.Generator().manual_seed(0))
    soft = blurred(filters, 2.0)
    torch.testing.assert_close(soft.sum((2, 3)), filters.sum((2, 3)), rtol=1e-4, atol=1e-4)
    assert soft.std() < filters.std() / 2


def test_only_the_first_layer_changes(tmp_path: Path) -> None:
    run, soft = random_run(tmp_path / "run", 1), Run(tmp_path / "soft")
    soften(run, 1.0, soft)
    before, after = (one.network().state_dict() for one in (run, soft))
    assert [name for name in before if not torch.equal(before[name], after[name])] == [FIRST_LAYER]
    assert "blurred by 1 pixels" in soft.training.read()["initial_weights"]


@pytest.mark.parametrize("deviation", [0.0, -1.0, 3.1, float("nan")])
def test_a_blur_that_is_none(tmp_path: Path, deviation: float) -> None:
    soft = Run(tmp_path / "soft")
    with pytest.raises(FilmsError, match="--deviation"):
        soften(random_run(tmp_path / "run", 1), deviation, soft)
    assert not soft.weights.exists()
