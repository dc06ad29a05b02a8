"""Headers as hospitals have them: what a report takes over, what it leaves empty, and what is refused by its tag."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, RawDataStorage

from app.results.source import OPTIONAL, REQUIRED_EVEN_IF_EMPTY, UnreportableSource, read_source
from tests.results.films import NAME, PATIENT, film, film_with_bytes
from tests.support.films import part10


def test_what_a_report_takes_over() -> None:
    source = read_source(film(StudyInstanceUID="1.2.3", IssuerOfPatientID="ward", TimezoneOffsetFromUTC="-0330"))
    assert source.study_instance_uid == "1.2.3"
    assert source.identity.PatientName == NAME
    assert source.identity.PatientID == PATIENT
    assert source.identity.PatientBirthDate == "19600229"
    assert source.identity.IssuerOfPatientID == "ward"
    assert source.offset is not None
    assert source.offset.utcoffset(None) == timedelta(hours=-3, minutes=-30)
    assert {element.keyword for element in source.identity} <= {*REQUIRED_EVEN_IF_EMPTY, *OPTIONAL}


@pytest.mark.parametrize("keyword", REQUIRED_EVEN_IF_EMPTY)
@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_what_may_be_empty_stays_empty(keyword: str, value: str | None) -> None:
    assert read_source(film(**{keyword: value})).identity[keyword].is_empty


JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"  # PS3.5 H.3.1
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"  # PS3.5 I.2
NAMES = {
    "latin-1": (b"ISO_IR 100", "Äneas^Rüdiger".encode("latin-1"), "Äneas^Rüdiger"),
    "cyrillic": (b"ISO_IR 144", "Люкceмбypг".encode("iso8859-5"), "Люкceмбypг"),
    "utf-8": (b"ISO_IR 192", "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
    "gb18030": (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    "iso-2022-ir-87": (rb"\ISO 2022 IR 87", JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "iso-2022-ir-149": (rb"\ISO 2022 IR 149", KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_by_their_character_sets(name: str) -> None:
    charset, raw, expected = NAMES[name]
    assert read_source(film_with_bytes(charset, PatientName=raw)).identity.PatientName == expected


#: name -> SpecificCharacterSet and the bytes of a name that are no text of it
NO_TEXT = {
    "latin-1-undeclared": (None, "Rüdiger".encode("latin-1")),
    "latin-1-in-the-default-set": (rb"\ISO 2022 IR 87", "Rüdiger".encode("latin-1")),
    "latin-1-called-utf-8": (b"ISO_IR 192", "Rüdiger".encode("latin-1")),
    "unknown-character-set": (b"KLINGON", "Rüdiger".encode("latin-1")),
    "escape-undeclared": (None, JAPANESE),
    "escape-of-another-set": (rb"\ISO 2022 IR 149", b"\x1b$Bzzz\xff"),
    "several-names": (None, b"Doe^Jane\\Roe^Richard"),
    "six-components": (None, b"a^b^c^d^e^f"),
    "four-groups": (None, b"a=b=c=d"),
    "too-long": (None, b"x" * 65),
    "control-characters": (None, b"Doe\r\nJane"),
}


@pytest.mark.parametrize("name", NO_TEXT)
@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_an_illegal_name_is_left_empty_and_an_illegal_id_is_refused(name: str) -> None:
    charset, raw = NO_TEXT[name]
    assert read_source(film_with_bytes(charset, PatientName=raw)).identity["PatientName"].is_empty
    if name in {"six-components", "four-groups"}:  # legal in an ID
        return
    with pytest.raises(UnreportableSource, match=r"PatientID \(0010,0020\) holds a value that the standard forbids"):
        read_source(film_with_bytes(charset, PatientID=raw))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", b"2024.01.31"),
        ("StudyDate", b"20240230"),
        ("StudyDate", b"20240101-20240131"),
        ("PatientBirthDate", b"UNKNOWN"),
        ("StudyTime", b"08:15:00"),
        ("StudyTime", b"250000"),
        ("PatientSex", b"female"),
        ("StudyID", b"longer than sixteen"),
        ("AccessionNumber", b"1\\2"),
        ("TimezoneOffsetFromUTC", b"UTC"),
        ("StudyDescription", b"x" * 65),
    ],
)
def test_other_illegal_values_are_left_out(keyword: str, value: bytes) -> None:
    identity = read_source(film_with_bytes(**{keyword: value})).identity
    assert not identity.get(keyword)
    assert identity.PatientID == PATIENT


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "absent or empty"),
        (b"1.2..3", "not a valid UID"),
        (b"1.2.", "not a valid UID"),
        (b" 1.2.3", "not a valid UID"),
        (b"1." + b"2" * 64, "not a valid UID"),
        (b"1.2\\1.3", "not a valid UID"),
        (b"Doe^Jane", "not a valid UID"),
    ],
)
def test_a_missing_or_illegal_uid_is_refused_by_its_tag(keyword: str, value: bytes, fault: str) -> None:
    with pytest.raises(UnreportableSource, match=rf"{keyword} \(00\d\d,00\w\w\) is {fault}") as caught:
        read_source(film_with_bytes(**{keyword: value}))
    assert not value or value.decode() not in str(caught.value)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1.2.826.01.3", "1.2.826.01.3"),
        (b"01.002.0003", "01.002.0003"),
        (b"1.2.00", "1.2.00"),
        (b"1.2.3 ", "1.2.3"),
        (b"1.2.03   ", "1.2.03"),
        (b"1.2.3\0\0\0", "1.2.3"),
        (b"1.2.3 \0", "1.2.3"),
        (b"1." + b"0" * 62, "1." + "0" * 62),
        (b"1." + b"2" * 62 + b"  ", "1." + "2" * 62),
    ],
)
def test_a_uid_is_taken_as_it_stands_but_for_its_padding(keyword: str, value: bytes, expected: str) -> None:
    source = read_source(film_with_bytes(**{keyword: value}))
    named = {
        "SOPInstanceUID": source.sop_instance_uid,
        "SeriesInstanceUID": source.series_instance_uid,
        "StudyInstanceUID": source.study_instance_uid,
    }
    assert named[keyword] == expected


@pytest.mark.parametrize("uid", [CTImageStorage, RawDataStorage, "1.2.840.99999.7"])
def test_only_radiographs_are_referred_to(uid: str) -> None:
    with pytest.raises(UnreportableSource, match="SOPClassUID"):
        read_source(film_with_bytes(SOPClassUID=uid.encode()))


def test_private_tags_stay_behind() -> None:
    made = dcmread(io.BytesIO(film()))
    made.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "secret")
    assert "secret" not in str(read_source(part10(made)).identity)


def test_a_sequence_where_text_belongs_is_no_text() -> None:
    made = dcmread(io.BytesIO(film()))
    made[Tag("PatientID")] = DataElement(Tag("PatientID"), "SQ", [Dataset()])
    with pytest.raises(UnreportableSource, match="PatientID"):
        read_source(part10(made))
