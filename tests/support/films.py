"""Films of nobody: pictures, and DICOM files of every kind that tests post and decode."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import dcmread
from pydicom.uid import (
    MPEG2MPML,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


def pixels(seed: int = 0, side: int = 256) -> np.ndarray:
    """A smooth grey picture, shape (side, side), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(seed)))


def jpeg(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(seed)), "JPEG", quality=95)


def chest_film(stored: NDArray[np.integer], **tags: Any) -> Dataset:
    """A DX chest film of these stored values: 8 bits, or 12 where they are words. A tag given as None is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = 8 if stored.itemsize == 1 else 12
    standard = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.tobytes(),
    }
    made.file_meta.MediaStorageSOPClassUID = standard["SOPClassUID"]
    made.file_meta.MediaStorageSOPInstanceUID = standard["SOPInstanceUID"]
    for keyword, value in {**standard, **tags}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def dataset(seed: int = 0, **tags: Any) -> Dataset:
    """A DX chest film of the picture of `seed`."""
    return chest_film(pixels(seed), **tags)


def compressed(frame: bytes, syntax: str, like: Dataset) -> Dataset:
    """The film with one encapsulated frame in place of its pixels."""
    like.file_meta.TransferSyntaxUID = syntax
    like.PixelData = encapsulate([frame])
    like["PixelData"].VR = "OB"
    like["PixelData"].is_undefined_length = True
    return like


def part10(made: Dataset) -> bytes:
    """The file (PS3.10): what names the transfer syntax is written in the header."""
    buffer = io.BytesIO()
    known = made.file_meta.TransferSyntaxUID.is_transfer_syntax
    # pydicom writes a syntax that it does not know only if the encoding is given.
    encoding: dict[str, Any] = {} if known else {"implicit_vr": False, "little_endian": True}
    made.save_as(buffer, enforce_file_format=True, **encoding)
    return buffer.getvalue()


def dicom(seed: int = 0, **tags: Any) -> bytes:
    return part10(dataset(seed, **tags))


def dicom_not_a_number(keyword: str) -> bytes:
    """A decimal string that pydicom would not write, put into the written file."""
    tags = {"WindowCenter": "128", "WindowWidth": "256", "RescaleSlope": "1", "RescaleIntercept": "0"}
    mark = "4242.424"
    return dicom(**{**tags, keyword: mark}).replace(mark.encode(), b"nan     ")


def dicom_with_syntax(uid: str) -> bytes:
    return part10(compressed(b"\x00" * 64, uid, dataset()))


def unsupported_syntax() -> bytes:
    return dicom_with_syntax(MPEG2MPML)


def with_modality(path: str, modality: str | None = None) -> bytes:
    found = get_testdata_file(path)
    assert isinstance(found, str), path
    if modality is None:
        return Path(found).read_bytes()
    changed = dcmread(found)
    changed.Modality = modality
    buffer = io.BytesIO()
    changed.save_as(buffer)
    return buffer.getvalue()


def png_claiming(columns: int, rows: int) -> bytes:
    """A PNG whose header claims a size that no pixel backs."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def half(make: Callable[[], bytes]) -> bytes:
    data = make()
    return data[: len(data) // 2]
