"""The typed content of a bundle's ``manifest.json``; only ``bundle`` reads and writes it."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from scipy.special import betaincinv

from .gate import DEFAULT_KIND, DENSITIES

Rate = float


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Finding(_Strict):
    """One output of the network: how it is calibrated and called, and its figures on held-out films.

    Held-out films are those that neither the training nor the test uses. None: there were too few of them.
    """

    name: str
    slope: float = Field(gt=0, description="calibrated log odds = slope * logit + intercept")
    intercept: float
    prevalence: float = Field(gt=0, lt=1, description="share of films with the finding for which a probability holds")
    present_from: float | None = Field(
        gt=0, lt=1, description="probability from which the finding is called present; null: it is not called"
    )
    absent_below: float | None = Field(
        gt=0, lt=1, description="probability under which it is called absent; between the two it is indeterminate"
    )
    movement: float | None = Field(
        description="of the logit, by an attacker within 2/255: 95 % confidence bound of the 95th percentile over films. "
        "From absent_below to present_from it is at least as far; null: not measured"
    )
    specificity: Rate | None = Field(
        description="share of the held-out films without the finding that are not called present"
    )
    specificity_lower_bound: Rate | None = Field(description="of it, with 95 % confidence (Clopper-Pearson, one-sided)")
    sensitivity: Rate | None = Field(description="share of those with the finding that are called present")
    missed: Rate | None = Field(description="share of those with the finding that are called absent")
    held_out_positives: int
    held_out_negatives: int
    logits_without: tuple[float, ...] = Field(
        description="percentiles of the logit, 0th to 100th, over the held-out films without the finding; empty: none"
    )
    logits_with: tuple[float, ...] = Field(description="the same over those with it")
    youden_logit: float = Field(
        description="logit with the largest Youden index on the held-out films, at which the reports' goals hide and "
        "invent are measured"
    )
    auroc: float | None = Field(description="on the test films")

    @model_validator(mode="after")
    def _points_in_order(self) -> Self:
        if (self.present_from is None) != (self.absent_below is None):
            raise ValueError(f"{self.name}: present_from and absent_below are there together, or neither is")
        if self.present_from is not None and self.absent_below is not None and self.absent_below > self.present_from:
            raise ValueError(f"{self.name}: absent_below lies over present_from")
        return self

    @property
    def youden_log_odds(self) -> float:
        """``youden_logit``, calibrated."""
        return self.slope * self.youden_logit + self.intercept

    def logit_of(self, probability: float) -> float:
        """The network's logit that gives a calibrated probability."""
        return (math.log(probability / (1 - probability)) - self.intercept) / self.slope


class GateModel(_Strict):
    """The gate's density and threshold, and how they were made."""

    kind: str = DEFAULT_KIND
    watch: Literal["denseblock1"] | None = Field(
        None,
        description="it sees mean and deviation of each channel after this block of a network beside the one that answers, "
        "which was not hardened; None: the last features of the one that answers",
    )
    n: int = Field(description="images that the Gaussian was fitted on")
    shrinkage: str = Field(
        description="'lambda=0.01' (S + lambda I), or 'ledoit-wolf=rho' or 'oas=rho' ((1-rho) S + rho tr(S)/d I); "
        "'scaled' before it: of features in units of their deviations"
    )
    variants: int | None = Field(
        None, description="copies of each of these images, under harmless changes, that it was fitted on too"
    )
    variant_weight: float | None = Field(None, description="what each of these copies counted as, beside its image's 1")
    threshold: float = Field(description="log density in nats; below it an image is rejected")
    threshold_rule: Literal["held-out", "training"]
    target_false_rejection_rate: Rate
    calibration_n: int
    calibration_bound: Rate = Field(
        description="with 95 % confidence the false-rejection rate on films like the calibration films is below this"
    )

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in DENSITIES:
            raise ValueError(f"a gate of kind '{kind}' is not one of {', '.join(DENSITIES)}")
        return kind

    @property
    def calibration_lower_bound(self) -> Rate:
        """The false-rejection rate on films like the calibration films is over this, with 95 % confidence.

        The 5 % quantile of the distribution whose 95 % quantile is ``calibration_bound``: Beta(k, m + 1 - k), with the
        k-th smallest of m held-out scores as the threshold. 0 for a threshold that comes from training films.
        """
        k = math.floor(self.target_false_rejection_rate * (self.calibration_n + 1) + 1e-9)
        if self.threshold_rule == "training" or k < 1:
            return 0.0
        return float(betaincinv(k, self.calibration_n + 1 - k, 0.05))


class OrientationModel(_Strict):
    """The linear model that separates turned and inverted films from upright ones."""

    senses: tuple[str, ...]
    least_log_density: float = Field(description="nats; of films below it the model says nothing")
    n: int = Field(description="training films, each shown in every sense")


class ContentModel(_Strict):
    """The check that separates frontal chest films from laterals and from everything else."""

    kinds: tuple[str, ...]
    least_log_odds: float = Field(description="nats; under it the network says that a film is no frontal chest film")
    most_unexplained: float = Field(
        description="mean square of a thumbnail that the subspace leaves over; over it, too"
    )
    n: int = Field(description="training films, beside projections of a CT and drawn pictures")


class Aimed(_Strict):
    """Test films with which an attacker passes who wants to change a finding or its call, posted as 8-bit images."""

    attacker: str
    knows_the_gate: bool
    goal: Literal["hide", "invent", "absent-to-present", "present-to-absent", "any-change"] = Field(
        description="hide and invent: at ``youden_logit``; the others: a call becomes its opposite, or another"
    )
    finding_choice: Literal["furthest", "nearest", "random"] = Field(description="which of a film's findings it was")
    epsilon: float = Field(description="largest change of a pixel, in [0, 1]")
    films: int = Field(description="on which it was possible: accepted before the attack or not")
    evaded: int = Field(description="goal reached, and accepted")
    probability_change: float | None = Field(
        description="of the finding, absolute, mean over these films; little of it says that the network hardly moves"
    )


class Rates(_Strict):
    """Measured on the test films; each interval is a 95 % bootstrap over patients."""

    test_n: int
    mean_auroc: float
    mean_auroc_interval: tuple[float, float]
    false_rejection_rate: Rate
    false_rejection_rate_interval: tuple[float, float]
    detection_rate: dict[str, Rate] = Field(description="attack name and budget -> attacked images that are rejected")
    evasion_rate: dict[str, Rate] = Field(
        description="attack name and budget -> attacks that reached their goal and were not rejected"
    )
    aimed: tuple[Aimed, ...] | None = Field(
        None, description="who stops at the first flip, and who knows the gate; None: not measured, expect them to pass"
    )


class FittedWith(_Strict):
    """Where the features come from; another backend must first reproduce the golden outputs."""

    backend: str
    precision: Literal["float32"]
    versions: dict[str, str]


class Provenance(_Strict):
    """The model's data, code and command; None: the bundle does not say."""

    data_sha256: str
    initial_weights: str
    seed: int
    epochs: int
    created: str
    code: str | None = Field(None, description="version of the package that exported it, and its git commit if known")
    command: str | None = Field(None, description="that exported it")


class Recalibration(_Strict):
    """How a bundle's gate was moved to a site, from which bundle; the network is that bundle's."""

    base_version: str = Field(description="model_version of the bundle that it was moved from")
    site_sha256: str = Field(description="over the contents of the site's films")
    base_signed_by: str | None = Field(None, description="trusted key of the base's signature, if one was asked for")
    n: int = Field(description="site films that the Gaussian was fitted on, beside the base's")
    pseudo_films: int = Field(description="films that the base's Gaussian counted as beside them")
    command: str
    seed: int
    created: str
    code: str | None = Field(None, description="as of the provenance")


class Manifest(_Strict):
    """Everything about a bundle but its arrays."""

    format_version: Literal[3] = 3
    model_version: str
    files: dict[str, str] = Field(description="path in the bundle -> SHA-256")
    findings: tuple[Finding, ...]
    preprocessing: dict[str, object]
    gate: GateModel
    orientation: OrientationModel
    content_check: ContentModel
    fitted_with: FittedWith
    provenance: Provenance
    measured: Rates | None
    recalibration: Recalibration | None = None

    def content(self) -> dict[str, object]:
        """The content that is written and whose digest is the version. Fields that came to the format later "
        "are left out if they are None."""
        content: dict[str, object] = self.model_dump(mode="json")
        if self.recalibration is None:
            del content["recalibration"]
        for part, later in (
            ("gate", ("watch", "variants", "variant_weight")),
            ("measured", ("aimed",)),
            ("provenance", ("code", "command")),
            ("recalibration", ("code", "base_signed_by")),
        ):
            fields = content.get(part)
            if isinstance(fields, dict):
                content[part] = {k: v for k, v in fields.items() if not (k in later and v is None)}
        return content
