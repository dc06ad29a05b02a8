"""A bundle's ``report.json`` as values with types; ``measure`` writes it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from app.pipeline.bundle import REPORT

from ..report.reading import AimedRow
from ..run import Run


class _ReportPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OvershootingRow(_ReportPart):
    """One of the paper's attacks, which know nothing of the gate."""

    steps: int
    n: int
    detected: int
    detection_rate: float
    flip_rate: float
    evasion_rate: float


class GroupRow(_ReportPart):
    """Clean films of a group."""

    n: int
    false_rejection_rate: float


class BundleReport(_ReportPart):
    """Figures measured on the test films of a run. NaN stands for an AUROC of films that all have the finding, or none."""

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
