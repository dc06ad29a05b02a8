"""Logits -> calibrated probabilities -> a call of each finding: present, indeterminate or absent.

A probability holds for films among which the finding is as frequent as its ``prevalence`` says. A call does not
depend on the prevalence: its points stay at the same logits, and move with the probabilities. The band between the
points is at least as wide as the distance that an attacker within 2/255 can move the logit, so that no such attacker
turns *absent* into *present*.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from .errors import SiteTableError
from .labels import LABELS
from .manifest import Finding

#: "not called": too few films with the finding were available to choose a point.
Call = Literal["present", "indeterminate", "absent", "not called"]
Array = NDArray[np.float64]
#: Columns of a site's table; all but the first may be left out or empty.
COLUMNS: Final = ("finding", "prevalence", "specificity", "sensitivity")


@dataclass(frozen=True)
class Called:
    """The call of one finding on one film.

    Attributes
    ----------
    name : str
    probability : float, in [0, 1]
    call : Call
    present_from, absent_below : float, in [0, 1], or None
        Probabilities; None if the finding is not called.
    percentile : float, in [0, 100], or None
        Share of the held-out films without the finding whose probability is lower; None if there were no such films.
    """

    name: str
    probability: float
    call: Call
    present_from: float | None
    absent_below: float | None
    percentile: float | None


@dataclass(frozen=True)
class SiteRow:
    """A site's row for one finding; None: the bundle's value holds.

    Attributes
    ----------
    prevalence : float, in (0, 1), or None
        Share of the site's films that show the finding.
    specificity, sensitivity : float, in (0, 1), or None
        The value that ``present_from`` must reach on the held-out films; at most one of the two.
    """

    prevalence: float | None = None
    specificity: float | None = None
    sensitivity: float | None = None


class Calls:
    """Calibrates and calls logits by a bundle's findings.

    Parameters
    ----------
    findings : sequence of Finding
        In the order of the logits.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = tuple(findings)
        self._slopes = np.array([finding.slope for finding in findings])
        self._intercepts = np.array([finding.intercept for finding in findings])
        self._without = [
            expit(finding.slope * np.array(finding.logits_without) + finding.intercept) for finding in findings
        ]

    def log_odds(self, logits: ArrayLike) -> Array:
        """Calibrated, natural logarithm; shape (..., L) -> (..., L), float64."""
        return np.asarray(self._slopes * np.asarray(logits, dtype=np.float64) + self._intercepts)

    def of(self, probabilities: ArrayLike) -> tuple[Called, ...]:
        """Call each finding by its calibrated probability, shape (L,)."""
        given = np.asarray(probabilities, dtype=np.float64)
        return tuple(
            Called(
                finding.name,
                float(probability),
                call_of(finding, float(probability)),
                finding.present_from,
                finding.absent_below,
                _percentile(without, float(probability)),
            )
            for finding, without, probability in zip(self._findings, self._without, given, strict=True)
        )

    def words(self, probabilities: ArrayLike) -> tuple[Call, ...]:
        """The calls alone, shape (L,) -> L words."""
        given = np.asarray(probabilities, dtype=np.float64)
        return tuple(call_of(finding, float(each)) for finding, each in zip(self._findings, given, strict=True))

    def present_logit(self, finding: int) -> float | None:
        """The logit from which the finding in this row is called present; None if it is not called."""
        called = self._findings[finding]
        return (
            None
            if called.present_from is None
            else float((logit(called.present_from) - called.intercept) / called.slope)
        )


def call_of(finding: Finding, probability: float) -> Call:
    """The call of one finding by its calibrated probability."""
    if finding.present_from is None or finding.absent_below is None:
        return "not called"
    if probability >= finding.present_from:
        return "present"
    return "absent" if probability < finding.absent_below else "indeterminate"


def _percentile(without: Array, probability: float) -> float | None:
    """Where a value lies among percentiles (0th, 1st ... 100th), to a tenth."""
    if not without.size:
        return None
    return round(float(np.interp(probability, without, np.linspace(0, 100, without.size))), 1)


def at_site(findings: Sequence[Finding], site: Mapping[str, SiteRow]) -> tuple[Finding, ...]:
    """The findings with a site's prevalences and points.

    Another prevalence shifts the log odds (Saerens et al., Neural Computation 2002). That is right if films with the
    finding look alike in both
        places, and films without it do too. Points keep their places among the logits.

    Raises
    ------
    SiteTableError
        The table asks for a point of a finding that too few held-out films show.
    """
    return tuple(_at_site(finding, site.get(finding.name, SiteRow())) for finding in findings)


def _at_site(finding: Finding, row: SiteRow) -> Finding:
    prevalence = finding.prevalence if row.prevalence is None else row.prevalence
    shift = float(logit(prevalence) - logit(finding.prevalence))
    present, absent = (_moved(point, shift) for point in (finding.present_from, finding.absent_below))
    intercept = finding.intercept + shift
    changed: dict[str, float | None] = {}
    asked = row.specificity if row.specificity is not None else row.sensitivity
    if asked is not None:
        if present is None or absent is None:
            raise SiteTableError(
                f"{finding.name} is not called by this bundle: too few films show it to choose a point by"
            )
        among = finding.logits_without if row.specificity is not None else finding.logits_with
        share = asked if row.specificity is not None else 1 - asked
        place = float(np.quantile(among, share))
        width = float(logit(present) - logit(absent))
        chosen = finding.slope * place + intercept
        present, absent = float(expit(chosen)), float(expit(chosen - width))
        changed = {
            "specificity": _share_below(finding.logits_without, place),
            "sensitivity": 1 - _share_below(finding.logits_with, place),
            "specificity_lower_bound": None,
            "missed": _share_below(finding.logits_with, place - width / finding.slope),
        }
    return finding.model_copy(
        update={
            "prevalence": prevalence,
            "intercept": intercept,
            "present_from": present,
            "absent_below": absent,
            **changed,
        }
    )


def _moved(point: float | None, shift: float) -> float | None:
    return None if point is None else float(expit(logit(point) + shift))


def _share_below(percentiles: Sequence[float], value: float) -> float:
    return float(np.interp(value, percentiles, np.linspace(0, 1, len(percentiles))))


def read_site_table(lines: Iterable[str]) -> dict[str, SiteRow]:
    """A site's table in CSV, with the columns ``COLUMNS``; a finding that it does not name keeps the bundle's values.

    Raises
    ------
    SiteTableError
        The message says which line, and why.
    """
    rows = csv.DictReader(lines, strict=True)
    columns = rows.fieldnames or ()
    if "finding" not in columns or set(columns) - set(COLUMNS):
        raise SiteTableError(f"the first line must name the columns finding and any of {', '.join(COLUMNS[1:])}")
    site: dict[str, SiteRow] = {}
    try:
        for row in rows:
            name = (row.pop("finding") or "").strip()
            where = f"line {rows.line_num}"
            if name not in LABELS:
                raise SiteTableError(f"{where}: no finding has this name; the findings are {', '.join(LABELS)}")
            if name in site:
                raise SiteTableError(f"{where}: {name} was named before")
            if None in row:
                raise SiteTableError(f"{where}: more values than columns")
            said = SiteRow(**{column: _share(value, f"{where}, {column}") for column, value in row.items()})
            if said.specificity is not None and said.sensitivity is not None:
                raise SiteTableError(
                    f"{where}: name a specificity or a sensitivity, not both: one point cannot have both"
                )
            site[name] = said
    except csv.Error as error:
        raise SiteTableError(f"line {rows.line_num}: {error}") from error
    return site


def _share(value: str | None, where: str) -> float | None:
    if value is None or not value.strip():
        return None
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not 0 < number < 1:
        raise SiteTableError(f"{where}: must be a number over 0 and under 1, such as .05")
    return number


def site_digest(site: Mapping[str, SiteRow]) -> str:
    """Six hexadecimal digits that distinguish one table from another."""
    said = [(name, row.prevalence, row.specificity, row.sensitivity) for name, row in sorted(site.items())]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:6]
