"""Table 1 of the paper (Li & Zhu, ISBI 2020) beside ours, cell by cell."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..detectors import SERVED
from .reading import PAPER_ATTACKS, PAPER_GATE, Rate, Tree, at, branch, detector, gate_of, mean_of, number, rate

#: Defence as the paper calls it -> our detector.
DEFENCES: Final = {
    "No defence": None,
    "Isolation Forest": "isolation-forest",
    "One-class SVM": "one-class-svm",
    "MGM (the paper's gate)": PAPER_GATE,
    "The served gate": SERVED,
}
#: Its "F1", which fits accuracy, and AUROC, in the order of PAPER_ATTACKS. None: not in our notes of the paper.
PAPER_MGM: Final = (
    (0.936, 0.801),
    (0.975, 0.820),
    (0.975, 0.820),
    (0.975, 0.820),
    (0.958, 0.819),
    (0.924, 0.809),
    (0.903, 0.808),
    (0.957, 0.818),
)
PAPER_NO_DEFENCE: Final = 0.5
PAPER_NO_DEFENCE_AUROC: Final = ".591 to .749"  # over its attacks; which cell has which is not in our notes
PAPER_CLEAN_AUROC: Final = 0.817
UNKNOWN: Final = "n/a in our notes"


class Cell(NamedTuple):
    """One cell: the paper's two numbers as text, and ours."""

    defence: str
    attack: str
    paper_accuracy: str
    paper_auroc: str
    accuracy: Rate
    f1: Rate
    auroc: Rate
    auroc_deviation: float | None
    coverage: Rate
    n: int | None


def cells(evaluation: Tree) -> list[Cell]:
    """Each defence times eight attacks, row by row; the served gate's row is there where it is another than the paper's."""
    made = []
    for defence, name in DEFENCES.items():
        if name == SERVED and not detector(evaluation, SERVED):
            continue
        attacks = {} if name is None else branch(detector(evaluation, name), "attacks")
        for attack, mgm in zip(PAPER_ATTACKS, PAPER_MGM, strict=True):
            if name is None:
                made.append(_undefended(evaluation, defence, attack))
                continue
            paper = (_short(mgm[0]), _short(mgm[1])) if name == PAPER_GATE else (UNKNOWN, UNKNOWN)
            row = branch(attacks, attack)
            made.append(
                Cell(
                    defence,
                    attack,
                    *paper,
                    rate(row, "accuracy"),
                    rate(row, "f1"),
                    mean_of(row, "passed_auroc"),
                    number(row, "passed_auroc", "deviation"),
                    rate(row, "coverage"),
                    at(row, "n"),
                )
            )
    return made


def _undefended(evaluation: Tree, defence: str, attack: str) -> Cell:
    auroc = branch(evaluation, "no_defence", attack)
    measured = number(auroc, "mean") is not None
    # Not measured but certain: nothing is refused, so half of a balanced set is judged rightly and no attack is caught.
    accuracy, f1, coverage = (0.5, 0.0, 1.0) if measured else (None, None, None)
    return Cell(
        defence,
        attack,
        _short(PAPER_NO_DEFENCE),
        PAPER_NO_DEFENCE_AUROC,
        Rate(accuracy, None, None),
        Rate(f1, None, None),
        mean_of(auroc),
        number(auroc, "deviation"),
        Rate(coverage, None, None),
        at(gate_of(evaluation), "attacks", attack, "n"),
    )


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
