"""Which instance a file says it is, however it is encoded or damaged."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.pipeline.identity import Identity, is_uid, read_identity
from tests.support.films import dataset, dicom, png

STUDY, INSTANCE = "1.2.3.1", "1.2.3.2"
FILM = dataset(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE)
EXPECTED = Identity(FILM.SOPClassUID, INSTANCE, STUDY)


def encoded(film: Dataset, syntax: str) -> bytes:
    film.file_meta.TransferSyntaxUID = syntax
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name.replace(" ", ""),
)
def test_in_every_encoding(syntax: str) -> None:
    film = dataset(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE)
    assert read_identity(encoded(film, syntax)) == EXPECTED


def test_a_deflated_bomb_is_not_inflated() -> None:
    film = dataset(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE)
    data = encoded(film, DeflatedExplicitVRLittleEndian)
    meta = data[: 132 + 12 + int.from_bytes(data[140:144], "little")]
    beginning = dicom(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE)
    beginning = beginning[132 + 12 + int.from_bytes(beginning[140:144], "little") :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(beginning) + b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    assert len(bomb) < 2**20
    tracemalloc.start()
    assert read_identity(meta + bomb) == EXPECTED
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(132), png()], ids=["empty", "short", "zeros", "png"])
def test_what_is_no_dicom_has_no_identity(data: bytes) -> None:
    assert read_identity(data) is None


def test_values_that_are_no_uid_are_not_repeated() -> None:
    mark = b"1.2.3.4.5.6.7.8.9"
    data = dicom(SOPInstanceUID=mark.decode(), StudyInstanceUID=STUDY)
    assert read_identity(data.replace(mark, b"Canary^Jane Doe..")) is None
    assert not is_uid("1.2.3\n")
    assert not is_uid("")
    assert not is_uid("1" * 65)


def test_a_file_cut_anywhere_has_its_own_identity_or_none() -> None:
    data = encoded(dataset(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE), ExplicitVRLittleEndian)
    found = {read_identity(data[:length]) for length in range(1000)}
    assert found == {None, Identity(EXPECTED.sop_class_uid, INSTANCE, ""), EXPECTED}


@given(st.lists(st.tuples(st.integers(132, 700), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6))
def test_hostile_headers_raise_nothing(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(encoded(dataset(StudyInstanceUID=STUDY, SOPInstanceUID=INSTANCE), ExplicitVRLittleEndian))
    for at, change in changes:
        data[at : at + len(change)] = change
    found = read_identity(bytes(data))
    assert found is None or is_uid(found.sop_instance_uid)
