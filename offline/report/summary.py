"""The meaning of the numbers, in plain words. Each sentence is made from the evaluation; none is a fixed claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.pipeline.image import INPUT_SIDE

from ..attacks.goals import OPPOSITE
from .reading import PAPER_ATTACKS, AimedRow, AttackRow, Evaluation, Interval, RefusalRow
from .table1 import PAPER_CLEAN_AUROC
from .words import NOT_AVAILABLE, decimal, of, percent, spread, strength, text, with_interval

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


def stopped(evaluation: Evaluation) -> tuple[str, AttackRow] | None:
    """The attack of the paper that the gate stops least often."""
    rows = [(name, evaluation.gate_row.on(name)) for name in PAPER_ATTACKS]
    measured = [(name, row) for name, row in rows if row.detection_rate.value is not None]
    return min(measured, key=lambda found: found[1].detection_rate.value or 0, default=None)


def worst(rows: Iterable[AimedRow], *, informed: bool, goal: str | None = None) -> AimedRow | None:
    """The attacker that passes most often; among equals the one with the smallest epsilon.

    Without a `goal` only attackers who turn a call into its opposite count, or all attackers if those were not measured. Other
    changes of a call do less harm, and so does the crossing of an operating point on which no call depends.
    """
    measured = [
        row
        for row in rows
        if row.informed is informed and goal in (None, row.goal) and row.evasion_rate.value is not None
    ]
    if goal is None:
        measured = [row for row in measured if row.goal in _HARM] or measured
    return max(measured, key=lambda row: (row.evasion_rate.value or 0, -(row.epsilon or 1)), default=None)


def worst_harmless(evaluation: Evaluation) -> RefusalRow | None:
    """The harmless change after which most clean films are refused."""
    measured = [row for row in evaluation.harmless if row.false_rejection_rate.value is not None]
    return max(measured, key=lambda row: row.false_rejection_rate.value or 0, default=None)


def verdict(evaluation: Evaluation) -> str:
    """One line: would this gate stop an attack?"""
    weakest, informed = stopped(evaluation), worst(evaluation.aware, informed=True)
    caught = None if weakest is None else weakest[1].detection_rate.value
    passed = None if informed is None else informed.evasion_rate.value
    if caught is None and passed is None:
        return "Not measured: this evaluation holds no attack on the gate."
    parts = []
    if caught is not None:
        how = "Yes" if caught >= 0.9 else "In part" if caught >= 0.5 else "No"
        parts.append(f"{how}, if the attack is a textbook one.")
    else:
        parts.append("Textbook attacks were not measured.")
    early = worst(evaluation.aware, informed=False)
    if early is not None and (early.evasion_rate.value or 0) >= 0.1:
        parts.append("Not reliably, if the attack stops early.")
    if passed is not None:
        how = "No" if passed >= 0.5 else "Not reliably" if passed >= 0.1 else "Mostly yes"
        parts.append(f"{how}, if the attacker knows the gate.")
    else:
        parts.append("Attackers who know the gate were not measured, so expect the worst.")
    return " ".join(parts)


def headlines(evaluation: Evaluation) -> list[Headline]:
    """The five big numbers of the first screen."""
    return [
        _textbook(evaluation),
        _cost(evaluation),
        _passing(evaluation, "Attacks that stop early and pass", informed=False),
        _passing(evaluation, "Attackers who know the gate and pass", informed=True),
        _touched(evaluation),
    ]


def sentences(evaluation: Evaluation) -> list[str]:
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


def _textbook(evaluation: Evaluation) -> Headline:
    title, weakest = "Textbook attacks stopped", stopped(evaluation)
    if weakest is None:
        return _unmeasured(title)
    name, row = weakest
    note = f"The weakest result of the paper's {_paper_attacks(evaluation)} attacks: {name}."
    share = row.detection_rate
    return _headline(title, share, of(row.detected, row.n), note, (share.value or 0) < 0.9)


def _paper_attacks(evaluation: Evaluation) -> int:
    return sum(1 for attack in PAPER_ATTACKS if attack in evaluation.gate_row.attacks)


def _cost(evaluation: Evaluation) -> Headline:
    title, share, target = "Clean films refused", evaluation.clean.false_rejection_rate, evaluation.gate.target
    if share.value is None:
        return _unmeasured(title)
    note = f"The cost: nothing was wrong with these. Aim: {percent(target)}."
    # The target is met within chance where the interval reaches down to it.
    missed = target is not None and share.low is not None and share.low > target
    return _headline(title, share, _refused(evaluation), note, missed)


def _refused(evaluation: Evaluation) -> str:
    return of(evaluation.clean.false_rejections, evaluation.films.get("test"))


def _passing(evaluation: Evaluation, title: str, *, informed: bool) -> Headline:
    row = worst(evaluation.aware, informed=informed)
    if row is None:
        return _unmeasured(title)
    who = f"{text(row.attacker)}, {row.wanted}, ε {strength(row.epsilon)}"
    note = f"At worst ({who})." if informed else f"Gate unknown; stops when the answer flips ({who})."
    share = row.evasion_rate
    return _headline(title, share, of(row.evaded, row.eligible), note, (share.value or 0) >= 0.1)


def _touched(evaluation: Evaluation) -> Headline:
    title, row = "Refused after a harmless change", worst_harmless(evaluation)
    if row is None:
        return _unmeasured(title)
    share = row.false_rejection_rate
    note = f"At worst: {text(row.name)}. No one attacked."
    return _headline(title, share, of(row.rejected, row.films), note, (share.value or 0) >= 0.1)


def _headline(title: str, share: Interval, count: str, note: str, bad: bool) -> Headline:
    return Headline(title, percent(share.value), spread(share), count, note, None if share.value is None else bad)


def _unmeasured(title: str) -> Headline:
    return Headline(title, NOT_AVAILABLE, NOT_AVAILABLE, NOT_AVAILABLE, "Not measured in this evaluation.", None)


def _about_textbook(evaluation: Evaluation) -> str:
    weakest = stopped(evaluation)
    if weakest is None:
        return "Whether the gate stops the paper's attacks was not measured."
    name, row = weakest
    return (
        f"Of the paper's {_paper_attacks(evaluation)} attacks, which run at full strength and know nothing of the gate, it "
        f"stops at least {with_interval(row.detection_rate)}; the weakest result is {of(row.detected, row.n)} films, on {name}."
    )


def _about_cost(evaluation: Evaluation) -> str:
    share = evaluation.clean.false_rejection_rate
    if share.value is None:
        return "How many clean films the gate refuses was not measured."
    return (
        f"It refuses {with_interval(share)} of clean films, {_refused(evaluation)}, where the threshold aims at "
        f"{percent(evaluation.gate.target)}."
    )


def _about_early(evaluation: Evaluation) -> str:
    row = worst(evaluation.aware, informed=False)
    if row is None:
        return "Attacks that stop as soon as the answer flips were not measured."
    return (
        "An attacker who does not know the gate, but stops as soon as the answer flips, passes in "
        f"{with_interval(row.evasion_rate)} at worst ({_setting(row)})."
    )


def _about_informed(evaluation: Evaluation) -> str:
    parts = []
    for goal, deed in GOALS.items():
        row = worst(evaluation.aware, informed=True, goal=goal)
        if row is not None:
            parts.append(f"{deed} in {with_interval(row.evasion_rate)} ({_setting(row)})")
    if not parts:
        return "Attackers who know the gate were not measured; no claim is made that it withstands them."
    return f"An attacker who knows the gate, and whom it accepts, {', and '.join(parts)}, each at worst."


def _about_native(evaluation: Evaluation) -> str:
    row = worst((row for row in evaluation.aware if row.size not in (None, INPUT_SIDE)), informed=True)
    if row is None:
        return ""
    return (
        f"Posted as whole films of {row.size} pixels, which are made smaller on arrival, such attacks still pass in "
        f"{with_interval(row.evasion_rate)} ({_setting(row)})."
    )


def _about_harmless(evaluation: Evaluation) -> str:
    row = worst_harmless(evaluation)
    if row is None:
        return "Harmless changes such as noise or rotation were not measured."
    return (
        f"A refusal is no proof of an attack: after a harmless change ({text(row.name)}) the gate refuses "
        f"{with_interval(row.false_rejection_rate)} of clean films, {of(row.rejected, row.films)}."
    )


def _about_network(evaluation: Evaluation) -> str:
    auroc = evaluation.clean.weighted_auroc
    if auroc.value is None:
        return "How well the network reads clean films was not measured."
    return (
        f"On clean films the network behind the gate ranks findings with a weighted AUROC of {decimal(auroc.value)} "
        f"(standard deviation over findings {decimal(auroc.deviation)}); the paper's has {PAPER_CLEAN_AUROC}."
    )


def _setting(row: AimedRow) -> str:
    grey = "" if row.grey_change is None else f", a mean change of {row.grey_change:.2f} of 255 grey levels"
    return f"{of(row.evaded, row.eligible)} films; {text(row.attacker)}, epsilon {strength(row.epsilon)}{grey}"
