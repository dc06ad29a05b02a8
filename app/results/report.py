"""(Source, Verdict) -> a Comprehensive SR by template TID 1500 (PS3.16), in the film's study."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from app import __version__
from app.pipeline import Verdict
from app.pipeline.calls import Called, Calls
from app.pipeline.manifest import Manifest

from .codes import (
    ABSENT_BELOW,
    ACCEPTED,
    CALL,
    CALLS,
    CHEST_RADIOGRAPHY,
    COMMENT,
    FINDINGS,
    PRESENT_FROM,
    PROBABILITY,
    RATIO,
    REJECTED,
    VERDICT,
    coding_scheme,
)
from .identity import keyed_uid, public_uid
from .source import REFERENCES, REQUIRED_EVEN_IF_EMPTY, Source

NAME: Final = "cxr-gate"
#: Raised whenever the report's content changes, so that one UID never stands for two contents.
LAYOUT: Final = "report/3"
#: Decimals of a probability. Other films in a batch move the seventh, and a repeated report must say the same.
DECIMALS: Final = 4
SERIES_NUMBER: Final = 9900  # far from the numbers that modalities use

NOTICE: Final = (
    "Not a medical device. For research and engineering; no diagnosis may rest on it. Made by software alone and "
    "verified by no person."
)
ACCEPTED_TEXT: Final = (
    "The image's features look like those of clean chest films. This is no proof that the image was not altered. "
    "Each probability stands for itself; they are not exclusive. It holds for films among which the finding is as frequent as "
    "the model description says. An indeterminate finding is neither present nor absent: a person has to look."
)
JUDGED_AS: Final = "The film was judged as shown so:"
REJECTED_TEXT: Final = (
    "No result was made: the image's features are unlike those of clean chest films, so no probabilities are given. "
    "The image may have been tampered with; a rare or damaged film, and some clean ones, are rejected too. "
    "Let a person look at the film."
)


def make_report(
    source: Source,
    verdict: Verdict,
    *,
    key: bytes,
    pixels_digest: str,
    manifest: Manifest,
    made: datetime,
    presentation: str = "",
) -> ComprehensiveSR:
    """Report a verdict on a film.

    Parameters
    ----------
    verdict : Verdict
        Its log density is not reported: an exact score is an oracle for an attacker.
    key : bytes
        Key of the report's UIDs (``identity.keyed_uid``).
    pixels_digest : str
        Digest of the decoded film (``pixels_digest``).
    manifest : Manifest
        The manifest of the bundle that judged: its version, and how it calls findings.
    presentation : str
        The presentation that was judged (``DecodedImage``), so that a reader can compare it with that of the viewer.
    made : datetime, aware
        When the content was made. Two reports of one result differ only in this and in values that follow from it.
    """
    about = (*source.subject, pixels_digest, manifest.model_version, LAYOUT, presentation)
    image = SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)
    algorithm = AlgorithmIdentification(
        name=NAME, version=manifest.model_version, parameters=[f"service version {__version__}"], manufacturer=NAME
    )

    def group(
        name: str, evaluation: QualitativeEvaluation, finding: Code | None = None, *measurements: Measurement
    ) -> MeasurementsAndQualitativeEvaluations:
        return MeasurementsAndQualitativeEvaluations(
            TrackingIdentifier(keyed_uid(key, *about, name), name),
            algorithm_id=algorithm,
            finding_type=finding,
            measurements=measurements,
            qualitative_evaluations=[evaluation],
            source_images=[image],
        )

    gate = group("gate", QualitativeEvaluation(VERDICT, ACCEPTED if verdict.accepted else REJECTED))
    explained = ACCEPTED_TEXT if verdict.accepted else REJECTED_TEXT
    gate[0].ContentSequence.append(TextContentItem(COMMENT, explained, RelationshipTypeValues.CONTAINS))
    if presentation:
        told = f"{JUDGED_AS} {presentation}"
        gate[0].ContentSequence.append(TextContentItem(COMMENT, told, RelationshipTypeValues.CONTAINS))
    findings = [
        group(called.name, QualitativeEvaluation(CALL, CALLS[called.call]), FINDINGS[called.name], *_numbers(called))
        for called in _called(verdict, manifest)
    ]
    content = MeasurementReport(_observed_by(manifest), CHEST_RADIOGRAPHY, [gate, *findings])
    # TID 1500 may be extended (PS3.16 annex A), and a reader must see this.
    content[0].ContentSequence.append(TextContentItem(COMMENT, NOTICE, RelationshipTypeValues.CONTAINS))

    report = ComprehensiveSR(
        evidence=[_reference(source)],
        content=content[0],
        series_instance_uid=keyed_uid(key, *about, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=keyed_uid(key, *about, "instance"),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=(__version__, manifest.model_version),
        series_description="cxr-gate, not a medical device",
        is_complete=True,
        specific_character_set="ISO_IR 192",
        coding_schemes=[coding_scheme()],
    )
    # highdicom copies the makers from the film, which has none here, and adds the time of day.
    del report.ContributingEquipmentSequence
    report.update(source.identity)
    local = made.astimezone(source.offset)  # None: the zone of this machine, as the film's own times are local
    report.ContentDate = report.InstanceCreationDate = DA(local.date())
    report.ContentTime = report.InstanceCreationTime = TM(local.time().replace(microsecond=0))
    return report


def to_part10(report: Dataset) -> bytes:
    """A report as a DICOM file (PS3.10), Explicit VR Little Endian."""
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _called(verdict: Verdict, manifest: Manifest) -> tuple[Called, ...]:
    """The measurements of each finding; none if the film was rejected."""
    return () if verdict.probabilities is None else Calls(manifest.findings).of(verdict.probabilities)


def _numbers(called: Called) -> Iterator[Measurement]:
    numbers = (
        (PROBABILITY, called.probability),
        (PRESENT_FROM, called.present_from),
        (ABSENT_BELOW, called.absent_below),
    )
    for name, value in numbers:
        if value is not None:
            yield Measurement(name, round(value, DECIMALS), RATIO)


def _observed_by(manifest: Manifest) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=public_uid(NAME, __version__, manifest.model_version),
        name=NAME,
        manufacturer_name=NAME,
        model_name=manifest.model_version,
    )
    return ObservationContext(ObserverContext(codes.DCM.Device, device))


def _reference(source: Source) -> Dataset:
    """The film in the form from which highdicom takes references.

    Patient and study are added to the report afterwards, since highdicom quotes doubtful values in warnings.
    """
    reference = Dataset()
    values: tuple[UID, ...] = (
        source.sop_class_uid,
        source.sop_instance_uid,
        source.series_instance_uid,
        source.study_instance_uid,
    )
    for keyword, value in zip(REFERENCES, values, strict=True):
        setattr(reference, keyword, value)
    for keyword in REQUIRED_EVEN_IF_EMPTY:
        setattr(reference, keyword, "")
    return reference
