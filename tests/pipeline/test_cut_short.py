"""A file that is cut off is told so, wherever the cut: never that a tag is absent or the transfer syntax wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.pipeline import decode
from app.pipeline.errors import InputError, MalformedImage

from .films import smooth
from .mutants import valid_films

#: More within the header, where each byte means something else.
CUTS_IN_HEADER, CUTS_IN_PIXELS = 120, 12
SYNTAXES = (
    "explicit implicit big-endian deflated undefined-lengths rle jpeg-baseline jpeg-lossless jpeg-ls jpeg2000-lossless "
    "htj2k-lossy"
).split(" ")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return valid_films(tmp_path_factory.mktemp("films"))


def told(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        decode(data)
    return caught.value


def cuts(size: int, header: int) -> list[int]:
    """Offsets, the same each time: all about the meta header's start and the end, and some of the others."""
    random = np.random.default_rng(size)
    inside = random.integers(132, header, CUTS_IN_HEADER), random.integers(header, size, CUTS_IN_PIXELS)
    return sorted({*range(1, 8), *range(126, 180), *np.concatenate(inside).tolist(), *range(size - 10, size)})


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_dicom(films: dict[str, bytes], syntax: str) -> None:
    whole = films[syntax]
    pixels = max(whole.rfind(b"\xe0\x7f\x10\x00"), whole.rfind(b"\x7f\xe0\x00\x10"))
    decode(whole)
    for offset in cuts(len(whole), pixels + 40 if pixels > 0 else len(whole) - 100):
        error = told(whole[:offset])
        assert isinstance(error, MalformedImage), (offset, error)
        assert "cut short" in str(error), (offset, str(error))


@pytest.mark.parametrize("name", ["dx_chest_no_finding", "cr_chest_jpeg_baseline", "cr_chest_15bit_j2k_lossless"])
def test_real_films(name: str, shared_data: Path) -> None:
    whole = (shared_data / f"dicom/{name}.dcm").read_bytes()
    pixels = max(whole.find(b"\xe0\x7f\x10\x00OW"), whole.find(b"\xe0\x7f\x10\x00OB"), 1000)
    for offset in cuts(len(whole), pixels)[::5]:
        error = told(whole[:offset])
        assert isinstance(error, MalformedImage), (offset, error)
        assert "cut short" in str(error), (offset, str(error))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_png_and_jpeg(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(smooth(8)).save(stream, kind)
    whole = stream.getvalue()
    decode(whole)
    decode(whole + b"\0" * 30)
    random = np.random.default_rng(1)
    for offset in {*range(1, 60), *random.integers(60, len(whole), 100).tolist(), *range(len(whole) - 16, len(whole))}:
        assert "cut short" in str(told(whole[:offset])), offset


@pytest.mark.parametrize("syntax", ["explicit", "jpeg-lossless", "implicit"])
def test_a_whole_film_that_somebody_padded_is_read(films: dict[str, bytes], syntax: str) -> None:
    for more in (b"\0", b"\0" * 5, b"\xfc\xff\xfc\xff" + b"OB\0\0\x08\0\0\0" + bytes(8)):
        expected = decode(films[syntax]).pixels
        if syntax == "implicit" and len(more) > 8:
            more = b"\xfc\xff\xfc\xff\x08\0\0\0" + bytes(8)
        np.testing.assert_array_equal(decode(films[syntax] + more).pixels, expected)
