"""DICOM Part 10 -> DecodedImage, in the order of PS3.4 section N.2; inverting earlier damages images.

    bytes -> part10 (data set) -> suitability (tags) -> layout (pixel header) -> stored (values) -> presentation ([0,1])
                                                                              -> shutters (regions)

``codestream`` and ``codecs`` serve ``stored``; ``modality``, ``choice``, ``luts``, ``windows`` and ``agreement`` (do
all presentations of the header show one film?) serve ``presentation``;
``projection``, ``words`` and ``rules`` serve ``suitability``; ``tags`` reads values for all, and ``optional`` those
that a film can do without; ``sides`` is only for a viewer. Everything in the header is checked before a pixel is
decompressed. ``docs/dicom.md`` states for each tag and transfer syntax what is done.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from ..errors import InputError, MalformedImage
from ..image import DecodedImage, require_finite_unit_range, require_usable_size
from .layout import PixelLayout
from .part10 import read_part10
from .presentation import present
from .rules import HeaderRules
from .shutters import read_shutters
from .stored import stored_values
from .suitability import require_chest_film
from .tags import named, text

__all__ = ["decode_dicom"]


def decode_dicom(data: bytes, max_pixels: int, rules: HeaderRules) -> DecodedImage:
    """Decode a DICOM film; see ``decode`` for arguments and errors."""
    try:
        film = read_part10(data, max_pixels)
        _require_pixels(film.dataset, rules)
        notes, missing = require_chest_film(film.dataset, rules)
        layout = PixelLayout.of(film.dataset)
        require_usable_size(layout.rows, layout.columns, max_pixels)
        stored, stored_notes = stored_values(film, layout)
        pixels, presentation_notes, applied = present(stored, film, layout, refuse_hiding=rules.refuse_hiding)
        image = require_finite_unit_range(pixels)
        shutters, shutter_notes = read_shutters(film.dataset)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a decoder facing hostile bytes may raise anything
        raise MalformedImage(
            f"the DICOM file is damaged or cut short ({type(error).__name__}); send the whole instance again"
        ) from error
    notes = (*notes, *film.notes, *stored_notes, *presentation_notes, *shutter_notes)
    return DecodedImage.of(image, "dicom", notes, missing, shutters, applied)


def _require_pixels(dataset: Dataset, rules: HeaderRules) -> None:
    """Refuse a film that was cut off between two elements, before a check complains of tags that are missing with its pixels.

    An instance that is plainly no film, such as a report, is left to ``require_chest_film``, which says what it is.
    """
    modality = text(dataset, "Modality")
    if "PixelData" not in dataset and (not modality or modality in rules.modalities):
        raise MalformedImage(
            f"{named('PixelData')} is absent: the DICOM file is cut short, or was sent without its pixels; send the whole "
            "instance again"
        )
