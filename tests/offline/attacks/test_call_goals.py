"""Goals on calls: which finding is chosen, which edge it must cross, and that attacks get there and no further than they can."""

from collections import Counter
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from app.pipeline.calls import Calls
from app.pipeline.gate import Gate
from app.pipeline.manifest import Finding
from offline.attacks import (
    CallPoints,
    SearchOptions,
    Victim,
    at_native_size,
    choose_call,
    epsilon_curve,
    feature_constraint,
    joint,
    minimal,
    orthogonal,
    selective,
)
from offline.attacks.adaptive import AwareAttack
from offline.attacks.goals import CallGoal
from offline.attacks.libraries import apgd
from tests.support.bundles import manifest_fields

from .toys import SIDE, LinearVictim, gaussian

GOALS: tuple[CallGoal, ...] = get_args(CallGoal)
NAN = float("nan")
goals = pytest.mark.parametrize("goal", GOALS)


def points(present_from: list[float], absent_below: list[float]) -> CallPoints:
    high, low = (torch.tensor(values, dtype=torch.float64) for values in (present_from, absent_below))
    return CallPoints(high, low, torch.ones_like(high), torch.zeros_like(high))


def finding(**changed: Any) -> Finding:
    return Finding.model_validate({**manifest_fields(0.0)["findings"][0], **changed})


#: Of unlike slopes and bands; the third is not called.
FINDINGS = (
    finding(slope=2.0, intercept=-3.0, present_from=0.3, absent_below=0.2),
    finding(slope=0.5, intercept=1.0, present_from=0.6, absent_below=0.5),
    finding(slope=1.0, intercept=0.0, present_from=None, absent_below=None),
    finding(slope=1.5, intercept=-2.0, present_from=0.08, absent_below=0.02),
)
CALLS = CallPoints.of(FINDINGS)


@pytest.fixture(scope="module")
def logits() -> Tensor:
    return 3 * torch.randn((400, len(FINDINGS)), generator=torch.Generator().manual_seed(1))


def served(logits: Tensor) -> list[list[str]]:
    """The calls of the pipeline, by calibrated probabilities."""
    calls = Calls(FINDINGS)
    return [[one.call for one in calls.of(torch.sigmoid(torch.tensor(calls.log_odds(row))))] for row in logits.numpy()]


@goals
@pytest.mark.parametrize("choice", ["nearest", "random"])
def test_what_is_reached_is_what_the_service_calls(goal: CallGoal, choice: Any, logits: Tensor) -> None:
    target, before = choose_call(goal, logits, CALLS, choice), served(logits)
    wanted_of = {"absent-to-present": ("absent", "present"), "present-to-absent": ("present", "absent")}
    seen = Counter[tuple[str, bool]]()
    for shift in torch.linspace(-4, 4, 9).tolist():
        reached, after = target.reached(logits + shift), served(logits + shift)
        for row, column in enumerate(target.finding.tolist()):
            old, new = before[row][column], after[row][column]
            if goal == "any-change":
                assert target.eligible[row]
                assert old != "not called"
                # Which of its two points an indeterminate call crosses was settled by the choice.
                expected = new != old and (old != "indeterminate" or (new == "present") == bool(target.upward[row]))
            else:
                start, end = wanted_of[goal]
                assert bool(target.eligible[row]) == (start in before[row])
                if not target.eligible[row]:
                    continue
                assert old == start
                expected = new == end
            assert bool(reached[row]) == expected
            seen[old, expected] += 1
        torch.testing.assert_close((target.margin(logits + shift) >= 0)[target.eligible], reached[target.eligible])
    assert len(seen) == (6 if goal == "any-change" else 2)  # each kind of start, reached and not


@goals
def test_the_nearest_finding_is_nearest_in_widths_of_its_band(goal: CallGoal, logits: Tensor) -> None:
    target = choose_call(goal, logits, CALLS)
    for row, values in enumerate(logits.double().tolist()):
        ways = {}
        for column, value in enumerate(values):
            high, low = float(CALLS.present_from[column]), float(CALLS.absent_below[column])
            way = {
                "absent-to-present": high - value if value < low else None,
                "present-to-absent": value - low if value >= high else None,
                "any-change": min(abs(value - high), abs(value - low)),
            }[goal]
            if high == high and way is not None:
                ways[column] = way / (high - low)
        assert bool(target.eligible[row]) == bool(ways)
        if ways:
            assert int(target.finding[row]) == min(ways, key=lambda column: ways[column])


def test_a_short_way_of_a_finding_that_hardly_moves_is_long() -> None:
    calls = points([1.0, 3.0], [0.9, 1.0])  # bands of .1 and of 2
    target = choose_call("absent-to-present", torch.tensor([[0.5, 0.5]]), calls)
    assert target.finding.tolist() == [1]  # 2.5 logits are 1.25 of its bands, .5 are 5 of the other's
    assert target.edge.tolist() == [3.0]


def test_bands_without_width() -> None:
    assert points([1.0, 3.0, NAN], [1.0, 1.0, NAN]).units[:2].tolist() == [2.0, 2.0]
    assert points([1.0], [1.0]).units.tolist() == [1.0]


@pytest.mark.parametrize(
    ("goal", "clean", "near", "far"),
    [
        ("absent-to-present", -2.0, 0.5, 1.0),
        ("present-to-absent", 2.0, 0.5, -0.5 - 1e-6),
        ("any-change", -2.0, -0.6, -0.5),
        ("any-change", 2.0, 1.0, 0.9),
        ("any-change", 0.5, 0.9, 1.0),
        ("any-change", 0.0, -0.5, -0.5 - 1e-6),
    ],
)
def test_both_edges(goal: CallGoal, clean: float, near: float, far: float) -> None:
    """Present is at present_from or over, absent is under absent_below; from -.5 to 1 it is indeterminate."""
    target = choose_call(goal, torch.tensor([[clean]]), points([1.0], [-0.5]))
    assert target.eligible.tolist() == [True]
    assert target.reached(torch.tensor([[clean]])).tolist() == [False]
    assert target.reached(torch.tensor([[near]])).tolist() == [False]
    assert target.reached(torch.tensor([[far]])).tolist() == [True]


@pytest.mark.parametrize("clean", [-0.5, 0.2, 0.999])
def test_an_indeterminate_call_has_no_opposite(clean: float) -> None:
    for goal in ("absent-to-present", "present-to-absent"):
        assert choose_call(goal, torch.tensor([[clean]]), points([1.0], [-0.5])).eligible.tolist() == [False]


@goals
@pytest.mark.parametrize("choice", ["nearest", "random"])
def test_of_findings_that_are_not_called_nothing_is_wanted(goal: CallGoal, choice: Any) -> None:
    clean = torch.tensor([[-9.0, 9.0], [0.0, 0.0]])
    target = choose_call(goal, clean, points([NAN, NAN], [NAN, NAN]), choice)
    assert not target.eligible.any()
    assert target.margin(clean).isfinite().all()
    assert CallPoints.of([FINDINGS[2]]).record()["present_from"] == [None]


def test_the_random_finding_is_any_of_the_eligible_ones() -> None:
    clean = torch.tensor([[-1.0, -9.0, 5.0, -3.0, -2.0]]).expand(3000, 5)
    calls = points([1.0, 1.0, 1.0, NAN, 1.0], [0.0, 0.0, 0.0, NAN, 0.0])
    target = choose_call("absent-to-present", clean, calls, "random", seed=(3, 1))
    counts = Counter(target.finding.tolist())
    assert set(counts) == {0, 1, 4}
    assert all(abs(count - 1000) < 130 for count in counts.values())  # five standard deviations
    again, other = (choose_call("absent-to-present", clean, calls, "random", seed=(3, end)) for end in (1, 2))
    assert torch.equal(target.finding, again.finding)
    assert not torch.equal(target.finding, other.finding)


def test_points_that_no_call_can_have() -> None:
    for high, low in (([0.0], [1.0]), ([NAN], [1.0]), ([1.0], [NAN])):
        with pytest.raises(ValueError, match="absent_below at or under present_from"):
            points(high, low)
    with pytest.raises(ValueError, match="nearest or random, not furthest"):
        choose_call("any-change", torch.zeros(1, 1), points([1.0], [0.0]), "furthest")


def lever(clean: list[float]) -> tuple[Victim, Tensor]:
    """Grey 128; all pixels a level up move each logit up by one, by no path further. The gate accepts everything.

    An image for each logit in `clean`, as the one finding; absent under 1.5, present from 3.5.
    """
    images = torch.full((len(clean), 1, SIDE, SIDE), 128 / 255)
    logits = torch.full((1, SIDE, SIDE), 255 / (SIDE * SIDE))
    images[:, 0] += torch.tensor(clean)[:, None, None] / 255
    network = LinearVictim(torch.zeros(1, SIDE, SIDE), logits, torch.tensor([-128.0]))
    gate = Gate(gaussian(torch.zeros(1), torch.eye(1)), -1e9)
    return Victim.of(network, gate, torch.tensor([0.5]), calls=points([3.5], [1.5])), images


#: Of the goals and a clean logit: whole levels, which an attacker needs on every pixel. One less does not do.
NEEDED: list[tuple[CallGoal, float, int]] = [
    ("absent-to-present", 1.0, 3),
    ("absent-to-present", -1.0, 5),
    ("present-to-absent", 4.0, 3),
    ("any-change", 1.0, 1),
    ("any-change", 6.0, 3),
    ("any-change", 2.0, 1),
    ("any-change", 3.0, 1),
]
needed = pytest.mark.parametrize(("goal", "clean", "levels"), NEEDED)


@needed
@pytest.mark.parametrize(
    "attack", [minimal, selective, orthogonal, joint, feature_constraint], ids=lambda attack: attack.__name__
)
def test_an_attack_reaches_the_edge_when_it_can(attack: AwareAttack, goal: CallGoal, clean: float, levels: int) -> None:
    victim, images = lever([clean])
    target = victim.choose(goal, images)
    for budget in {max(levels - 1, 1), levels}:
        result = attack(victim, images, target, SearchOptions.within((budget + 1e-3) / 255, steps=4 * levels + 4))
        assert result.goal == goal
        assert result.success.tolist() == [budget == levels]


def test_a_curve_stops_where_the_edge_is_reached() -> None:
    victim, images = lever([1.0, -1.0, 2.0])
    target = victim.choose("absent-to-present", images)
    assert target.eligible.tolist() == [True, True, False]
    budgets = [SearchOptions.within((k + 1e-3) / 255, steps=30) for k in (2, 3, 5)]
    curve = epsilon_curve(selective, victim, images, target, budgets)
    assert [result.success.tolist() for result in curve] == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
    ]
    assert torch.equal(curve[-1].images[2], images[2])


def test_the_change_is_of_the_probability_that_is_answered() -> None:
    victim, images = lever([1.0])
    assert victim.calls is not None
    calls = replace(victim.calls, slope=torch.tensor([2.0]).double(), intercept=torch.tensor([-4.0]).double())
    victim = replace(victim, calls=calls)
    target = victim.choose("absent-to-present", images)
    result = minimal(victim, images, target, SearchOptions.within(3.001 / 255, steps=20))
    expected = torch.sigmoid(torch.tensor([2 * 4.0 - 4])) - torch.sigmoid(torch.tensor([2 * 1.0 - 4]))
    torch.testing.assert_close(result.probability_change, expected.double(), atol=1e-4, rtol=0)


def test_a_library_attacks_each_finding_in_both_directions() -> None:
    pytest.importorskip("art.attacks.evasion", reason="needs the attacks extra", exc_type=ImportError)
    victim, images = lever([1.0, 4.0, 2.0, 3.0, -3.0])
    target = victim.choose("any-change", images)
    assert target.upward.tolist() == [True, False, False, True, True]
    result = apgd(victim, images, target, 1.001 / 255, steps=4)
    assert result.success.tolist() == [True, True, True, True, False]


def test_a_victim_keeps_its_points_at_native_size_and_says_when_it_has_none() -> None:
    victim, images = lever([1.0])
    assert at_native_size(victim).calls is victim.calls
    with pytest.raises(ValueError, match="any-change needs the points"):
        replace(victim, calls=None).choose("any-change", images)
