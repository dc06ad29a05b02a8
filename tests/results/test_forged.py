"""Nobody without the key can make a report's UID; and what stands under one and says something else does not stand alone."""

from __future__ import annotations

import hashlib
import io
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from app.metrics import Metrics
from app.records import RecordKey
from app.results import Delivery, DicomwebServer, Outbox
from app.results.codes import ACCEPTED as ACCEPTED_CODE
from app.results.codes import REJECTED as REJECTED_CODE
from app.results.dicomweb import MOST_UIDS, DeliveryFailed
from app.results.report import LAYOUT
from app.statements import MORE_BYTES, OTHER_TEXT, another, says_the_same
from tests.results.archive import Answer, Archive, archive
from tests.results.films import film
from tests.results.test_report import ACCEPTED, KEY, MANIFEST, REJECTED, assert_valid, report, report_bytes
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.waiting import eventually


def changed(data: bytes, change: Callable[[Dataset], object]) -> bytes:
    """A report with something else in it."""
    made = dcmread(io.BytesIO(data))
    change(made)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def forged(true: bytes) -> bytes:
    """An accepting report under the UIDs of a true one: as its sender can make, who is answered that one."""

    def accept(made: Dataset) -> None:
        for code in (each.ConceptCodeSequence[0] for each in items(made, "CODE")):
            if code.get("CodeValue") == REJECTED_CODE.value:
                code.CodeValue, code.CodeMeaning = ACCEPTED_CODE.value, ACCEPTED_CODE.meaning

    return changed(true, accept)


def items(dataset: Dataset, kind: str) -> list[Dataset]:
    """Content items of a kind, at any depth."""
    found: list[Dataset] = []
    for item in dataset.get("ContentSequence", []):
        found += ([item] if item.ValueType == kind else []) + items(item, kind)
    return found


def verdicts(orthanc: Orthanc, study: str) -> list[bool]:
    """Of every SR of a study in the archive: whether it says accepted."""
    found = orthanc.client.post(
        "/tools/find", json={"Level": "Instance", "Query": {"StudyInstanceUID": study, "Modality": "SR"}}
    )
    reports = [orthanc.client.get(f"/instances/{name}/simplified-tags").text for name in found.json()]
    assert all((ACCEPTED_CODE.value in text) is not (REJECTED_CODE.value in text) for text in reports)
    return sorted(ACCEPTED_CODE.value in text for text in reports)


# The UIDs.


def test_the_uid_of_a_report_is_not_made_of_what_is_public() -> None:
    """Not as it was made before, nor by who has another key."""
    data = film()
    made = report(data, REJECTED)
    source = dcmread(io.BytesIO(data))
    public = (source.SOPInstanceUID, "0" * 64, MANIFEST.model_version, LAYOUT, "instance")
    before = uuid.UUID(bytes=hashlib.sha256("\n".join(public).encode()).digest()[:16], version=5).int
    others = [report(data, REJECTED, key=key) for key in (bytes(32), KEY[::-1], b"")]
    uids = [f"2.25.{before}", *(each.SOPInstanceUID for each in others)]
    assert made.SOPInstanceUID not in uids
    assert made.SeriesInstanceUID not in {each.SeriesInstanceUID for each in others}
    assert report(data, ACCEPTED).SOPInstanceUID == made.SOPInstanceUID  # one film, one report


def test_the_key_of_the_uids_is_the_records_and_does_not_tell_it() -> None:
    key = RecordKey(KEY)
    assert len(key.of_reports) == 32
    assert key.of_reports == RecordKey(KEY).of_reports
    assert key.of_reports not in {KEY, RecordKey(KEY[::-1]).of_reports}


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "P-4712"},
        {"IssuerOfPatientID": "another hospital"},
        {"StudyInstanceUID": "1.2.3"},
        {"SeriesInstanceUID": "1.2.3"},
        {"SOPInstanceUID": "1.2.3"},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_one_picture_of_two_patients_or_studies_has_two_reports(tmp_path: Path, tags: dict[str, str]) -> None:
    films = [film(SOPInstanceUID="1.2"), film(**{"SOPInstanceUID": "1.2", **tags})]
    made = [report(data, REJECTED) for data in films]
    assert len({each.SOPInstanceUID for each in made}) == len({each.SeriesInstanceUID for each in made}) == 2
    outbox = Outbox(tmp_path)
    for each, data in zip(made, films, strict=True):
        outbox.put(each.SOPInstanceUID, report_bytes(data, REJECTED))
    assert len(outbox.waiting()) == 2  # neither takes the other's place


# The archive.


def test_a_forged_report_that_came_first_does_not_suppress_the_true_one(orthanc: Orthanc, tmp_path: Path) -> None:
    study = generate_uid()
    data = film(StudyInstanceUID=study)
    true = report_bytes(data, REJECTED)
    assert orthanc.client.post("/instances", content=forged(true)).json()["Status"] == "Success"
    metrics, outbox = Metrics(), Outbox(tmp_path)
    delivery = Delivery(outbox, DicomwebServer(orthanc.dicom_web, USER, PASSWORD, key=KEY), metrics)
    delivery.start()
    for times in (1, 2):  # a film that is sent again adds no third
        delivery.put(report(data, REJECTED).SOPInstanceUID, true)
        eventually(lambda: not outbox.waiting(), 30)
        assert verdicts(orthanc, study) == [False, True]
        assert metrics.registry.get_sample_value("cxr_report_conflicts_total") == times
    delivery.stop()
    assert metrics.registry.get_sample_value("cxr_results_total", {"outcome": "present"}) == 1
    (kept,) = (tmp_path / "others").iterdir()
    assert ACCEPTED_CODE.value.encode() in kept.read_bytes()
    assert oct(kept.stat().st_mode & 0o777) == "0o600"


def test_the_second_report_says_why_and_is_valid(tmp_path: Path) -> None:
    true = report_bytes(film(), REJECTED)
    second = another(true, generate_uid(), generate_uid())
    assert_valid(second, tmp_path)
    assert dcmread(io.BytesIO(second)).ContentSequence[-1].TextValue == OTHER_TEXT
    assert not says_the_same(true, second, under_one_uid=False)
    assert says_the_same(second, another(true, generate_uid(), generate_uid()), under_one_uid=False)


class Forger(Archive):
    """Somebody else stores under each UID just before us; who looks before that finds nothing."""

    def store(self, part: bytes) -> Answer:
        uid = str(dcmread(io.BytesIO(part)).SOPInstanceUID)
        if len(self.held) < self.forging:
            self.held[uid] = forged(part)
        return super().store(part)

    forging = 1


def delivered(server: Archive, data: bytes) -> object:
    return DicomwebServer(server.url, key=KEY).deliver(data)


def test_what_the_archive_keeps_without_a_word_is_seen_after_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    true = report_bytes(film(), REJECTED)
    with archive() as server:
        server.__class__ = Forger
        made = delivered(server, true)
    assert (made.outcome, len(made.others)) == ("stored", 1)
    assert len(server.held) == 2


def test_who_takes_every_uid_is_told_as_a_report_that_waits() -> None:
    with archive() as server:
        server.__class__ = Forger
        server.forging = MOST_UIDS
        with pytest.raises(DeliveryFailed, match="other reports"):
            delivered(server, report_bytes(film(), REJECTED))


@pytest.mark.parametrize("reason", [0x0110, 0xA9FF])
def test_409_of_a_uid_that_is_there_in_another_study(reason: int) -> None:
    """It is not where we look for it, and the archive takes no second."""
    failed = f'{{"00081198": {{"vr": "SQ", "Value": [{{"00081197": {{"vr": "US", "Value": [{reason}]}}}}]}}}}'

    def script(made: Dataset, _: int) -> Answer:
        there = made.SOPInstanceUID in server.elsewhere
        return Answer(409, {"Content-Type": "application/dicom+json"}, failed.encode()) if there else Answer()

    with archive(script) as server:
        true = report_bytes(film(), REJECTED)
        uid = str(dcmread(io.BytesIO(true)).SOPInstanceUID)
        server.elsewhere.add(uid)
        made = delivered(server, true)
    assert made.outcome == "stored"
    assert made.others == (b"",)
    assert uid not in server.held


# What is compared.

FILM = film()
TRUE = report_bytes(FILM, ACCEPTED)


def set_number(by: float) -> Callable[[Dataset], None]:
    def change(made: Dataset) -> None:
        value = items(made, "NUM")[4].MeasuredValueSequence[0]
        value.NumericValue = round(float(value.NumericValue) + by, 6)

    return change


def set_verdict(made: Dataset) -> None:
    (code,) = (
        each for each in items(made, "CODE") if each.ConceptCodeSequence[0].get("CodeValue") == ACCEPTED_CODE.value
    )
    code.ConceptCodeSequence[0].CodeValue = REJECTED_CODE.value


def set_film(made: Dataset) -> None:
    made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[
        0
    ].ReferencedSOPInstanceUID = "1.2.3"


DIFFERENT: dict[str, Callable[[Dataset], object]] = {
    "verdict": set_verdict,
    "probability": set_number(0.01),
    "of another patient": lambda made: setattr(made, "PatientID", "P-1"),
    "of another film": set_film,
    "image of a measurement": lambda made: setattr(
        items(made, "IMAGE")[0].ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1.2.3"
    ),
    "text": lambda made: setattr(items(made, "TEXT")[-1], "TextValue", "All is well."),
    "verified": lambda made: setattr(made, "VerificationFlag", "VERIFIED"),
    "a finding less": lambda made: items(made, "CONTAINER")[0].ContentSequence.pop(),
    "nothing": lambda made: delattr(made, "ContentSequence"),
    "meaning": lambda made: setattr(items(made, "CODE")[-1].ConceptCodeSequence[0], "CodeMeaning", "Absent "),
}
SAME: dict[str, Callable[[Dataset], object]] = {
    "itself": lambda made: None,
    "time": lambda made: setattr(made, "ContentTime", "000000"),
    "a tag of the archive's": lambda made: made.private_block(0x0011, "ARCHIVE", create=True).add_new(1, "LO", "x"),
    "a name written otherwise": lambda made: setattr(made, "PatientName", "DOE^JANE"),
    "a number by another device": set_number(0.0004),
    "implicit": lambda made: setattr(made.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_it_says_something_else(name: str) -> None:
    assert not says_the_same(TRUE, changed(TRUE, DIFFERENT[name]))


@pytest.mark.parametrize("name", SAME)
def test_it_says_the_same(name: str) -> None:
    assert says_the_same(TRUE, changed(TRUE, SAME[name]))


def test_the_same_verdict_of_another_version_of_this_program_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.results.report.__version__", "99.0")
    assert says_the_same(TRUE, report_bytes(FILM, ACCEPTED))


def nested(depth: int) -> bytes:
    item = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return TRUE[:700] + item * depth


def empty_items() -> bytes:
    """As many as fit under the limit."""
    return (
        TRUE[:700]
        + b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff"
        + b"\xfe\xff\x00\xe0\0\0\0\0" * ((len(TRUE) + MORE_BYTES) // 8)
    )


@pytest.mark.parametrize(
    "theirs",
    [
        b"",
        b"DICM",
        TRUE[:900],
        b"\0" * 128 + b"DICM" + b"\xff" * 60_000,
        nested(4000),
        empty_items(),
    ],
    ids=["empty", "no dicom", "cut short", "noise", "nested", "empty items"],
)
def test_hostile_bytes_are_another_report_and_cost_little(theirs: bytes) -> None:
    began = time.process_time()
    assert not says_the_same(TRUE, theirs)
    assert time.process_time() - began < 3  # .1 s alone


def test_what_is_far_larger_is_not_read() -> None:
    assert not says_the_same(TRUE, TRUE + b"\0" * 2**20)
