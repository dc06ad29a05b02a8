"""Typed values of a bundle's ``report.json``, which ``measure`` writes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from app.pipeline.bundle import REPORT

from ..report.reading import AimedRow
from ..run import Run


class _ReportPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OvershootingRow(_ReportPart):
    """Results of one of the paper's attacks, which do not know the gate."""

    steps: int
    n: int
    detected: int
    detection_rate: float
    flip_rate: float
    evasion_rate: float


class GroupRow(_ReportPart):
    """False rejection of a group's clean films."""

    n: int
    false_rejection_rate: float


class BundleReport(_ReportPart):
    """Figures measured on the test films of a run. An AUROC is NaN if all films have the finding, or none has it."""

    test_n: int
    test_patients: int
    mean_auroc: float
    mean_auroc_interval: tuple[float, float]
    auroc: dict[str, float]
    false_rejections: int
    false_rejection_rate: float
    false_rejection_rate_interval: tuple[float, float]
    false_rejection_rate_by_group: dict[str, GroupRow]
    attacks: dict[str, OvershootingRow]
    aimed: list[AimedRow] = []
    aimed_steps: int | None = None


def report_of(bundle: Path) -> BundleReport:
    """The report that the bundle in this folder carries."""
    return BundleReport.model_validate(Run(bundle / REPORT).report.read())
