"""The page, from the templates beside this file: one HTML file that contains its style and pictures and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Final, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..attacks.goals import CallGoal
from ..detectors import SERVED
from . import words
from .plots import hardest_attack
from .reading import PAPER_ATTACKS, AimedRow, Evaluation, TransferRow
from .summary import headlines, sentences, verdict
from .table1 import PAPER_CLEAN_AUROC, Table1Cell, cells

#: A plot as PNG, in the light and the dark theme; None if there was nothing to draw.
Plot = tuple[bytes, bytes] | None

DETECTOR_NAMES: Final = {
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


def page(evaluation: Evaluation, plots: Mapping[str, Plot], *, show_films: bool) -> str:
    """The whole document; it says so if a part was not measured."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            evaluation=evaluation,
            plots={name: plot and [_data_uri(image) for image in plot] for name, plot in plots.items()},
            show_films=show_films,
            verdict=verdict(evaluation),
            headlines=headlines(evaluation),
            sentences=sentences(evaluation)[:-1],  # the last, that this is no medical device, has a place of its own
            table1=_by_defence(evaluation),
            by_epsilon=_by_epsilon(evaluation),
            hardest_attack=hardest_attack(evaluation.learning_curve),
            PAPER_ATTACKS=PAPER_ATTACKS,
            PAPER_CLEAN_AUROC=PAPER_CLEAN_AUROC,
            DETECTOR_NAMES=DETECTOR_NAMES,
            CALL_GOALS=get_args(CallGoal),
        )
    )


def _environment() -> Environment:
    """Jinja that escapes everything, refuses undefined values, and writes None as n/a."""
    environment = Environment(
        loader=PackageLoader("offline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, str) else words.text(value),
    )
    environment.filters |= {
        "percent": words.percent,
        "decimal": words.decimal,
        "spread": words.spread,
        "with_interval": words.with_interval,
        "strength": words.strength,
        "two_lines": lambda name: Markup("<br>").join(name.split(" ", 1)),  # so that columns stay narrow
    }
    environment.globals |= {"of": words.of, "epsilons": _epsilons}
    return environment


def _data_uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _epsilons(rows: Iterable[AimedRow | TransferRow]) -> list[float | None]:
    return sorted({row.epsilon for row in rows}, key=lambda epsilon: epsilon or 0)


def _by_defence(evaluation: Evaluation) -> dict[str, list[Table1Cell]]:
    found: dict[str, list[Table1Cell]] = {}
    for cell in cells(evaluation):
        found.setdefault(cell.defence, []).append(cell)
    return found


def _by_epsilon(evaluation: Evaluation) -> dict[tuple[object, ...], dict[float | None, AimedRow]]:
    """The rows of attackers with a goal: for each attacker, goal and size, the row of each epsilon."""
    found: dict[tuple[object, ...], dict[float | None, AimedRow]] = {}
    for row in evaluation.aware:
        found.setdefault((row.attacker, row.informed, row.wanted, row.size), {})[row.epsilon] = row
    return found
