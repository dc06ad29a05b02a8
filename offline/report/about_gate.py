"""Sections on the gate as the paper measures it: its Table 1, and every detector on every attack."""

from __future__ import annotations

from typing import Final

from ..detectors import SERVED
from .markup import Html, Section, details, html, joined, paragraph, shade, table, unmeasured
from .reading import (
    PAPER_ATTACKS,
    Rate,
    Tree,
    at,
    attack_names,
    branch,
    decimal,
    gate_of,
    number,
    of,
    percent,
    rate,
    rows,
    spread,
    text,
    with_interval,
)
from .table1 import PAPER_CLEAN_AUROC, Cell, cells

NAMES: Final = {
    SERVED: "The served gate, on its watch",
    "mgm-lambda": "MGM, λ on the diagonal (the paper's gate)",
    "mgm-ledoit-wolf": "MGM, Ledoit-Wolf",
    "mgm-oas": "MGM, OAS",
    "pca-mgm": "PCA, then MGM",
    "isolation-forest": "Isolation Forest",
    "one-class-svm": "One-class SVM",
    "relative-mahalanobis": "Relative Mahalanobis",
    "gaussian-mixture": "Gaussian mixture",
    "conditional-mixtures": "Mixtures by finding",
    "kernel-density": "Kernel density",
    "lid": "Local intrinsic dimensionality",
    "logistic-regression": "Logistic regression (supervised)",
}


def table1(evaluation: Tree) -> Section:
    """The paper's Table 1 beside ours."""
    mean, deviation = (number(evaluation, "clean", "weighted_auroc", key) for key in ("mean", "deviation"))
    ours = f"{decimal(mean)} ± {decimal(deviation)}"
    by_defence: dict[str, list[Cell]] = {}
    for cell in cells(evaluation):
        by_defence.setdefault(cell.defence, []).append(cell)
    body: list[list[object]] = []
    for defence, line in by_defence.items():
        body.append([defence, "paper", *(_paper(cell) for cell in line)])
        body.append(["", "ours", *(_ours(cell) for cell in line)])
    words = joined(
        paragraph(
            "The first number of a cell is accuracy on equal numbers of clean and attacked films; the second is how well the "
            "network ranks findings (weighted AUROC) on the films that the gate lets through, ± its standard deviation over "
            "findings. Below: the 95% intervals of both, F1, and the share of films let through."
        ),
        paragraph(
            "The paper calls its first number F1. But its no defence scores .500, where an F1 would be 0; and the most that a "
            "gate can reach which refuses 5% of clean films is an accuracy of .975, the paper's highest, or an F1 of .976. Both "
            "fit accuracy, so we compare it with accuracy and give the F1 below."
        ),
        paragraph(
            f"Clean films: AUROC {PAPER_CLEAN_AUROC} in the paper, {ours} here. The paper's AUROC without defence is a range "
            "over attacks, and its Isolation Forest and SVM cells are not in our notes, so none is shown. Its films, its network "
            "and its number of films differ from ours."
        ),
    )
    heading = ["Defence", "Source", *(_broken(name) for name in PAPER_ATTACKS)]
    return Section(
        "table1",
        "Table 1 of the paper, and ours",
        joined(words, table(heading, body, words=2, caption="White-box: ε .02. Black-box: ε .05.")),
    )


def _paper(cell: Cell) -> Html:
    if cell.paper_accuracy.startswith("n/a"):
        return html(cell.paper_accuracy)
    return Html(f"{cell.paper_accuracy} / {html(cell.paper_auroc)}")


def _ours(cell: Cell) -> Html:
    if cell.accuracy.value is None and cell.auroc.value is None:
        return html(None)
    deviation = "" if cell.auroc_deviation is None else f" ± {decimal(cell.auroc_deviation)}"
    return Html(
        f"<strong>{decimal(cell.accuracy.value)}</strong> / {decimal(cell.auroc.value)}<small>{deviation}</small>"
        f"{_between(cell.accuracy)}{_between(cell.auroc)}"
        f"<small>F1 {decimal(cell.f1.value)}</small><small>{percent(cell.coverage.value)} pass</small>"
    )


def _between(measure: Rate) -> str:
    return "" if measure.low is None else f"<small>{decimal(measure.low)} to {decimal(measure.high)}</small>"


def detectors(evaluation: Tree) -> Section:
    """Every detector on the same films."""
    title = "All detectors"
    measured, attacks = rows(evaluation, "detectors"), attack_names(evaluation)
    if not measured:
        return Section("detectors", title, unmeasured("detectors on the same films"))
    heading = ["Detector", "Seen", "Clean refused", *(_broken(name) for name in attacks)]
    rates, areas = [], []
    for row in measured:
        left = [_name(row), "" if at(row, "trained_on") is None else text(at(row, "trained_on"))]
        refused = Html(f"{_share(row, 'false_rejection_rate')}<small>{html(_refused(row))}</small>")
        rates.append([*left, refused, *(_detected(branch(row, "attacks", name)) for name in attacks)])
        areas.append([*left, *(_area(branch(row, "attacks", name)) for name in attacks)])
    words = joined(
        paragraph(
            "Share of attacked films that each detector refuses, at the threshold put by held-out clean films for the same "
            "target. A supervised detector has a row for each attack that it was trained on; * marks the attack that it has "
            "seen."
        ),
        paragraph(_refit(evaluation)),
    )
    area_table = table(
        ["Detector", "Seen", *(_broken(name) for name in attacks)],
        areas,
        words=2,
        caption="Detection AUROC: the chance that an attacked film looks less usual than a clean one; 0.5 is a coin.",
    )
    return Section(
        "detectors",
        title,
        joined(
            words,
            table(heading, rates, words=2, caption="Detection rate"),
            details("Detection AUROC of every detector", area_table),
            details("The gate in detail: intervals, and other false-rejection rates", _gate(evaluation)),
        ),
    )


def _refit(evaluation: Tree) -> str:
    """Why the first row is not quite the served gate."""
    served = percent(number(evaluation, "clean", "false_rejection_rate", "value"))
    fitted = percent(number(gate_of(evaluation), "false_rejection_rate", "value"))
    return (
        "Every detector here, the MGM too, is fitted and given its threshold anew on films as attackers post them, in 8 bits "
        "at 224 pixels, so that all see the same. The served gate was fitted on the films at their own size, and its "
        f"threshold stands: it refuses {served} of these clean test films, and the MGM of this table {fitted}."
    )


def _name(row: Tree) -> str:
    name = text(at(row, "detector"))
    return NAMES.get(name, name)


def _refused(row: Tree) -> str:
    return of(at(row, "false_rejections"), at(row, "test_films"))


def _share(row: Tree, key: str) -> Html:
    return html(percent(rate(row, key).value))


def _detected(attack: Tree) -> Html:
    share = rate(attack, "detection_rate").value
    return shade(percent(share) + (" *" if at(attack, "seen") else ""), share)


def _area(attack: Tree) -> Html:
    area = rate(attack, "detection_auroc").value
    return shade(decimal(area), None if area is None else 2 * area - 1)


def _gate(evaluation: Tree) -> Html:
    row = gate_of(evaluation)
    attacks = branch(row, "attacks")
    if not attacks:
        return unmeasured("the gate")
    levels = [number(found, "false_rejection_rate") for found in rows(next(iter(attacks.values())), "detection_at")]
    body = []
    for name in attack_names(evaluation):
        attack = branch(attacks, name)
        found = {number(one, "false_rejection_rate"): one for one in rows(attack, "detection_at")}
        body.append(
            [
                name,
                Html(
                    f"{of(at(attack, 'detected'), at(attack, 'n'))}<small>{html(spread(rate(attack, 'detection_rate')))}</small>"
                ),
                decimal(rate(attack, "detection_auroc").value),
                *(_level(found.get(level, {})) for level in levels),
            ]
        )
    heading = ["Attack", "Detected", "Area", *(f"at {percent(level)} refused" for level in levels)]
    return joined(
        paragraph(
            f"The gate refuses {with_interval(rate(row, 'false_rejection_rate'))} of clean test films ({_refused(row)}); with "
            f"95% confidence the rate on films like the held-out ones is below {percent(number(row, 'threshold', 'bound'))}. "
            f"Fitted on {text(at(row, 'fitting_films'))} films, threshold from {text(at(row, 'calibration_films'))}. Small: "
            "the best threshold in hindsight, which no gate can know."
        ),
        table(heading, body),
    )


def _level(found: Tree) -> Html:
    hindsight = percent(number(found, "on_roc"))
    held_out = rate(found, "held_out")
    interval = "" if held_out.low is None else f"<small>{html(spread(held_out))}</small>"
    return Html(f"{percent(held_out.value)}{interval}<small>{hindsight} in hindsight</small>")


def _broken(name: str) -> Html:
    """A name of an attack on two lines, so that columns stay narrow."""
    first, _, rest = name.partition(" ")
    return Html(f"{html(first)}<br>{html(rest)}" if rest else html(first))
