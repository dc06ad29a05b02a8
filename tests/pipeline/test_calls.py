"""Calibrated probabilities and calls, against Bayes' rule, scipy and the definition of the points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import percentileofscore

from app.pipeline.calls import COLUMNS, Calls, SiteRow, at_site, call_of, read_site_table, site_digest
from app.pipeline.errors import SiteTableError
from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding

HELD_OUT = np.random.default_rng(5).normal(-2, 1.5, 2_000)
WITH_IT = np.random.default_rng(6).normal(0, 1.5, 300)


def odds(probability: float) -> float:
    return probability / (1 - probability)


def finding(name: str = LABELS[0], **changed: object) -> Finding:
    usual: dict[str, object] = {
        "name": name,
        "slope": 0.8,
        "intercept": -0.5,
        "prevalence": 0.1,
        "present_from": 0.4,
        "absent_below": 0.3,
        "movement": 0.3,
        "specificity": 0.95,
        "specificity_lower_bound": 0.92,
        "sensitivity": 0.3,
        "missed": 0.5,
        "held_out_positives": len(WITH_IT),
        "held_out_negatives": len(HELD_OUT),
        "logits_without": np.percentile(HELD_OUT, np.arange(101)).tolist(),
        "logits_with": np.percentile(WITH_IT, np.arange(101)).tolist(),
        "youden_logit": -1.0,
        "auroc": None,
    }
    return Finding.model_validate(usual | changed)


def all_findings(**changed: object) -> list[Finding]:
    return [finding(name, **changed) for name in LABELS]


def test_log_odds_are_the_calibrated_logits() -> None:
    logits = np.linspace(-8, 8, len(LABELS), dtype=np.float32)
    found = Calls(all_findings()).log_odds(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [0.8 * float(logit) - 0.5 for logit in logits], rtol=1e-12)


@pytest.mark.parametrize(
    ("probability", "call"),
    [
        (0.0, "absent"),
        (np.nextafter(0.3, 0), "absent"),
        (0.3, "indeterminate"),
        (np.nextafter(0.4, 0), "indeterminate"),
        (0.4, "present"),
        (1.0, "present"),
    ],
)
def test_a_point_belongs_to_the_side_above_it(probability: float, call: str) -> None:
    assert call_of(finding(), float(probability)) == call


def test_a_finding_without_points_is_not_called_and_keeps_its_probability() -> None:
    findings = [finding(name, present_from=None, absent_below=None) for name in LABELS]
    for called in Calls(findings).of(np.full(len(LABELS), 0.99)):
        assert (called.call, called.probability, called.present_from, called.absent_below) == (
            "not called",
            0.99,
            None,
            None,
        )


def test_the_percentile_is_the_share_of_films_without_the_finding_that_are_lower() -> None:
    calls = Calls(all_findings())
    for logit in np.linspace(-5.5, 1.5, 29):
        probability = 1 / (1 + math.exp(-(0.8 * logit - 0.5)))
        (called, *_) = calls.of(np.full(len(LABELS), probability))
        assert called.percentile == pytest.approx(percentileofscore(HELD_OUT, logit), abs=0.6)


@pytest.mark.parametrize(("probability", "percentile"), [(0.0, 0.0), (1.0, 100.0)])
def test_beyond_all_films_the_percentile_is_0_or_100(probability: float, percentile: float) -> None:
    assert Calls(all_findings()).of(np.full(len(LABELS), probability))[0].percentile == percentile


def test_without_films_there_is_no_percentile() -> None:
    assert Calls(all_findings(logits_without=[])).of(np.full(len(LABELS), 0.5))[0].percentile is None


@pytest.mark.parametrize(
    "points",
    [
        {"present_from": None},
        {"absent_below": None},
        {"absent_below": 0.5},
        {"present_from": 1.0},
        {"absent_below": 0.0},
        {"slope": 0.0},
        {"slope": -1.0},
        {"prevalence": 0.0},
    ],
    ids=str,
)
def test_points_that_cannot_be_are_refused(points: dict[str, float | None]) -> None:
    with pytest.raises(ValidationError):
        finding(**points)


def test_a_logit_and_its_probability() -> None:
    one = finding()
    probability = 1 / (1 + math.exp(-(0.8 * 1.7 - 0.5)))
    assert one.logit_of(probability) == pytest.approx(1.7, abs=1e-12)
    assert one.youden_log_odds == pytest.approx(0.8 * -1.0 - 0.5)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_another_prevalence_follows_bayes_and_changes_no_call(probability: float, prevalence: float) -> None:
    one = finding()
    (there,) = at_site([one], {one.name: SiteRow(prevalence=prevalence)})
    # Bayes: the odds of a film are the likelihood ratio times the odds of the prevalence.
    ratio = odds(probability) / odds(one.prevalence)
    expected = ratio * odds(prevalence)
    logit = one.logit_of(probability)
    found = there.slope * logit + there.intercept
    assert found == pytest.approx(math.log(expected), abs=1e-6)
    if min(abs(probability - 0.3), abs(probability - 0.4)) > 1e-9:
        assert call_of(there, 1 / (1 + math.exp(-found))) == call_of(one, probability)
    assert there.prevalence == prevalence


@pytest.mark.parametrize("specificity", [0.8, 0.9, 0.98])
def test_a_site_chooses_a_specificity(specificity: float) -> None:
    one = finding()
    (there,) = at_site([one], {one.name: SiteRow(specificity=specificity)})
    assert there.present_from is not None
    assert there.absent_below is not None
    point = there.logit_of(there.present_from)
    assert (point > HELD_OUT).mean() == pytest.approx(specificity, abs=0.01)
    assert there.specificity == pytest.approx(specificity, abs=1e-6)
    assert there.sensitivity == pytest.approx((point <= WITH_IT).mean(), abs=0.01)
    width = one.logit_of(0.4) - one.logit_of(0.3)
    assert point - there.logit_of(there.absent_below) == pytest.approx(width)  # the band protects as before
    assert there.missed == pytest.approx((point - width > WITH_IT).mean(), abs=0.01)


def test_a_site_chooses_a_sensitivity_and_a_prevalence() -> None:
    one = finding()
    (there,) = at_site([one], {one.name: SiteRow(prevalence=0.3, sensitivity=0.8)})
    assert there.present_from is not None
    assert (there.logit_of(there.present_from) <= WITH_IT).mean() == pytest.approx(0.8, abs=0.01)
    assert there.specificity_lower_bound is None  # it was of another point


def test_findings_that_the_table_leaves_out_stay() -> None:
    findings = all_findings()
    there = at_site(findings, {"Mass": SiteRow(prevalence=0.2)})
    assert [a.name for a, b in zip(findings, there, strict=True) if a != b] == ["Mass"]


def test_no_point_is_chosen_for_what_is_not_called() -> None:
    one = finding(present_from=None, absent_below=None)
    with pytest.raises(SiteTableError, match="Atelectasis is not called by this bundle"):
        at_site([one], {one.name: SiteRow(specificity=0.9)})


def test_a_table_is_read() -> None:
    lines = ["finding,prevalence,specificity,sensitivity", "Mass,.05,,", "Edema, ,.97,", "", "Hernia,,,.5"]
    assert read_site_table(lines) == {
        "Mass": SiteRow(prevalence=0.05),
        "Edema": SiteRow(specificity=0.97),
        "Hernia": SiteRow(sensitivity=0.5),
    }


def test_columns_may_be_left_out() -> None:
    assert read_site_table(["prevalence,finding", "0.5,Mass"]) == {"Mass": SiteRow(prevalence=0.5)}


WRONG = {
    "no table": ([], "must name the columns finding"),
    "no finding": (["prevalence", ".5"], "must name the columns finding"),
    "a column of its own": (["finding,threshold", "Mass,.5"], "must name the columns finding"),
    "an unknown finding": (["finding,prevalence", "Fracture,.5"], "line 2: no finding has this name"),
    "twice": (["finding,prevalence", "Mass,.5", "Mass,.4"], "line 3: Mass was named before"),
    "a word": (["finding,prevalence", "Mass,high"], "line 2, prevalence: must be a number over 0 and under 1"),
    "per cent": (["finding,prevalence", "Mass,5"], "line 2, prevalence: must be a number over 0 and under 1"),
    "nan": (["finding,prevalence", "Mass,nan"], "line 2, prevalence: must be a number over 0 and under 1"),
    "both": (
        ["finding,specificity,sensitivity", "Mass,.9,.5"],
        "line 2: name a specificity or a sensitivity, not both",
    ),
    "too many values": (["finding,prevalence", "Mass,.5,.6"], "line 2: more values than columns"),
    "no comma": (["finding,prevalence", 'Mass,"0.5'], "line 1: unexpected end of data"),
}


@pytest.mark.parametrize(("lines", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_table_that_cannot_be_used_says_where_and_why(lines: list[str], words: str) -> None:
    with pytest.raises(SiteTableError, match=words):
        read_site_table(lines)


def test_the_digest_tells_tables_apart() -> None:
    tables = [{}, {"Mass": SiteRow(0.1)}, {"Mass": SiteRow(0.2)}, {"Mass": SiteRow(None, 0.1)}, {"Edema": SiteRow(0.1)}]
    assert len({site_digest(table) for table in tables}) == len(tables)
    one, other = {"Mass": SiteRow(0.1), "Edema": SiteRow(0.2)}, {"Edema": SiteRow(0.2), "Mass": SiteRow(0.1)}
    assert site_digest(one) == site_digest(other)
    assert COLUMNS[0] == "finding"
