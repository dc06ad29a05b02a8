"""Reports under other people's tools: dciodvfy, DCMTK's dsrdump, highdicom and pydicom as readers."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.sr import srread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from app.pipeline import LABELS, Verdict
from app.pipeline.manifest import Manifest
from app.results import UnreportableSource, make_report, pixels_digest, read_source, to_part10
from app.results.codes import FINDINGS, SCHEME
from tests.results.films import NAME, PATIENT, film, film_with_bytes, run_tool
from tests.results.test_source import NAMES
from tests.support.bundles import manifest_fields

MADE = datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=UTC)
KEY = bytes(range(32))
MANIFEST = Manifest(model_version="densenet121-mgm-000000000000", files={}, **manifest_fields(-10.0))
PROBABILITIES = np.linspace(0.0, 1.0, len(LABELS))
ACCEPTED = Verdict(True, -1234.5, PROBABILITIES)
REJECTED = Verdict(False, -98765.4, None)
VERDICTS = {"accepted": ACCEPTED, "rejected": REJECTED}

#: What dciodvfy may warn of: our own coding scheme, which it cannot know; what it would need for a DICOMDIR and the
#: film did not have; and names without a component delimiter, which are legal and copied as they are.
EXPLAINED = re.compile(r"Unrecognized defined term <99CXRGATE>|needed to build DICOMDIR|Retired Person Name form")
TOO_LONG = re.compile(r"<(.*)> - Length invalid for this VR = \d+, expected <= (\d+)")
SUMMARY = "Error - Dicom dataset contains invalid data values for Value Representations"


def report_bytes(data: bytes, verdict: Verdict = ACCEPTED, **changed: Any) -> bytes:
    options = {"key": KEY, "pixels_digest": "0" * 64, "manifest": MANIFEST, "made": MADE, **changed}
    return to_part10(make_report(read_source(data), verdict, **options))


def report(data: bytes, verdict: Verdict = ACCEPTED, **changed: Any) -> Dataset:
    return dcmread(io.BytesIO(report_bytes(data, verdict, **changed)))


def assert_valid(data: bytes, folder: Path) -> None:
    path = folder / "report.dcm"
    path.write_bytes(data)
    lines = run_tool("dciodvfy", path).splitlines()
    assert "ComprehensiveSR" in lines
    unexplained = [line for line in lines if line != "ComprehensiveSR" and not EXPLAINED.search(line)]
    miscounted = [line for line in unexplained if is_miscounted(line)]
    assert not [line for line in unexplained if line not in miscounted and not (miscounted and line == SUMMARY)]


def is_miscounted(line: str) -> bool:
    """Whether dciodvfy finds a value too long by its bytes of UTF-8; PS3.5 section 6.2 counts characters."""
    found = TOO_LONG.search(line)
    return found is not None and not found[1].isascii() and len(found[1]) <= int(found[2])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_dciodvfy_finds_no_fault(verdict: str, tmp_path: Path) -> None:
    assert_valid(report_bytes(film(), VERDICTS[verdict]), tmp_path)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_reports_of_the_shared_films_are_valid(verdict: str, tmp_path: Path, shared_data: Path) -> None:
    for path in sorted((shared_data / "dicom").glob("*chest*.dcm")):
        assert_valid(report_bytes(path.read_bytes(), VERDICTS[verdict]), tmp_path)


def test_it_says_how_the_film_was_shown(tmp_path: Path) -> None:
    shown = "window applied (LINEAR): center 2048, width 4096; MONOCHROME1, inverted"
    made = report_bytes(film(), presentation=shown)
    assert_valid(made, tmp_path)
    assert f"The film was judged as shown so: {shown}".encode() in made
    assert b"judged as shown" not in report_bytes(film())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_character_set_is_valid_and_reads_back(name: str, tmp_path: Path) -> None:
    charset, raw, expected = NAMES[name]
    data = report_bytes(film_with_bytes(charset, PatientName=raw))
    assert_valid(data, tmp_path)
    assert dcmread(io.BytesIO(data)).PatientName == expected
    printed = run_tool("dcmdump", "+U8", tmp_path / "report.dcm")
    assert f"[{expected}]" in printed


def test_a_film_with_an_all_but_empty_header_gets_a_valid_report(tmp_path: Path) -> None:
    absent = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    assert_valid(report_bytes(film(**dict.fromkeys((*absent, "AccessionNumber", "ReferringPhysicianName")))), tmp_path)


def test_a_report_refers_to_a_film_by_its_own_uids_though_they_have_leading_zeros(tmp_path: Path) -> None:
    uids = {"StudyInstanceUID": "1.2.826.01.3", "SeriesInstanceUID": "1.2.826.02.0", "SOPInstanceUID": "1.2.826.0.007"}
    data = report_bytes(film_with_bytes(**{keyword: uid.encode() for keyword, uid in uids.items()}))
    made = dcmread(io.BytesIO(data))
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert made.StudyInstanceUID == study.StudyInstanceUID == uids["StudyInstanceUID"]
    assert series.SeriesInstanceUID == uids["SeriesInstanceUID"]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uids["SOPInstanceUID"]
    path = tmp_path / "report.dcm"
    path.write_bytes(data)
    faults = [line for line in run_tool("dciodvfy", path).splitlines() if line.startswith("Error") and line != SUMMARY]
    assert faults
    assert all("Leading zeroes in embedded numeric component(s)" in line for line in faults)  # the film's own, not ours
    assert all(any(f"<{uid}>" in line for uid in uids.values()) for line in faults)
    assert run_tool("dsrdump", "--ignore-item-errors", path).count("IMAGE:") == 1 + len(LABELS)


def test_a_short_string_of_many_bytes_is_valid(tmp_path: Path) -> None:
    data = report_bytes(film_with_bytes(b"GB18030", AccessionNumber=b"\x81@  \x81@\x81@\x81@\x81@"))
    assert_valid(data, tmp_path)
    assert dcmread(io.BytesIO(data)).AccessionNumber == "\u4e02  " + "\u4e02" * 4


@given(
    charset=st.sampled_from([None, b"ISO_IR 100", b"ISO_IR 192", rb"\ISO 2022 IR 87", b"GB18030"]),
    raw=st.dictionaries(
        st.sampled_from(["PatientName", "PatientID", "StudyDate", "StudyTime", "PatientSex", "AccessionNumber"]),
        st.binary(max_size=70)
        | st.text(max_size=70).map(str.encode)
        | st.from_regex(rb"[0-9.:^=\\ -]{0,18}", fullmatch=True),
        min_size=1,
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_header_gives_a_valid_report_or_a_refusal(
    charset: bytes | None, raw: dict[str, bytes], tmp_path: Path
) -> None:
    data = film_with_bytes(charset, **raw)
    try:
        made = report_bytes(data, REJECTED)
    except UnreportableSource:
        assert "PatientID" in raw
        return
    assert_valid(made, tmp_path)


def test_highdicom_reads_every_probability_back(tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(film()))
    groups = srread(path).content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["gate", *LABELS]
    for group, label, probability in zip(groups[1:], LABELS, PROBABILITIES, strict=True):
        assert group.finding_type == FINDINGS[label]
        value, present_from, absent_below = group.get_measurements()
        assert (value.name.value, value.unit.value) == ("Probability", "{ratio}")
        assert value.value == pytest.approx(probability, abs=5e-5)
        assert (present_from.value, absent_below.value) == (0.6, 0.4)
        (call,) = group.get_qualitative_evaluations(name=None)
        expected = "Present" if probability >= 0.6 else "Absent" if probability < 0.4 else "Indeterminate"
        assert call.value.meaning == expected


def test_the_observer_is_a_device_and_the_algorithm_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(film()))
    read = srread(path)
    (observer,) = read.content.get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    assert read.content.get_observer_contexts(codes.DCM.Person) == []
    assert MANIFEST.model_version in read.SoftwareVersions
    assert (read.CompletionFlag, read.VerificationFlag, read.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    printed = run_tool("dsrdump", path)
    assert printed.count(f'"Algorithm Version")="{MANIFEST.model_version}"') == 1 + len(LABELS)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_dsrdump_prints_what_a_reader_must_see(verdict: str, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(report_bytes(film(), VERDICTS[verdict]))
    printed = run_tool("dsrdump", "+Pl", path)
    assert "Not a medical device" in printed
    assert ("No result was made" in printed) == (verdict == "rejected")
    assert ("NUM:" in printed) == (verdict == "accepted")
    assert printed.count("IMAGE:") == (1 + len(LABELS) if verdict == "accepted" else 1)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_no_score_of_the_gate_is_in_it(verdict: str) -> None:
    # Random UIDs hold any five digits now and then, and no score.
    elements = [element for element in report(film(), VERDICTS[verdict]).iterall() if element.VR not in ("UI", "SQ")]
    told = " ".join(f"{element.name} {element.value}" for element in elements)
    assert "Not a medical device" in told
    for secret in ("1234.5", "98765", "density", "threshold"):
        assert secret not in told


def test_the_report_is_of_the_films_patient_and_study_in_a_series_of_its_own() -> None:
    data = film()
    source, made = dcmread(io.BytesIO(data)), report(data)
    assert (made.PatientName, made.PatientID) == (NAME, PATIENT)
    for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientBirthDate"):
        assert made[keyword].value == source[keyword].value
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (source.StudyInstanceUID, source.SeriesInstanceUID)
    (instance,) = series.ReferencedSOPSequence
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "PertinentOtherEvidenceSequence" not in made


def test_dates_are_of_the_making_in_the_films_own_zone() -> None:
    made = report(film(TimezoneOffsetFromUTC="+1300"))
    assert (made.ContentDate, made.ContentTime) == ("20260302", "013015")
    assert made.TimezoneOffsetFromUTC == "+1300"
    assert made.StudyDate == "20240131"


def test_the_uid_is_of_the_film_its_pixels_and_the_model_alone() -> None:
    data = film()
    same = report(data, made=datetime.now(UTC))
    assert same.SOPInstanceUID == report(data).SOPInstanceUID
    assert same.SOPInstanceUID != same.SeriesInstanceUID
    other_model = MANIFEST.model_copy(update={"model_version": "another"})
    others = [
        report(data, pixels_digest="1" * 64),
        report(data, manifest=other_model),
        report(film()),  # another SOPInstanceUID
    ]
    assert len({dataset.SOPInstanceUID for dataset in (same, *others)}) == 4
    assert len({dataset.SeriesInstanceUID for dataset in (same, *others)}) == 4
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{30,38}", dataset.SOPInstanceUID) for dataset in others)


def test_the_digest_is_of_values_and_shape() -> None:
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert pixels_digest(pixels) == pixels_digest(np.asfortranarray(pixels))
    assert pixels_digest(pixels) != pixels_digest(pixels.reshape(3, 2))
    assert pixels_digest(pixels) != pixels_digest(pixels + np.float32(1e-6))


def test_every_label_has_a_code_and_every_private_code_its_scheme() -> None:
    assert tuple(FINDINGS) == LABELS
    assert len({(code.scheme_designator, code.value) for code in FINDINGS.values()}) == len(LABELS)
    (scheme,) = report(film()).CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == SCHEME


def test_codes_of_the_standard_are_those_of_pydicoms_dictionary() -> None:
    """The part of the codes that pydicom's copy of PS3.16 holds; the others are SNOMED CT's alone."""
    assert FINDINGS["Effusion"] == codes.SCT.PleuralEffusion
    assert FINDINGS["Infiltration"] == codes.DCM.Infiltrate
    assert FINDINGS["Mass"] == codes.SCT.Mass
    assert FINDINGS["Nodule"] == codes.SCT.Nodule
    assert FINDINGS["Pneumothorax"] == codes.SCT.Pneumothorax
    assert FINDINGS["Edema"] == codes.SCT.PulmonaryEdema


def test_dicom_validator_finds_no_fault(tmp_path: Path) -> None:
    """Needs a copy of the standard, which dicom-validator fetches from the internet into the home folder at first use."""
    validate_iods = pytest.importorskip("dicom_validator.validate_iods", reason="dicom-validator is not installed")
    if not list((Path.home() / "dicom-validator").glob("*/docbook/part03.xml")):
        pytest.skip("dicom-validator has no copy of the standard here; run validate_iods once with internet access")
    for name, verdict in VERDICTS.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(report_bytes(film(), verdict))
        assert validate_iods.main([str(path), "--edition", "local"]) == 0
