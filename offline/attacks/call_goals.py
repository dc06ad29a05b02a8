"""Goals on calls: absent becomes present, present becomes absent, or a call changes in any way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.pipeline.manifest import Finding

from .goals import CallGoal, Choice, Target


@dataclass(frozen=True)
class CallPoints:
    """The logits at which calls change, and the calibration of the answered probabilities.

    Attributes
    ----------
    present_from, absent_below : Tensor, shape (L,), float64
        A logit at or over ``present_from`` is called present, under ``absent_below`` absent. NaN if the finding is not called.
    slope, intercept : Tensor, shape (L,), float64
        Calibrated log odds = slope * logit + intercept.
    """

    present_from: Tensor
    absent_below: Tensor
    slope: Tensor
    intercept: Tensor

    def __post_init__(self) -> None:
        called, whole = ~self.present_from.isnan(), ~self.absent_below.isnan()
        if not torch.equal(called, whole) or (self.absent_below > self.present_from).any():
            raise ValueError("each finding needs absent_below at or under present_from, or neither")

    @staticmethod
    def of(findings: Sequence[Finding]) -> CallPoints:
        """The points of a bundle's findings."""

        def logit_of(finding: Finding, probability: float | None) -> float:
            return torch.nan if probability is None else finding.logit_of(probability)

        columns = (
            [logit_of(finding, finding.present_from) for finding in findings],
            [logit_of(finding, finding.absent_below) for finding in findings],
            [finding.slope for finding in findings],
            [finding.intercept for finding in findings],
        )
        return CallPoints(*(torch.tensor(column, dtype=torch.float64) for column in columns))

    def to(self, device: torch.device) -> CallPoints:
        """The same on a device."""
        return CallPoints(*(values.to(device) for values in vars(self).values()))

    def record(self) -> dict[str, list[float | None]]:
        """For JSON; None where a finding is not called."""
        return {
            name: [None if value != value else value for value in values.tolist()]
            for name, values in vars(self).items()
        }

    @property
    def units(self) -> Tensor:
        """The unit of distance for each finding's logit, shape (L,), float64: the width of its band.

        A band is at least as wide as an attacker within 2/255 moves that logit, so the unit is at least such an attacker's reach.
        A standard deviation over films would not show the reach: some findings can be moved further than others. A band without
        width counts as the narrowest other band, or as one logit if no band has a width.
        """
        bands = self.present_from - self.absent_below
        wide = bands[bands > 0]
        return torch.where(bands > 0, bands, wide.min() if len(wide) else torch.ones_like(bands))


@dataclass(frozen=True)
class CallTarget(Target):
    """The target of a goal on calls.

    Attributes
    ----------
    slope, intercept : Tensor, shape (N,), float64
        Calibration of the finding.
    """

    slope: Tensor
    intercept: Tensor

    def probability(self, logits: Tensor) -> Tensor:
        """The chosen finding's calibrated probability, as the service answers it, shape (N, L) -> (N,), float64."""
        return torch.sigmoid(self.slope * self.logit(logits).double() + self.intercept)


def choose_call(
    goal: CallGoal, logits: Tensor, calls: CallPoints, choice: Choice = "nearest", seed: int | Sequence[int] = 0
) -> CallTarget:
    """Choose the finding of each image, and the edge that it must cross.

    *absent-to-present*: from under ``absent_below`` to ``present_from`` or over, across the whole band.
    *present-to-absent*: from ``present_from`` or over to under ``absent_below``. *any-change*: across the nearer of the points
    that bound the present call; *indeterminate* is a call too. Findings that are not called have no goal.

    Parameters
    ----------
    logits : Tensor, shape (N, L)
        Of the clean images.
    choice : "nearest" or "random"
        Nearest: the eligible finding with the fewest ``CallPoints.units`` to its edge. Random: an eligible finding, all equally
        likely.
    seed : int or several
        Seed of the random choice.

    Raises
    ------
    ValueError
        Another choice.
    """
    if choice not in ("nearest", "random"):
        raise ValueError(f"a finding to call otherwise is chosen nearest or random, not {choice}")
    calls, clean = calls.to(logits.device), logits.detach().double()
    edge, upward, eligible = _edges(goal, clean, calls)
    if choice == "nearest":
        distance = (edge - clean).abs() / calls.units
        finding = distance.masked_fill(~eligible, torch.inf).argmin(1)
    else:
        # Drawn by numpy: the same findings on every device.
        drawn = torch.from_numpy(np.random.default_rng(seed).random(tuple(clean.shape))).to(clean.device)
        finding = drawn.masked_fill(~eligible, -1).argmax(1)

    def of(values: Tensor) -> Tensor:
        return values.gather(1, finding[:, None])[:, 0]

    possible = eligible.any(1)
    # An image without an eligible finding may have the edge of a finding without points.
    chosen = torch.where(possible, of(edge), torch.zeros_like(of(edge)))
    return CallTarget(
        goal, finding, chosen, of(upward), possible, slope=calls.slope[finding], intercept=calls.intercept[finding]
    )


def _edges(goal: CallGoal, logits: Tensor, calls: CallPoints) -> tuple[Tensor, Tensor, Tensor]:
    """Edge, upward and eligible of each image and finding, shape (N, L) each."""
    high, low = calls.present_from.expand_as(logits), calls.absent_below.expand_as(logits)
    absent, present = logits < low, logits >= high  # a comparison with NaN is False
    if goal == "absent-to-present":
        return high, torch.ones_like(absent), absent
    if goal == "present-to-absent":
        return low, torch.zeros_like(absent), present
    at_high = present | (~absent & (high - logits <= logits - low))
    return torch.where(at_high, high, low), absent | (at_high & ~present), ~high.isnan()
