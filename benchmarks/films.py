"""The films of each mix, made from the shared X-rays where they are, and from the bundle's golden images where not.

Originals of ChestX-ray14 are 1024x1024; the shared copies are their 2x2 means. A cubic filter brings the copies back to 1024,
with grain of one grey level, so that a PNG has about an original's size (some 400 KB) and costs as much to decode.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from app.pipeline.bundle import Bundle

FILMS = 16
SIDE = 1024  # of the originals
PLATE = (1955, 1841)  # rows and columns of the shared computed radiograph
GRAIN = 1.0  # sd, grey levels of 8 bits
MIXES = ("png", "jpeg", "dicom", "j2k")
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "dicom": "application/dicom", "j2k": "application/dicom"}

Grey = NDArray[np.float32]  # shape (rows, columns), in [0, 255]


@dataclass(frozen=True)
class GreyPictures:
    """Grey pictures, and their description in the report."""

    pictures: list[Grey]
    said: str


def source(bundle: Bundle) -> GreyPictures:
    """Twice as many pictures as needed, since only accepted films can be compared by their probabilities."""
    folder = Path(os.environ.get("CXR_SHARED_DATA", "../shared/data")) / "chest_xrays"
    if folder.is_dir():
        with (folder / "labels.csv").open() as table:
            names = sorted(row["Image Index"] for row in csv.DictReader(table) if row["split"] == "test")
        chosen = names[:: len(names) // (2 * FILMS)][: 2 * FILMS]
        pictures = [np.asarray(Image.open(folder / "images" / name), np.float32) for name in chosen]
        return GreyPictures(pictures, "test films of NIH ChestX-ray14")
    golden = bundle.golden.images[:, 0].astype(np.float32)
    return GreyPictures(
        list(golden), "the bundle's golden images (means of films, and patterns): the shared films are absent"
    )


def enlarge(picture: Grey, rows: int, columns: int, seed: int) -> Grey:
    """A film of `rows` x `columns` pixels, with grain; in [0, 1]."""
    large = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(seed).normal(0.0, GRAIN, large.shape).astype(np.float32)
    return np.clip((large + grain) / 255, 0.0, 1.0)


def encode(mix: str, picture: Grey, seed: int) -> bytes:
    """One film of a mix; the same bytes every time."""
    if mix in ("png", "jpeg"):
        film = Image.fromarray(np.rint(enlarge(picture, SIDE, SIDE, seed) * 255).astype(np.uint8))
        stream = io.BytesIO()
        film.save(stream, format=mix.upper(), **({"quality": 90} if mix == "jpeg" else {}))
        return stream.getvalue()
    return computed_radiograph(np.rint(enlarge(picture, *PLATE, seed) * 32767).astype(np.uint16), mix == "j2k", seed)


def computed_radiograph(stored: NDArray[np.uint16], compressed: bool, seed: int) -> bytes:
    """A computed radiograph of 15 bits, MONOCHROME1, as the shared one is."""
    film = Dataset()
    film.SOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{seed + 1}")
    film.StudyInstanceUID = film.SeriesInstanceUID = UID("1.2.826.0.1.3680043.8.498")
    film.PatientID, film.PatientName = "bench", "Bench^Film"
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME1"
    film.Rows, film.Columns = stored.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 15, 14, 0
    film.WindowCenter, film.WindowWidth = 16384, 32768
    pixels = 32767 - stored
    if compressed:
        # Codestreams without the file format's boxes, as DICOM wants them (PS3.5 A.4.4).
        film.PixelData = encapsulate([imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0)])
    else:
        film.PixelData = pixels.tobytes()
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = JPEG2000Lossless if compressed else ExplicitVRLittleEndian
    film["PixelData"].VR = "OB" if compressed else "OW"
    stream = io.BytesIO()
    dcmwrite(stream, film, enforce_file_format=True)
    return stream.getvalue()


def undecodable(film: bytes, which: int) -> bytes:
    """The body of a broken sender: a cut film, noise behind a right signature, or text."""
    kinds = (
        film[: len(film) // 2],
        film[:16] + np.random.default_rng(which).bytes(20_000),
        b"<html>not a film</html>",
    )
    return kinds[which % len(kinds)]
