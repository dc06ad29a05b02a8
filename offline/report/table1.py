"""Table 1 of the paper (Li & Zhu, ISBI 2020) beside ours, cell by cell."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..detectors import SERVED
from .reading import PAPER_ATTACKS, PAPER_GATE, DetectorRow, Evaluation, Interval, MeanAuroc

#: Defence as the paper calls it -> our detector.
DEFENCES: Final = {
    "No defence": None,
    "Isolation Forest": "isolation-forest",
    "One-class SVM": "one-class-svm",
    "MGM (the paper's gate)": PAPER_GATE,
    "The served gate": SERVED,
}
#: The paper's "F1", which matches accuracy, and AUROC, in the order of PAPER_ATTACKS.
PAPER_MGM: Final = (
    (".936", ".801"),
    (".975", ".820"),
    (".975", ".820"),
    (".975", ".820"),
    (".958", ".819"),
    (".924", ".809"),
    (".903", ".808"),
    (".957", ".818"),
)
#: The second value is a range over the paper's attacks; our notes do not have the value of each cell.
PAPER_NO_DEFENCE: Final = (".500", ".591 to .749")
PAPER_CLEAN_AUROC: Final = "0.817"
UNKNOWN: Final = "n/a in our notes"


class Table1Cell(NamedTuple):
    """One cell: the paper's two numbers as text, and ours."""

    defence: str
    attack: str
    paper_accuracy: str
    paper_auroc: str
    accuracy: Interval
    f1: Interval
    auroc: Interval
    auroc_deviation: float | None
    coverage: Interval
    films: int | None


def cells(evaluation: Evaluation) -> list[Table1Cell]:
    """Each defence on eight attacks, row by row. The served gate has a row if it differs from the paper's gate."""
    made = []
    for defence, name in DEFENCES.items():
        detector = None if name is None else evaluation.detector(name)
        if name == SERVED and detector is None:
            continue
        for attack, mgm in zip(PAPER_ATTACKS, PAPER_MGM, strict=True):
            if name is None:
                made.append(_undefended(evaluation, defence, attack))
                continue
            paper = mgm if name == PAPER_GATE else (UNKNOWN, UNKNOWN)
            row = (detector or DetectorRow()).on(attack)
            auroc = row.passed_auroc
            made.append(
                Table1Cell(defence, attack, *paper, row.accuracy, row.f1, auroc, auroc.deviation, row.coverage, row.n)
            )
    return made


def _undefended(evaluation: Evaluation, defence: str, attack: str) -> Table1Cell:
    auroc = evaluation.no_defence.get(attack, MeanAuroc())
    # Not measured but certain: nothing is refused, so half of a balanced set is judged rightly and no attack is caught.
    certain = (0.5, 0.0, 1.0) if auroc.value is not None else (None, None, None)
    accuracy, f1, coverage = (Interval(value=value) for value in certain)
    films = evaluation.gate_row.on(attack).n
    return Table1Cell(defence, attack, *PAPER_NO_DEFENCE, accuracy, f1, auroc, auroc.deviation, coverage, films)
