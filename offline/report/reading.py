"""An evaluation as typed values. A value that was not measured is None here, and 'n/a' or a sentence in the report.

``cxr-offline evaluate`` wrote the file, perhaps in an older version. So every field may be absent, and fields that the report
does not show are ignored. A missing key never causes a traceback, nor a number that nobody measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..attacks.goals import AT_POINT, Goal
from ..detectors import SERVED

#: Row of the bundle's own gate, if there is no row ``SERVED``.
PAPER_GATE: Final = "mgm-lambda"
ATTACKS: Final = ("FGSM", "BIM", "PGD", "MIM")
SETTINGS: Final = ("white-box", "black-box")
PAPER_ATTACKS: Final = tuple(f"{setting} {attack}" for setting in SETTINGS for attack in ATTACKS)
_AT_POINT: Final = tuple(wanted.goal for wanted in AT_POINT)  # each has a finding of its own


class _EvaluationPart(BaseModel):
    """A part of an evaluation; a null counts as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return {k: v for k, v in fields.items() if v is not None} if isinstance(fields, Mapping) else fields


class Interval(_EvaluationPart):
    """A measure and its 95 % interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class MeanAuroc(Interval):
    """The mean AUROC over findings, its interval, and its standard deviation over findings."""

    value: float | None = Field(default=None, validation_alias="mean")
    deviation: float | None = None
    findings: int | None = None


class DetectionLevel(_EvaluationPart):
    """The share of attacks that is caught if this share of clean films is refused: by a threshold of held-out films,
    and in hindsight."""

    false_rejection_rate: float | None = None
    held_out: Interval = Interval()
    held_out_false_rejection_rate: Interval = Interval()
    on_roc: float | None = None


class AttackRow(_EvaluationPart):
    """One detector on one attack."""

    n: int | None = None
    detected: int | None = None
    seen: bool | None = None
    detection_rate: Interval = Interval()
    accuracy: Interval = Interval()
    f1: Interval = Interval()
    detection_auroc: Interval = Interval()
    detection_at: list[DetectionLevel] = []
    passed_auroc: MeanAuroc = MeanAuroc()
    passed: int | None = None
    coverage: Interval = Interval()

    def at_level(self, false_rejection_rate: float | None) -> DetectionLevel:
        """The share that is caught at this rate; empty if it was not measured."""
        return next(
            (level for level in self.detection_at if level.false_rejection_rate == false_rejection_rate),
            DetectionLevel(),
        )


class DetectorThreshold(_EvaluationPart):
    """A threshold in the detector's own unit, and the bound on its false-rejection rate."""

    value: float | None = None
    bound: float | None = None


class DetectorRow(_EvaluationPart):
    """One detector on all attacks."""

    detector: str | None = None
    supervised: bool | None = None
    trained_on: str | None = None
    target: float | None = None
    threshold: DetectorThreshold = DetectorThreshold()
    fitting_films: int | None = None
    calibration_films: int | None = None
    test_films: int | None = None
    test_patients: int | None = None
    false_rejections: int | None = None
    false_rejection_rate: Interval = Interval()
    clean_passed_auroc: MeanAuroc = MeanAuroc()
    clean_coverage: Interval = Interval()
    attacks: dict[str, AttackRow] = {}

    def on(self, attack: str) -> AttackRow:
        """The row of an attack; empty where it was not measured."""
        return self.attacks.get(attack, AttackRow())


class AimedRow(_EvaluationPart):
    """An attacker with a goal, at one epsilon."""

    attacker: str | None = None
    informed: bool | None = None  # of the gate
    goal: Goal | None = None
    finding_choice: str | None = None
    epsilon: float | None = None
    size: int | None = None
    films: int | None = None
    eligible: int | None = None
    goal_reached: int | None = None
    evaded: int | None = None
    evasion_rate: Interval = Interval()
    clean_accepted: int | None = None
    probability_change: float | None = None
    grey_change: float | None = None
    steps_mean: float | None = None

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return goal_in_words(self.goal, self.finding_choice)


class LibraryRow(AimedRow):
    """An attack that others wrote."""

    attack: str | None = None
    library: str | None = None


class TransferRow(_EvaluationPart):
    """Attacks made on a substitute, at one epsilon."""

    epsilon: float | None = None
    films: int | None = None
    changed: int | None = None
    accepted: int | None = None
    passed: int | None = None


class SubstituteRow(_EvaluationPart):
    """A black-box attacker's network."""

    name: str | None = None
    arch: str | None = None
    learned_from: str | None = None
    initial_weights: str | None = None
    films: int | None = None
    epochs: int | None = None
    val_mean_absolute_difference: float | None = None
    constant_mean_absolute_difference: float | None = None
    val_correlation: float | None = None
    val_auroc: float | None = None
    transfer: list[TransferRow] = []

    def at_epsilon(self, epsilon: float | None) -> TransferRow:
        """Attacks at this epsilon; empty where that was not measured."""
        return next((row for row in self.transfer if row.epsilon == epsilon), TransferRow())


class SanityRow(_EvaluationPart):
    """A check that an attack works at all."""

    attacker: str | None = None
    check: str | None = None
    passed: bool | None = None
    detail: str | None = None


class RefusalRow(_EvaluationPart):
    """Clean films refused: after a harmless change, or of a group."""

    name: str | None = None
    films: int | None = None
    rejected: int | None = None
    false_rejection_rate: Interval = Interval()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, fields: Any) -> Any:
        return {"name": fields.get("change", fields.get("group")), **fields} if isinstance(fields, Mapping) else fields


class OrientationRow(_EvaluationPart):
    """Films of one sense, and the answers to them."""

    film: str | None = None
    films: int | None = None
    unsuitable: int | None = None
    rejected: int | None = None
    passed: int | None = None


class CurveRow(_EvaluationPart):
    """A detector fitted on n films."""

    detector: str | None = None
    n: int | None = None
    seed: int | None = None
    false_rejection_rate: float | None = None
    detection_rate: dict[str, float | None] = {}


class CleanFilms(_EvaluationPart):
    """The network and the gate on clean test films."""

    mean_auroc: Interval = Interval()
    weighted_auroc: MeanAuroc = MeanAuroc()
    auroc: dict[str, float | None] = {}
    false_rejections: int | None = None
    false_rejection_rate: Interval = Interval()


class GateOfBundle(_EvaluationPart):
    """The gate that the bundle serves."""

    threshold: float | None = None
    shrinkage: str | None = None
    target: float | None = None
    bound: float | None = None


class ExtractionSpeed(_EvaluationPart):
    """How fast features were extracted."""

    images_per_second: float | None = None
    chest_xray14_images: int | None = None
    chest_xray14_hours: float | None = None


class FlipRow(_EvaluationPart):
    """How often an attack changed the top finding."""

    flip_rate: float | None = None


class ExperimentOptions(_EvaluationPart):
    """The options of the preset."""

    square_queries: int | None = None


class Evaluation(_EvaluationPart):
    """All of ``evaluation.json`` that the report shows."""

    preset: str | None = None
    options: ExperimentOptions = ExperimentOptions()
    model_version: str | None = None
    run: str | None = None
    seed: int | None = None
    created: str | None = None
    machine: str | None = None
    versions: dict[str, str | None] = {}
    seconds: dict[str, float | None] = {}
    extraction: ExtractionSpeed | None = None
    films: dict[str, int | None] = {}
    gate: GateOfBundle = GateOfBundle()
    clean: CleanFilms = CleanFilms()
    paper_attacks: dict[str, FlipRow] = {}
    no_defence: dict[str, MeanAuroc] = {}
    detectors: list[DetectorRow] = []
    learning_curve: list[CurveRow] = []
    substitutes: list[SubstituteRow] = []
    aware: list[AimedRow] = []
    sanity: list[SanityRow] = []
    libraries: list[LibraryRow] = []
    harmless: list[RefusalRow] = []
    orientation: list[OrientationRow] = []
    groups: list[RefusalRow] = []

    def detector(self, name: str) -> DetectorRow | None:
        """The first row of a detector; None where it was not measured."""
        return next((row for row in self.detectors if row.detector == name), None)

    @property
    def gate_row(self) -> DetectorRow:
        """The row of the gate that the bundle serves; empty where it was not measured."""
        return self.detector(SERVED) or self.detector(PAPER_GATE) or DetectorRow()

    @property
    def attack_names(self) -> list[str]:
        """Every attack that any detector was measured on: the paper's in its order, then the others as they come."""
        seen = dict.fromkeys(name for row in self.detectors for name in row.attacks)
        return [name for name in PAPER_ATTACKS if name in seen] + [name for name in seen if name not in PAPER_ATTACKS]


def read(evaluation: Mapping[str, Any]) -> Evaluation:
    """The evaluation with types.

    Raises
    ------
    pydantic.ValidationError
        A field has another type than ``cxr-offline evaluate`` gives it; the message names the field.
    """
    return Evaluation.model_validate(plain(evaluation))


def plain(value: Any) -> Any:
    """The evaluation as in JSON: NaN and infinities become None, numpy's numbers become Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def goal_in_words(goal: str | None, finding_choice: str | None) -> str:
    """The goal; for a goal on calls, also the finding."""
    name = goal or "n/a"
    return name if finding_choice is None or name in _AT_POINT else f"{name}, {finding_choice} finding"
