"""Test films as DICOM, with what headers add: shutters, padding, windows, LUTs."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from .frames import Film

BITS = 12


def stored_12(film: Film) -> NDArray[np.uint16]:
    """Stored values of 12 bits."""
    return np.rint(film * (2**BITS - 1)).astype(np.uint16)


def radiograph(stored: NDArray[np.uint16], bits: int = BITS, **tags: object) -> bytes:
    """A computed radiograph without a name for its body part and view, so that its pixels decide.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns), uint16
    bits : int
        BitsStored.
    tags
        DICOM keywords and values; a value of bytes is words of little endian.
    """
    film = Dataset()
    film.SOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = UID("1.2.826.0.1.3680043.8.498.1")
    film.StudyInstanceUID = film.SeriesInstanceUID = UID("1.2.826.0.1.3680043.8.498")
    film.PatientID, film.PatientName, film.Modality = "field", "Field^Film", "CR"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = stored.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, bits, bits - 1, 0
    film.PixelData = stored.tobytes()
    film["PixelData"].VR = "OW"
    for keyword, value in tags.items():
        setattr(film, keyword, value)
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, film, enforce_file_format=True)
    return stream.getvalue()


def lut(first: int, entries: NDArray[np.uint16], bits: int) -> list[Dataset]:
    """A sequence of one LUT (PS3.3 C.11.2)."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65_536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return [item]


def shuttered(film: Film, shape: str, *, blackened: bool) -> bytes:
    """A film with a display shutter (PS3.3 C.7.6.11), whose pixels beyond it may be black already."""
    rows, columns = film.shape
    y, x = np.mgrid[:rows, :columns] + 0.5
    tags: dict[str, object]
    if shape == "RECTANGULAR":
        edges = {"LeftVertical": 0.05 * columns, "RightVertical": 0.95 * columns}
        edges |= {"UpperHorizontal": 0.05 * rows, "LowerHorizontal": 0.95 * rows}
        tags = {f"Shutter{edge}Edge": round(at) for edge, at in edges.items()}
        seen = (x > 0.05 * columns) & (x < 0.95 * columns) & (y > 0.05 * rows) & (y < 0.95 * rows)
    elif shape == "CIRCULAR":
        radius = 0.56 * min(rows, columns)
        tags = {
            "CenterOfCircularShutter": [round(rows / 2), round(columns / 2)],
            "RadiusOfCircularShutter": round(radius),
        }
        seen = (x - columns / 2) ** 2 + (y - rows / 2) ** 2 < radius**2
    else:
        cut = 0.15
        corners = [(cut, 0), (1 - cut, 0), (1, cut), (1, 1 - cut), (1 - cut, 1), (cut, 1), (0, 1 - cut), (0, cut)]
        vertices = [
            value for across, down in corners for value in (round(down * rows) + 1, round(across * columns) + 1)
        ]
        tags = {"VerticesOfThePolygonalShutter": vertices}
        beside = np.minimum(x / columns, 1 - x / columns) + np.minimum(y / rows, 1 - y / rows)
        seen = beside > cut
    shown = np.where(seen, film, 0).astype(np.float32) if blackened else film
    return radiograph(stored_12(shown), ShutterShape=shape, WindowCenter=2048, WindowWidth=4096, **tags)


def padded(film: Film, share: float) -> bytes:
    """A film in a frame of padding, whose value is no grey of the film's."""
    width = math.ceil(share * min(film.shape))
    stored = np.pad(stored_12(film) // 2 + 1024, width, constant_values=4095)
    return radiograph(stored, PixelPaddingValue=4095, WindowCenter=2048, WindowWidth=2048)
