"""PNG and JPEG -> DecodedImage, by Pillow."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from . import tones
from .colour import MAX_COLOUR_SPREAD, colour_spread, mean_of_channels
from .errors import InputError, MalformedImage, UnsuitableImage, UnsupportedMedia
from .image import DecodedImage, SourceKind, require_finite_unit_range, require_usable_size
from .stripping import strip_jpeg, strip_png

# Pillow's own limit only warns, for the whole process; require_usable_size refuses, for each call.
Image.MAX_IMAGE_PIXELS = None

#: A progressive JPEG has some ten scans; each is a pass over all pixels, and a repeated one takes only a dozen bytes.
MAX_JPEG_SCANS: Final = 100
ROWS_AT_ONCE: Final = 64
TRANSPARENT: Final = "the image has transparent pixels, whose grey is undefined; flatten it first"


def decode_raster(data: bytes, kind: SourceKind, max_pixels: int) -> DecodedImage:
    """Decode a PNG or JPEG; see ``decode`` for arguments and errors."""
    usual = _usual(data, kind)
    try:
        with Image.open(io.BytesIO(usual), formats=[kind.upper()]) as image:
            require_usable_size(image.height, image.width, max_pixels)  # from the header; nothing decompressed yet
            if getattr(image, "n_frames", 1) > 1:
                raise UnsuitableImage("the image has several frames; send one film a request")
            image.load()
            grey, notes = _grey(ImageOps.exif_transpose(image))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a decoder facing hostile bytes may raise anything
        raise MalformedImage(
            f"the {kind.upper()} is damaged or cut short ({type(error).__name__}); send the whole file again"
        ) from error
    return DecodedImage.of(require_finite_unit_range(grey), kind, notes)


def _usual(data: bytes, kind: SourceKind) -> bytes:
    """Drop parts that cost a decoder far more than the pixels do, and refuse a file without its end.

    Raises
    ------
    MalformedImage
    """
    if kind == "jpeg":
        # Entropy-coded bytes never hold the marker SOS (ITU-T T.81 section B.1.1.5); a thumbnail may, once or twice.
        if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
            raise MalformedImage(f"the JPEG has over {MAX_JPEG_SCANS} scans, more than any film; save it anew")
        if data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:  # libjpeg would make up what is missing
            raise MalformedImage("the JPEG is damaged or cut short: it has no end; send the whole file again")
        return strip_jpeg(data)
    return strip_png(data)


def _grey(image: Image.Image) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Grey in [0,1], shape (rows, columns), and notes on how it was made."""
    if image.mode not in {"LA", "PA", "RGBA", "P"} and "transparency" in image.info:
        raise UnsuitableImage(TRANSPARENT)
    if image.mode in {"1", "L"}:
        return _shown(np.asarray(image.convert("L")), 8)
    if image.mode in {"I;16", "I;16B", "I"}:  # PNG of 16 bits
        return _shown(np.asarray(image, dtype=np.uint16), 16)
    if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if rgba[..., 3].min() < 255:
            raise UnsuitableImage(TRANSPARENT)
        return _grey_of_colour(rgba[..., :3])
    if image.mode in {"P", "RGB", "CMYK", "YCbCr"}:
        return _grey_of_colour(np.asarray(image.convert("RGB")))
    raise UnsupportedMedia(f"pixel mode {image.mode} is not supported; send grey pixels of 8 or 16 bits")


def _grey_of_colour(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    spread = colour_spread(rgb)
    if spread > MAX_COLOUR_SPREAD:
        raise UnsuitableImage(
            f"the image is in colour (channels differ by up to {spread} of 255); a radiograph is grey. "
            "Remove coloured annotations, or send the original"
        )
    if spread == 0:  # equal channels must give the very value that a grey file gives
        return _shown(rgb[..., 0], 8)
    grey = mean_of_channels(rgb)
    shown, notes = _shown(np.rint(grey).astype(np.uint8), 8)
    return (shown, notes) if notes else (grey / np.float32(255), ())


def _shown(values: NDArray[np.unsignedinteger], bits: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Values over the full scale of their format, and never over the image's own maximum.

    If the values plainly had fewer bits than the format, that depth's full scale is used. If they use a small part
    of it, their percentiles are used. A note says so.

    Raises
    ------
    UnsuitableImage
        So few greys in a small part of the range that spreading them would show the steps.
    """
    counts = _counts(values, bits)
    possible = np.arange(counts.size, dtype=np.float64)
    depth = tones.depth_of(int(np.flatnonzero(counts)[-1]), bits)
    notes = (
        () if depth == bits else (f"{depth} bits in a container of {bits}: shown over the full scale of {depth} bits",)
    )
    full_scale = np.float32((1 << depth) - 1)
    why = tones.why_unused(np.minimum(possible / full_scale, 1.0), counts, clipped=False)
    if why is None:
        return values.astype(np.float32) / full_scale, notes
    remedy = "save the film anew, over the whole range of its greys"
    tones.require_greys(counts, remedy)
    levels, span = tones.spread(possible, tones.film_counts(counts), remedy)
    passed_over = f"the full scale of {depth} bits passed over: it {why}"
    return (levels / span * tones.TOP).astype(np.float32)[values], (
        passed_over,
        f"instead: {tones.NAME_OF_PERCENTILES}",
    )


def _counts(values: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.int64]:
    """How many pixels have each value, shape (2^bits,)."""
    if bits == 8:  # three times as fast as numpy
        return np.array(Image.fromarray(values).histogram(), np.int64)
    counts = np.zeros(1 << bits, np.int64)
    for start in range(0, len(values), ROWS_AT_ONCE):  # numpy counts by eight-byte numbers
        counts += np.bincount(values[start : start + ROWS_AT_ONCE].ravel(), minlength=counts.size)
    return counts
