"""DICOM Part 10 -> DecodedImage: is it a frontal chest film, then modality LUT -> VOI -> inversion -> [0,1].

The order is that of PS3.4 section N.2 (softcopy presentation pipeline): inverting earlier damages images.
"""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, UID_dictionary

from .errors import InputError, MalformedImage, UnsuitableImage, UnsupportedMedia
from .image import DecodedImage, require_finite_unit_range, require_usable_size

# pydicom's warnings of invalid values quote them, and a log must not hold a patient's name.
config.settings.reading_validation_mode = config.IGNORE

ACCEPTED_MODALITIES: Final = frozenset({"CR", "DX"})
#: CHEST is the standard's term (PS3.16 annex L); the others are what senders write for it.
ACCEPTED_BODY_PARTS: Final = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS"})
FRONTAL_VIEWS: Final = frozenset({"PA", "AP"})
#: Percentiles of the stored values that stand in for a missing window in films of more than 8 bits.
MISSING_WINDOW_PERCENTILES: Final = (0.5, 99.5)

#: Terms that a message may repeat: modalities (PS3.3 C.7.3.1.1.1), body parts (PS3.16 annex L), views and photometric
#: interpretations. Anything else might be somebody's name in the wrong tag.
SHOWN_TERMS: Final = frozenset(
    "CR DX MG CT MR US XA RF NM PT OT SC SR PX IO ES GM SM RG DR "
    "CHEST THORAX LUNG LUNGS RIB RIBCAGE RIBS ABDOMEN PELVIS SKULL HEAD NECK SPINE CSPINE TSPINE LSPINE SHOULDER CLAVICLE "
    "HUMERUS ELBOW FOREARM WRIST HAND FINGER HIP FEMUR KNEE LEG ANKLE FOOT TOE BREAST HEART STERNUM SCAPULA EXTREMITY "
    "WHOLEBODY LATERAL LL RL LLD RLD LLO RLO RAO LAO RPO LPO OBLIQUE LAT "
    "RGB MONOCHROME1 MONOCHROME2 YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT".split(" ")
) | {"PALETTE COLOR"}

FloatImage = NDArray[np.float64]


def decode_dicom(data: bytes, max_pixels: int) -> DecodedImage:
    """Decode a DICOM film; see ``decode`` for arguments and errors."""
    try:
        _require_supported_syntax(data)
        dataset = dcmread(io.BytesIO(data))  # never force=True: a file without a header is not guessed at
        _require_chest_film(dataset)
        _require_readable(dataset, max_pixels)
        stored = pixel_array(dataset)
        pixels, notes = _present(stored, dataset)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a decoder facing hostile bytes may raise anything
        raise MalformedImage(
            f"the DICOM file is damaged or cut short ({type(error).__name__}); send the whole instance again"
        ) from error
    return DecodedImage(require_finite_unit_range(pixels.astype(np.float32)), "dicom", notes)


def _require_chest_film(dataset: FileDataset) -> None:
    """Refuse what its tags say is no frontal chest radiograph of a person; missing tags pass (see ``_present``)."""
    modality = str(dataset.get("Modality", "")).strip().upper()
    if modality not in ACCEPTED_MODALITIES:
        raise UnsuitableImage(
            f"Modality (0008,0060) is {_shown(modality)}; only {_listed(ACCEPTED_MODALITIES)} films are scored"
        )
    body_part = str(dataset.get("BodyPartExamined", "")).strip().upper()
    if body_part and body_part not in ACCEPTED_BODY_PARTS:
        raise UnsuitableImage(
            f"BodyPartExamined (0018,0015) is {_shown(body_part)}; expected {_listed(ACCEPTED_BODY_PARTS)}"
        )
    view = str(dataset.get("ViewPosition", "")).strip().upper()
    if view and view not in FRONTAL_VIEWS:
        raise UnsuitableImage(
            f"ViewPosition (0018,5101) is {_shown(view)}; only frontal views ({_listed(FRONTAL_VIEWS)}) are scored"
        )
    orientation = str((dataset.get("PatientOrientation") or [""])[0]).strip().upper()
    if orientation.startswith(("A", "P")):  # PS3.3 C.7.6.1.1.1: rows run between front and back
        raise UnsuitableImage(
            "PatientOrientation (0020,0020) says that rows run between front and back: this is a lateral view, "
            "and only frontal views are scored"
        )
    if dataset.get("PatientSpeciesDescription") or dataset.get("PatientSpeciesCodeSequence"):
        raise UnsuitableImage("PatientSpecies (0010,2201 or 0010,2202) is set: this is a film of an animal")


def _require_readable(dataset: FileDataset, max_pixels: int) -> None:
    """Check everything that the header tells before a pixel is decompressed."""
    if "PixelData" not in dataset:
        raise MalformedImage("PixelData (7FE0,0010) is absent; send the instance with its pixels")
    samples = dataset.get("SamplesPerPixel", 1)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsuitableImage(
            f"PhotometricInterpretation (0028,0004) is {_shown(photometric)} with {samples} samples a pixel; "
            "a radiograph is MONOCHROME1 or MONOCHROME2 with one"
        )
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise UnsuitableImage("NumberOfFrames (0028,0008) is not 1; send one film an instance")
    for keyword, tag in (("Rows", "0028,0010"), ("Columns", "0028,0011")):
        if not dataset.get(keyword):
            raise MalformedImage(f"{keyword} ({tag}) is absent or zero")
    require_usable_size(int(dataset.Rows), int(dataset.Columns), max_pixels)


def _require_supported_syntax(data: bytes) -> None:
    """Read the file meta header alone (PS3.10 section 7.1), since what follows may be compressed as a whole."""
    stream = io.BytesIO(data)
    stream.seek(132)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 0x0002
    )
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        raise MalformedImage("TransferSyntaxUID (0002,0010) is absent; send a Part 10 file with its meta header")
    # A deflated data set would be inflated whole before any limit could be checked: 64 MiB can hold 64 GiB.
    if syntax == DeflatedExplicitVRLittleEndian or not _has_decoder(syntax):
        name = syntax.name if syntax in UID_dictionary else "that is not in the standard"
        raise UnsupportedMedia(f"transfer syntax {name} is not supported; send it as Explicit VR Little Endian")


def _has_decoder(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _present(stored: NDArray[np.generic], dataset: FileDataset) -> tuple[FloatImage, tuple[str, ...]]:
    """Stored values, shape (rows, columns) -> presentation values in [0,1] and notes on how."""
    notes = [f"{keyword} missing" for keyword in ("BodyPartExamined", "ViewPosition") if not dataset.get(keyword)]
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)  # PS3.3 C.11.1
    if dataset.get("VOILUTSequence"):  # PS3.3 C.11.2.1.1; takes precedence over a window
        lut = np.asarray(apply_voi_lut(values.astype(stored.dtype), dataset, index=0), dtype=np.float64)
        pixels = lut / (2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1.0)
        notes.append("VOI LUT applied" + _of_several(len(dataset.VOILUTSequence)))
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        centers, widths = _numbers(dataset.WindowCenter), _numbers(dataset.WindowWidth)
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        pixels = apply_window(values, centers[0], widths[0], function)
        notes.append(f"window applied ({function})" + _of_several(len(centers)))
    elif int(dataset.BitsStored) == 8 and not _has_rescale(dataset) and not dataset.PixelRepresentation:
        pixels = values / 255.0
        notes.append("no window: full range of 8 bits")
    else:
        low, high = np.percentile(values, MISSING_WINDOW_PERCENTILES)
        if high <= low:
            raise UnsuitableImage("there is no window, and the pixels have too little range to choose one")
        pixels = (values - low) / (high - low)
        notes.append("no window: percentiles {:g} to {:g} of the pixels".format(*MISSING_WINDOW_PERCENTILES))
    pixels = np.clip(pixels, 0.0, 1.0)  # keeps NaN, which the caller refuses
    if _is_inverted(dataset):
        pixels = 1.0 - pixels
    return pixels, tuple(notes)


def apply_window(values: FloatImage, center: float, width: float, function: str) -> FloatImage:
    """Window to [0,1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Parameters
    ----------
    values : ndarray, float64
        Output of the modality LUT.
    center, width : float
        WindowCenter (0028,1050) and WindowWidth (0028,1051).
    function : str
        VOILUTFunction (0028,1056): LINEAR, LINEAR_EXACT or SIGMOID.

    Raises
    ------
    MalformedImage
        A width that the standard forbids, a value that is not finite, or an unknown function.
    """
    least = 1.0 if function == "LINEAR" else np.nextafter(0.0, 1.0)
    if not (math.isfinite(center) and math.isfinite(width)) or width < least:
        raise MalformedImage(
            f"WindowCenter (0028,1050) or WindowWidth (0028,1051) is out of range: the width must be "
            f"{'at least 1' if function == 'LINEAR' else 'over 0'} and both finite"
        )
    if function == "LINEAR":
        if width == 1.0:
            return np.where(values > center - 0.5, 1.0, 0.0)
        return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))
    raise MalformedImage("VOILUTFunction (0028,1056) is not LINEAR, LINEAR_EXACT or SIGMOID")


def _is_inverted(dataset: FileDataset) -> bool:
    """MONOCHROME1 shows low values bright (PS3.3 C.7.6.3.1.2); a Presentation LUT Shape, where present, decides."""
    shape = str(dataset.get("PresentationLUTShape") or "")
    if shape in {"IDENTITY", "INVERSE"}:  # PS3.3 C.11.6
        return shape == "INVERSE"
    return str(dataset.PhotometricInterpretation).strip() == "MONOCHROME1"


def _has_rescale(dataset: FileDataset) -> bool:
    identity = float(dataset.get("RescaleSlope", 1)) == 1 and float(dataset.get("RescaleIntercept", 0)) == 0
    return not identity or "ModalityLUTSequence" in dataset


def _numbers(value: object) -> list[float]:
    """One number or several, as pydicom gives a DS of either multiplicity."""
    return [float(part) for part in value] if hasattr(value, "__iter__") else [float(value)]  # type: ignore[arg-type]


def _of_several(count: int) -> str:
    return f", the first of {count}" if count > 1 else ""


def _shown(value: str) -> str:
    """A tag's value for a message, if it is a term of the standard: a name in the wrong tag must never leak."""
    if not value:
        return "absent"
    return f"'{value}'" if value in SHOWN_TERMS else "a value that is not accepted here"


def _listed(values: frozenset[str]) -> str:
    return " or ".join(sorted(values))
