"""What the numbers mean, in plain words. Each sentence is made from the evaluation; none is a fixed claim."""

from __future__ import annotations

from typing import Final, NamedTuple

from app.pipeline.image import INPUT_SIDE

from ..attacks.goals import OPPOSITE
from .reading import (
    PAPER_ATTACKS,
    Rate,
    Tree,
    at,
    branch,
    decimal,
    gate_of,
    goal_of,
    number,
    of,
    percent,
    rate,
    rows,
    spread,
    strength,
    text,
    with_interval,
)

GOALS: Final = {
    "absent-to-present": "turns a call from absent to present",
    "present-to-absent": "turns a call from present to absent",
    "any-change": "changes a call at all",
    "hide": "hides a finding that is there",
    "invent": "invents a finding that is not there",
}
_HARM: Final = tuple(wanted.goal for wanted in OPPOSITE)
NOT_A_DEVICE = "This is not a medical device: no diagnosis, triage or treatment may rest on it."


class Headline(NamedTuple):
    """One big number of the first screen; ``bad`` says whether it speaks against the gate, None where unmeasured."""

    title: str
    value: str
    interval: str
    films: str
    note: str
    bad: bool | None


def stopped(evaluation: Tree) -> tuple[str, Tree] | None:
    """The attack of the paper that the default gate stops least often."""
    attacks = branch(gate_of(evaluation), "attacks")
    measured = [
        (share, name)
        for name in PAPER_ATTACKS
        if (share := number(attacks, name, "detection_rate", "value")) is not None
    ]
    if not measured:
        return None
    lowest = min(share for share, _ in measured)
    name = next(name for share, name in measured if share == lowest)
    return name, branch(attacks, name)


def worst(evaluation: Tree, *, informed: bool, goal: str | None = None) -> Tree | None:
    """The attacker that passes most often; of equals, the one with the smallest epsilon.

    Without a `goal`: of those who turn a call into its opposite, where they were measured, and else of all. Another change
    of a call, and the crossing of an operating point that no call rests on, do less harm.
    """
    measured = [
        row
        for row in rows(evaluation, "aware")
        if at(row, "informed") is informed
        and goal in (None, at(row, "goal"))
        and number(row, "evasion_rate", "value") is not None
    ]
    if goal is None:
        measured = [row for row in measured if at(row, "goal") in _HARM] or measured
    return max(
        measured,
        key=lambda row: (number(row, "evasion_rate", "value") or 0, -(number(row, "epsilon") or 1)),
        default=None,
    )


def worst_harmless(evaluation: Tree) -> Tree | None:
    """The harmless change after which most clean films are refused."""
    measured = [row for row in rows(evaluation, "harmless") if number(row, "false_rejection_rate", "value") is not None]
    return max(measured, key=lambda row: number(row, "false_rejection_rate", "value") or 0, default=None)


def verdict(evaluation: Tree) -> str:
    """One line: would this gate stop an attack?"""
    weakest, informed = stopped(evaluation), worst(evaluation, informed=True)
    caught = None if weakest is None else number(weakest[1], "detection_rate", "value")
    passed = None if informed is None else number(informed, "evasion_rate", "value")
    if caught is None and passed is None:
        return "Not measured: this evaluation holds no attack on the gate."
    parts = []
    if caught is not None:
        how = "Yes" if caught >= 0.9 else "In part" if caught >= 0.5 else "No"
        parts.append(f"{how}, if the attack is a textbook one.")
    else:
        parts.append("Textbook attacks were not measured.")
    early = worst(evaluation, informed=False)
    if early is not None and (number(early, "evasion_rate", "value") or 0) >= 0.1:
        parts.append("Not reliably, if the attack stops early.")
    if passed is not None:
        how = "No" if passed >= 0.5 else "Not reliably" if passed >= 0.1 else "Mostly yes"
        parts.append(f"{how}, if the attacker knows the gate.")
    else:
        parts.append("Attackers who know the gate were not measured, so expect the worst.")
    return " ".join(parts)


def headlines(evaluation: Tree) -> list[Headline]:
    """The five big numbers of the first screen."""
    return [_textbook(evaluation), _cost(evaluation), *_passing(evaluation), _touched(evaluation)]


def sentences(evaluation: Tree) -> list[str]:
    """The conclusions, one a sentence, for people who have not seen the project."""
    found = [
        _about_textbook(evaluation),
        _about_cost(evaluation),
        _about_early(evaluation),
        _about_informed(evaluation),
        _about_native(evaluation),
        _about_harmless(evaluation),
        _about_network(evaluation),
    ]
    return [*(sentence for sentence in found if sentence), NOT_A_DEVICE]


def _textbook(evaluation: Tree) -> Headline:
    weakest = stopped(evaluation)
    if weakest is None:
        return _unmeasured("Textbook attacks stopped")
    name, row = weakest
    n = sum(1 for attack in PAPER_ATTACKS if attack in branch(gate_of(evaluation), "attacks"))
    share = rate(row, "detection_rate")
    note = f"The weakest result of the paper's {n} attacks: {name}."
    return _headline(
        "Textbook attacks stopped", share, of(at(row, "detected"), at(row, "n")), note, (share.value or 0) < 0.9
    )


def _cost(evaluation: Tree) -> Headline:
    share = rate(evaluation, "clean", "false_rejection_rate")
    if share.value is None:
        return _unmeasured("Clean films refused")
    target = number(evaluation, "gate", "target")
    count = of(at(evaluation, "clean", "false_rejections"), at(evaluation, "films", "test"))
    note = f"The cost: nothing was wrong with these. Aim: {percent(target)}."
    # The target is met within chance where the interval reaches down to it.
    missed = target is not None and share.low is not None and share.low > target
    return _headline("Clean films refused", share, count, note, missed)


def _passing(evaluation: Tree) -> list[Headline]:
    made = []
    for informed, title in (
        (False, "Attacks that stop early and pass"),
        (True, "Attackers who know the gate and pass"),
    ):
        row = worst(evaluation, informed=informed)
        if row is None:
            made.append(_unmeasured(title))
            continue
        share = rate(row, "evasion_rate")
        who = f"{text(at(row, 'attacker'))}, {goal_of(row)}, ε {strength(number(row, 'epsilon'))}"
        note = f"At worst ({who})." if informed else f"Gate unknown; stops when the answer flips ({who})."
        count = of(at(row, "evaded"), at(row, "eligible"))
        made.append(_headline(title, share, count, note, (share.value or 0) >= 0.1))
    return made


def _touched(evaluation: Tree) -> Headline:
    row = worst_harmless(evaluation)
    title = "Refused after a harmless change"
    if row is None:
        return _unmeasured(title)
    share = rate(row, "false_rejection_rate")
    note = f"At worst: {text(at(row, 'change'))}. No one attacked."
    return _headline(title, share, of(at(row, "rejected"), at(row, "films")), note, (share.value or 0) >= 0.1)


def _headline(title: str, share: Rate, count: str, note: str, bad: bool) -> Headline:
    return Headline(title, percent(share.value), spread(share), count, note, None if share.value is None else bad)


def _unmeasured(title: str) -> Headline:
    return Headline(title, "n/a", "n/a", "n/a", "Not measured in this evaluation.", None)


def _about_textbook(evaluation: Tree) -> str:
    weakest = stopped(evaluation)
    if weakest is None:
        return "Whether the gate stops the paper's attacks was not measured."
    name, row = weakest
    measured = [attack for attack in PAPER_ATTACKS if attack in branch(gate_of(evaluation), "attacks")]
    return (
        f"Of the paper's {len(measured)} attacks, which run at full strength and know nothing of the gate, it stops at least "
        f"{with_interval(rate(row, 'detection_rate'))}; the weakest result is {of(at(row, 'detected'), at(row, 'n'))} "
        f"films, on {name}."
    )


def _about_cost(evaluation: Tree) -> str:
    share = rate(evaluation, "clean", "false_rejection_rate")
    if share.value is None:
        return "How many clean films the gate refuses was not measured."
    count = of(at(evaluation, "clean", "false_rejections"), at(evaluation, "films", "test"))
    target = percent(number(evaluation, "gate", "target"))
    return f"It refuses {with_interval(share)} of clean films, {count}, where the threshold aims at {target}."


def _about_early(evaluation: Tree) -> str:
    row = worst(evaluation, informed=False)
    if row is None:
        return "Attacks that stop as soon as the answer flips were not measured."
    return (
        f"An attacker who does not know the gate, but stops as soon as the answer flips, passes in "
        f"{with_interval(rate(row, 'evasion_rate'))} at worst ({of(at(row, 'evaded'), at(row, 'eligible'))} films; "
        f"{_setting(row)})."
    )


def _about_informed(evaluation: Tree) -> str:
    parts = []
    for goal, deed in GOALS.items():
        row = worst(evaluation, informed=True, goal=goal)
        if row is not None:
            parts.append(
                f"{deed} in {with_interval(rate(row, 'evasion_rate'))} "
                f"({of(at(row, 'evaded'), at(row, 'eligible'))} films; {_setting(row)})"
            )
    if not parts:
        return "Attackers who know the gate were not measured; no claim is made that it withstands them."
    return f"An attacker who knows the gate, and whom it accepts, {', and '.join(parts)}, each at worst."


def _about_native(evaluation: Tree) -> str:
    found = [row for row in rows(evaluation, "aware") if at(row, "size") not in (None, INPUT_SIDE)]
    row = worst({"aware": found}, informed=True)
    if row is None:
        return ""
    return (
        f"Posted as whole films of {at(row, 'size')} pixels, which are made smaller on arrival, such attacks still pass in "
        f"{with_interval(rate(row, 'evasion_rate'))} ({of(at(row, 'evaded'), at(row, 'eligible'))} films; {_setting(row)})."
    )


def _about_harmless(evaluation: Tree) -> str:
    row = worst_harmless(evaluation)
    if row is None:
        return "Harmless changes such as noise or rotation were not measured."
    return (
        f"A refusal is no proof of an attack: after a harmless change ({text(at(row, 'change'))}) the gate refuses "
        f"{with_interval(rate(row, 'false_rejection_rate'))} of clean films, {of(at(row, 'rejected'), at(row, 'films'))}."
    )


def _about_network(evaluation: Tree) -> str:
    mean = number(evaluation, "clean", "weighted_auroc", "mean")
    if mean is None:
        return "How well the network reads clean films was not measured."
    deviation = decimal(number(evaluation, "clean", "weighted_auroc", "deviation"))
    return (
        f"On clean films the network behind the gate ranks findings with a weighted AUROC of {decimal(mean)} "
        f"(standard deviation over findings {deviation}); the paper's has 0.817."
    )


def _setting(row: Tree) -> str:
    change = number(row, "grey_change")
    grey = "" if change is None else f", a mean change of {change:.2f} of 255 grey levels"
    return f"{text(at(row, 'attacker'))}, epsilon {strength(number(row, 'epsilon'))}{grey}"
