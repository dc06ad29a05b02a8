"""What a film is declared to be chooses its decoder; undeclared, its signature does, unless it has two."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from app.pipeline import decode
from app.pipeline.decode import has_signature, sniff
from app.pipeline.errors import MalformedImage
from app.pipeline.image import SourceKind
from tests.support.films import dataset, dicom, jpeg, part10, pixels, png

FILMS: dict[SourceKind, bytes] = {"png": png(), "jpeg": jpeg(), "dicom": dicom()}


def compressed() -> bytes:
    made = dataset()
    made.compress(RLELossless)
    return part10(made)


@pytest.mark.parametrize("kind", FILMS)
def test_a_film_has_one_signature(kind: SourceKind) -> None:
    assert sniff(FILMS[kind]) == kind
    assert [each for each in FILMS if has_signature(FILMS[kind], each)] == [kind]
    np.testing.assert_array_equal(decode(FILMS[kind], kind=kind).pixels, decode(FILMS[kind]).pixels)


@pytest.mark.parametrize("declared", FILMS)
@pytest.mark.parametrize("kind", FILMS)
def test_a_film_is_decoded_as_nothing_else(kind: SourceKind, declared: SourceKind) -> None:
    if kind != declared:
        with pytest.raises(MalformedImage, match=f"not {declared.upper()}"):
            decode(FILMS[kind], kind=declared)


@pytest.mark.parametrize("preamble", ["png", "jpeg"])
@pytest.mark.parametrize("make", [dicom, compressed])
def test_a_preamble_may_hold_anything(make: Callable[[], bytes], preamble: SourceKind) -> None:
    film = FILMS[preamble][:128] + make()[128:]
    decoded = decode(film, kind="dicom")
    assert decoded.source_kind == "dicom"
    np.testing.assert_array_equal(decoded.pixels, pixels().astype(np.float32) / 255)
    with pytest.raises(MalformedImage):
        decode(film, kind=preamble)
    with pytest.raises(MalformedImage, match=f"{preamble.upper()} and DICOM at once"):
        decode(film)


def test_pydicom_reads_such_a_preamble_too() -> None:
    """The oracle: PS3.10 section 7.1 gives the preamble no meaning, and other readers pass over it."""
    film = FILMS["png"][:128] + FILMS["dicom"][128:]
    np.testing.assert_array_equal(dcmread(io.BytesIO(film)).pixel_array, pixels())
