"""PNG and JPEG -> DecodedImage, by Pillow."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .errors import InputError, MalformedImage, UnsuitableImage, UnsupportedMedia
from .image import DecodedImage, SourceKind, require_finite_unit_range, require_usable_size

# Pillow's own limit only warns, for the whole process; require_usable_size refuses, for each call.
Image.MAX_IMAGE_PIXELS = None

#: A grey film that went through a colour JPEG strays by a few levels; a photograph by far more.
MAX_COLOUR_SPREAD: Final = 12  # of 255
#: Progressive JPEG has some ten; each is a pass over all pixels, and a repeated one takes a dozen bytes.
MAX_JPEG_SCANS: Final = 100
#: libpng writes pixels in chunks of 8 KiB, and Pillow takes a microsecond or more for each, however empty.
MAX_PNG_CHUNKS: Final = 50_000
TRANSPARENT: Final = "the image has transparent pixels, whose grey is undefined; flatten it first"


def decode_raster(data: bytes, kind: SourceKind, max_pixels: int) -> DecodedImage:
    """Decode a PNG or JPEG; see ``decode`` for arguments and errors."""
    _require_usual_structure(data, kind)
    try:
        with Image.open(io.BytesIO(data), formats=[kind.upper()]) as image:
            require_usable_size(image.height, image.width, max_pixels)  # from the header; nothing decompressed yet
            if getattr(image, "n_frames", 1) > 1:
                raise UnsuitableImage("the image has several frames; send one film a request")
            image.load()
            grey = _grey(ImageOps.exif_transpose(image))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a decoder facing hostile bytes may raise anything
        raise MalformedImage(
            f"the {kind.upper()} is damaged or cut short ({type(error).__name__}); send the whole file again"
        ) from error
    return DecodedImage.of(require_finite_unit_range(grey), kind)


def _require_usual_structure(data: bytes, kind: SourceKind) -> None:
    """Refuse what a decoder would work on for minutes, out of all proportion to its pixels.

    Raises
    ------
    MalformedImage
    """
    if kind == "jpeg":
        # Entropy-coded bytes never hold the marker SOS (ITU-T T.81 section B.1.1.5); a thumbnail may, once or twice.
        if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
            raise MalformedImage(f"the JPEG has over {MAX_JPEG_SCANS} scans, more than any film; save it anew")
        return
    at = 8  # behind the signature: length, type, content, checksum (W3C PNG section 5.3)
    for _ in range(MAX_PNG_CHUNKS):
        if at + 8 > len(data) or data[at + 4 : at + 8] == b"IEND":
            return
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise MalformedImage(f"the PNG has over {MAX_PNG_CHUNKS:,} chunks, more than any film; save it anew")


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Grey in [0,1], shape (rows, columns); the divisor is the format's own full scale, never the image's maximum."""
    if image.mode not in {"LA", "PA", "RGBA", "P"} and "transparency" in image.info:
        raise UnsuitableImage(TRANSPARENT)
    if image.mode in {"1", "L"}:
        return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    if image.mode in {"I;16", "I;16B", "I"}:  # PNG of 16 bits
        return np.asarray(image, dtype=np.float32) / np.float32(65535)
    if image.mode in {"LA", "PA", "RGBA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        if rgba[..., 3].min() < 255:
            raise UnsuitableImage(TRANSPARENT)
        return _grey_of_colour(rgba[..., :3])
    if image.mode in {"P", "RGB", "CMYK", "YCbCr"}:
        return _grey_of_colour(np.asarray(image.convert("RGB")))
    raise UnsupportedMedia(f"pixel mode {image.mode} is not supported; send grey pixels of 8 or 16 bits")


def _grey_of_colour(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    spread = int((rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)).max())
    if spread > MAX_COLOUR_SPREAD:
        raise UnsuitableImage(
            f"the image is in colour (channels differ by up to {spread} of 255); a radiograph is grey. "
            "Remove coloured annotations, or send the original"
        )
    # Equal channels must give the very value that a grey file gives.
    grey = rgb[..., 0].astype(np.float32) if spread == 0 else rgb.mean(axis=2, dtype=np.float32)
    return grey / np.float32(255)
