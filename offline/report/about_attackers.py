"""Sections on attackers who know the gate, the checks that their attacks work at all, and other people's attacks."""

from __future__ import annotations

from typing import Final, get_args

from ..attacks.goals import CallGoal
from .markup import Html, Section, details, html, joined, paragraph, picture, table, unmeasured
from .reading import Rate, Tree, at, goal_of, number, of, percent, rate, rows, spread, strength, text

Plot = tuple[bytes, bytes] | None

WHO: Final = {
    "selective": "at each step climbs whichever of its two aims, the finding and the gate, is not yet met",
    "orthogonal": "moves for one aim only in directions that do not undo the other",
    "joint": "climbs both aims at once, added with a weight searched for each film",
    "feature-constraint": "keeps the network's features near those of clean films",
    "minimal": "does not need to know the gate: it stops at the first step that flips the answer",
}

ON_CALLS: Final = (
    "Absent-to-present and present-to-absent: a finding's call becomes its opposite, so that its logit crosses the whole band "
    "of indeterminate answers. Any-change: it becomes another, indeterminate too. The nearest finding is the one whose logit "
    "has the shortest way, in widths of its band; a random one is any on which the goal is open."
)


def aware(evaluation: Tree, plot: Plot) -> Section:
    """Evasion by attacker, goal and epsilon."""
    title = "Attackers who know the gate"
    measured = rows(evaluation, "aware")
    if not measured:
        return Section(
            "aware", title, unmeasured("attackers who know the gate, so nothing here says that it withstands them")
        )
    who = "".join(
        f"<li><strong>{html(name)}</strong> {html(what)}.</li>"
        for name, what in WHO.items()
        if any(at(row, "attacker") == name for row in measured)
    )
    body = [
        [
            text(at(row, "attacker")),
            text(at(row, "informed")),
            goal_of(row),
            _pixels(row),
            strength(number(row, "epsilon")),
            _counted(rate(row, "evasion_rate"), of(at(row, "evaded"), at(row, "eligible"))),
            of(at(row, "goal_reached"), at(row, "eligible")),
            of(at(row, "clean_accepted"), at(row, "films")),
            _fixed(number(row, "probability_change"), 2),
            _fixed(number(row, "grey_change"), 2),
            _fixed(number(row, "steps_mean"), 0),
        ]
        for row in measured
    ]
    heading = [
        *("Attacker", "Knows the gate", "Goal", "Size", "ε", "Evaded", "Goal reached", "Clean accepted"),
        *("Change in probability", "Change in grey levels", "Steps"),
    ]
    return Section(
        "aware",
        title,
        joined(
            paragraph(
                "The attacker has the network and the gate, and changes no pixel by more than ε. An attack has evaded the gate "
                "if it reached its goal and the gate accepted what was really posted, an 8-bit PNG. Hide: a finding over its "
                "operating point goes under it. Invent: one under it goes over. Films on which the goal is open to begin with "
                "are the eligible ones, which rates are of."
            ),
            paragraph(ON_CALLS) if any(at(row, "goal") in get_args(CallGoal) for row in measured) else None,
            Html(f"<ul class='plain'>{who}</ul>"),
            None
            if plot is None
            else picture(
                plot,
                "Evasion rate against epsilon, a line for each attacker, a panel for each goal and size",
                "Share of eligible films on which the attack reached its goal and was accepted, with 95% intervals. Dashed: the "
                "attacker does not know the gate.",
            ),
            _by_epsilon(measured),
            details(
                "Every setting, with the change in probability and grey levels",
                table(heading, body, words=4, caption="Changes are means over films, in absolute value."),
            ),
        ),
    )


def _by_epsilon(measured: list[Tree]) -> Html:
    """Evasion, a row for each attacker, goal and size, a column for each epsilon."""
    cells: dict[tuple[str, str, str, str], dict[float | None, Html]] = {}
    for row in measured:
        key = (text(at(row, "attacker")), text(at(row, "informed")), goal_of(row), _pixels(row))
        count = of(at(row, "evaded"), at(row, "eligible"))
        cells.setdefault(key, {})[number(row, "epsilon")] = _counted(rate(row, "evasion_rate"), count)
    epsilons = sorted({number(row, "epsilon") for row in measured}, key=lambda epsilon: epsilon or 0)
    body = [[*key, *(line.get(epsilon, "–") for epsilon in epsilons)] for key, line in cells.items()]
    heading = ["Attacker", "Knows the gate", "Goal", "Size", *(f"ε {strength(epsilon)}" for epsilon in epsilons)]
    return table(heading, body, words=4, caption="Evaded the gate, of eligible films. –: not run.")


def _pixels(row: Tree) -> str:
    return text(None) if at(row, "size") is None else f"{at(row, 'size')}"


def outsiders(evaluation: Tree) -> Section:
    """Black-box attackers: what their own networks learned, and what attacks made on those come to."""
    title = "Outsiders: attacks made on another network"
    measured = rows(evaluation, "substitutes")
    if not measured:
        return Section("outsiders", title, unmeasured("attackers who have no access to the network"))
    epsilons = sorted({number(one, "epsilon") or 0 for row in measured for one in rows(row, "transfer")})
    learned, came_to = [], []
    for row in measured:
        difference, constant = (number(row, f"{which}_mean_absolute_difference") for which in ("val", "constant"))
        start = at(row, "initial_weights")
        learned.append(
            [
                text(at(row, "name")),
                f"{text(at(row, 'films'))} {_LEARNED.get(at(row, 'learned_from'), '')}",
                f"{text(at(row, 'arch'))}, {'from nothing' if start == 'none' else f'from {text(start)}'}, "
                f"{text(at(row, 'epochs'))} epochs",
                "" if difference is None else f"{difference:.3f} (a constant answer: {_fixed(constant, 3)})",
                "" if number(row, "val_correlation") is None else _fixed(number(row, "val_correlation"), 2),
                "" if number(row, "val_auroc") is None else _fixed(number(row, "val_auroc"), 3),
            ]
        )
        found = {number(one, "epsilon"): one for one in rows(row, "transfer")}
        came_to.append([text(at(row, "name")), *(_transferred(found.get(epsilon, {})) for epsilon in epsilons)])
    return Section(
        "outsiders",
        title,
        joined(
            paragraph(
                "An outsider has neither the network nor the gate. He trains a network of his own, from the service's answers "
                "to films of his (distilled) or from labels, attacks that, and posts the result. The first network below made "
                "the black-box columns of Table 1. These attacks run at full strength and stop for nothing."
            ),
            table(
                ["Network", "Learned from", "What it is", "Differs by", "Correlation", "AUROC"],
                learned,
                words=3,
                caption="On validation films: mean absolute difference and correlation of its probabilities with the service's.",
            ),
            table(
                ["Network", *(f"ε {strength(epsilon)}" for epsilon in epsilons)],
                came_to,
                words=1,
                caption="MIM: top finding changed and the film accepted, of all films.",
            ),
        ),
    )


_LEARNED: Final = {"answers": "answers of the service", "labels": "labelled films"}


def _transferred(row: Tree) -> Html:
    films = at(row, "films")
    return Html(
        f"<strong>{of(at(row, 'passed'), films)}</strong><small>changed {of(at(row, 'changed'), films)}</small>"
        f"<small>accepted {of(at(row, 'accepted'), films)}</small>"
    )


def sanity(evaluation: Tree) -> Section:
    """Checks that the attacks are not simply broken."""
    title = "Are the attacks sound?"
    measured = rows(evaluation, "sanity")
    if not measured:
        return Section(
            "sanity", title, unmeasured("sanity checks of the attacks, so a low evasion rate may be a weak attack")
        )
    failed = sum(1 for row in measured if at(row, "passed") is not True)
    outcome = (
        "All pass"
        if not failed
        else f"{failed} of {len(measured)} fail, so read their attackers' rates as lower bounds"
    )
    body = [
        [
            text(at(row, "attacker")),
            text(at(row, "check")),
            "passed" if at(row, "passed") is True else Html("<strong>FAILED</strong>"),
            text(at(row, "detail")),
        ]
        for row in measured
    ]
    return Section(
        "sanity",
        title,
        joined(
            paragraph(
                "A gate that withstands a broken attack withstands nothing. More steps, more restarts and a larger ε must never "
                f"lower success, and without a bound on ε every attack must succeed. {outcome}."
            ),
            table(["Attacker", "Check", "Outcome", "Detail"], body, words=4),
        ),
    )


def libraries(evaluation: Tree) -> Section:
    """Attacks that others wrote, on the same network."""
    title = "Attacks of other libraries"
    measured = rows(evaluation, "libraries")
    if not measured:
        return Section("libraries", title, unmeasured("attacks of independent libraries"))
    body = [
        [
            text(at(row, "attack")),
            text(at(row, "library")),
            goal_of(row),
            strength(number(row, "epsilon")),
            _counted(rate(row, "evasion_rate"), of(at(row, "evaded"), at(row, "eligible"))),
            of(at(row, "goal_reached"), at(row, "eligible")),
        ]
        for row in measured
    ]
    return Section(
        "libraries",
        title,
        joined(
            paragraph(
                "Attacks that we did not write, run against the same network. They do not know the gate. Of the films on which "
                "the goal is open. DeepFool looks for the nearest boundary and stops a hair past it, so that rounding to 8 bits, "
                "which posting needs, may take its images back over it."
            ),
            table(["Attack", "Library", "Goal", "ε", "Evaded", "Goal reached"], body, words=3),
        ),
    )


def _counted(measure: Rate, count: str) -> Html:
    interval = "" if measure.low is None else f"<small>{spread(measure)}</small>"
    return Html(f"<strong>{percent(measure.value)}</strong>{interval}<small>{html(count)}</small>")


def _fixed(value: float | None, digits: int) -> str:
    return text(None) if value is None else f"{value:,.{digits}f}"
