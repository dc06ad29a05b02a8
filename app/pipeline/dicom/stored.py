"""PixelData -> stored values, native or compressed (PS3.5 section 8 and annex A)."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from ..colour import MAX_COLOUR_SPREAD, chroma_spread, colour_spread, mean_of_channels
from ..errors import MalformedImage, UnsuitableImage
from .codecs import CODECS, Words
from .codestream import JP2_SIGNATURE, CodeStream
from .layout import PixelLayout
from .part10 import NATIVE, Part10
from .tags import OVERLAY_BIT_POSITION, OVERLAY_GROUPS, OVERLAY_ROWS, named, shown

_ITEM: Final = 0xE000FFFE  # (FFFE,E000), little endian
_DELIMITER: Final = 0xE0DDFFFE  # (FFFE,E0DD)
#: JPEG and JPEG-LS, JPEG 2000, and its file format.
STREAM_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", JP2_SIGNATURE)
#: A lossy codec carries pixels at an edge of white beyond the highest value of the bits stored, by up to this share
#: of their range. Greys so near to one another hide no film (``agreement.HIDDEN_SPREAD``).
OVERSHOOT: Final = 1 / 32
#: Share of the pixels that it may carry further.
MAX_FAR_OVERSHOOT: Final = 1e-3
LOSSY: Final = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K})
_OVERSHOT: Final = (
    "lossy compression carried some pixels beyond the values of BitsStored (0028,0101): they have the nearest of these"
)
#: Overlays in the pixels' own words: as many as 12 bits of 16 leave.
MAX_OVERLAY_BITS: Final = 4
#: A frame is one fragment, or a few if a sender splits it.
MAX_FRAGMENTS: Final = 65_536


def stored_values(film: Part10, layout: PixelLayout) -> tuple[NDArray[np.integer], tuple[str, ...]]:
    """Decode the one frame.

    Returns
    -------
    values : ndarray, shape (rows, columns), uint8, uint16 or int32
        The values before the modality LUT.
    notes : tuple of str

    Raises
    ------
    MalformedImage
        Fewer pixels than the header claims, a code stream that contradicts the header, or bits outside BitsStored.
    UnsuitableImage
        Colour.
    """
    words, precision, notes = (_native if film.syntax in NATIVE else _compressed)(film, layout)
    if layout.colour:
        words, notes = _grey(words, layout), (*notes, f"grey film saved as {layout.colour}: read as grey")
    if words.shape != (layout.rows, layout.columns):
        raise MalformedImage("PixelData (7FE0,0010) did not give one value a pixel; send the whole instance again")
    other_bits = _other_bits(words, precision, film, layout)
    if _OVERSHOT in other_bits:
        words = _within(words, precision, layout)
    return layout.values_of(words, precision), (*notes, *other_bits, *_overlays(film.dataset))


def _other_bits(words: Words, precision: int, film: Part10, layout: PixelLayout) -> tuple[str, ...]:
    """Refuse bits that are set outside BitsStored: viewers that show whole words would show another film.

    Returns
    -------
    tuple of str
        A note, if an overlay is declared in them.

    Raises
    ------
    MalformedImage
        No overlay is declared there, or there are more than overlays or a lossy codec would set.
    """
    bits, below = layout.place_of(precision)
    outside = ~(((1 << bits) - 1) << below) & 0xFFFF
    found = int(np.bitwise_or.reduce(words, axis=None)) & outside if bits < precision else 0
    if not found or layout.is_sign_extended(words, precision):
        return ()
    tags = f"{named('PixelData')} has bits set outside {named('BitsStored')} and {named('HighBit')}"
    declared = sum(1 << position for position in _bit_positions(film.dataset))
    if not found & ~declared and found.bit_count() <= MAX_OVERLAY_BITS:
        return (f"{tags}, where OverlayBitPosition (60xx,0102) declares overlays: not judged",)
    if film.syntax in LOSSY and below == 0 and _overshoots_little(words, precision, layout):
        return (_OVERSHOT,)
    raise MalformedImage(
        f"{tags}, and no OverlayBitPosition (60xx,0102) declares an overlay there: viewers that show whole words would show "
        "another film; correct the tags, or clear these bits"
    )


def _overshoots_little(words: Words, precision: int, layout: PixelLayout) -> bool:
    """Whether values lie no further beyond those of the bits stored than lossy compression carries them."""
    room = int(OVERSHOOT * (1 << layout.bits_stored))
    values = _whole(words, precision, layout)
    far = (values < layout.lowest - room) | (values > layout.highest + room)
    return bool(np.count_nonzero(far) <= MAX_FAR_OVERSHOOT * words.size)


def _within(words: Words, precision: int, layout: PixelLayout) -> Words:
    """Values beyond those of the bits stored -> the nearest of these. If the other bits were only cut off, white
    would become black."""
    return np.clip(_whole(words, precision, layout), layout.lowest, layout.highest).astype(words.dtype)


def _whole(words: Words, precision: int, layout: PixelLayout) -> NDArray[np.int32]:
    """The values of words, all of whose `precision` bits count."""
    sign = 1 << (precision - 1)
    values = words.astype(np.int32)
    return (values ^ sign) - sign if layout.signed else values


def _bit_positions(dataset: Dataset) -> set[int]:
    """The bits in which overlays lie (PS3.3 C.9.2)."""
    values = [
        dataset[tag].value
        for tag in list(dataset.keys())
        if tag.group in OVERLAY_GROUPS and tag.element == OVERLAY_BIT_POSITION
    ]
    return {value for value in values if isinstance(value, int) and 0 <= value < 16}


def _overlays(dataset: Dataset) -> tuple[str, ...]:
    """Note overlays: viewers draw them over the film, and the gate does not see them."""
    found = [tag for tag in dataset.keys() if tag.group in OVERLAY_GROUPS]  # noqa: SIM118  # iterating parses each value
    groups = sorted({f"{tag.group:04X}" for tag in found if tag.element == OVERLAY_ROWS})
    return (f"overlay in group {', '.join(groups)}: neither judged nor shown here",) if groups else ()


def _compressed(film: Part10, layout: PixelLayout) -> tuple[Words, int, tuple[str, ...]]:
    codec = CODECS[film.syntax]
    sent = _only_frame(film.dataset.PixelData)
    frame = codec.start(sent)
    in_file = sent.startswith(JP2_SIGNATURE) and frame is not sent
    notes = ("JPEG 2000 came as a JP2 file: its boxes are ignored",) if in_file else ()
    if codec.read_header is None:
        header = CodeStream(0, layout.rows, layout.columns, layout.bits_allocated, layout.samples)
    else:
        header = codec.read_header(frame)
        _require_agreement(header, layout)
        if header.process not in codec.processes or header.precision not in codec.precisions:
            raise MalformedImage(
                f"PixelData (7FE0,0010) holds a stream of another kind, or of {header.precision} bits, than transfer syntax "
                f"{film.syntax.name} allows; correct TransferSyntaxUID (0002,0010)"
            )
    return codec.decode(frame, header), header.precision, notes


def _native(film: Part10, layout: PixelLayout) -> tuple[Words, int, tuple[str, ...]]:
    element = film.dataset["PixelData"]
    if element.is_undefined_length:
        raise MalformedImage(
            f"PixelData (7FE0,0010) is compressed, but transfer syntax {film.syntax.name} says that it is not; correct "
            "TransferSyntaxUID (0002,0010)"
        )
    size = layout.bits_allocated // 8
    # YBR_FULL_422 has two samples a pixel: each pair of pixels shares its chroma (PS3.3 C.7.6.3.1.2).
    count = layout.rows * layout.columns * (2 if layout.colour == "YBR_FULL_422" else layout.samples)
    expected = count * size
    data = film.dataset.PixelData
    if len(data) < expected:
        raise MalformedImage(
            f"PixelData (7FE0,0010) is damaged or cut short: {layout.columns} x {layout.rows} pixels need "
            f"{expected:,} bytes, but {len(data):,} came; send the whole instance again"
        )
    words = np.frombuffer(data, dtype=np.uint8 if size == 1 else "<u2" if film.little_endian else ">u2")
    if size == 1 and not film.little_endian and element.VR == "OW":
        words = (
            words[: words.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
        )  # two pixels a word (PS3.5 section 8.1.1)
    # The standard asks for even length; further bytes are padding, which every viewer ignores.
    surplus = ("PixelData is longer than the film: the rest is ignored",) if len(data) > expected + 1 else ()
    return _shaped(words[:count], layout), layout.bits_allocated, surplus


def _shaped(words: Words, layout: PixelLayout) -> Words:
    """Native words as an image, of three samples with the samples last."""
    rows, columns = layout.rows, layout.columns
    if not layout.colour:
        return words.reshape(rows, columns)
    if layout.colour == "YBR_FULL_422":
        pairs = words.reshape(rows, -1, 4)  # Y, Y, blue, red
        return np.dstack([pairs[..., :2].reshape(rows, -1), *(pairs[..., at].repeat(2, axis=1) for at in (2, 3))])
    return np.moveaxis(words.reshape(3, rows, columns), 0, 2) if layout.planar else words.reshape(rows, columns, 3)


def _grey(samples: Words, layout: PixelLayout) -> NDArray[np.uint8]:
    """The grey of three samples a pixel: equal samples, or a luminance with neutral chroma, whatever the header says.

    Senders write RGB over samples of YBR, and the reverse, so only the samples can decide.

    Raises
    ------
    UnsuitableImage
        They are in colour.
    """
    pixels = samples.astype(np.uint8, copy=False)
    spread = colour_spread(pixels)
    if spread == 0:
        return pixels[..., 0]
    if spread <= MAX_COLOUR_SPREAD:
        return np.rint(mean_of_channels(pixels)).astype(np.uint8)
    of_chroma = chroma_spread(pixels)
    if of_chroma <= MAX_COLOUR_SPREAD:
        return pixels[..., 0]
    raise UnsuitableImage(
        f"{named('PhotometricInterpretation')} is {shown(layout.colour)}, and the pixels are in colour (channels differ by up "
        f"to {min(spread, of_chroma)} of 255); a radiograph is grey. Send the original, not a colour copy"
    )


def _only_frame(data: bytes) -> bytes:
    """Join the fragments of the only frame (PS3.5 section A.4); the offset table is not needed, and not trusted.

    Raises
    ------
    MalformedImage
        Something other than items, an item that overruns, no fragment, or too many.
    """
    if data.startswith(STREAM_STARTS):  # a sender that leaves out the items
        return data
    fragments: list[bytes] = []
    position = 0
    while position + 8 <= len(data) and len(fragments) <= MAX_FRAGMENTS:
        tag, length = struct.unpack_from("<II", data, position)
        if tag == _DELIMITER and fragments:  # it is part of the value if that has a length
            position = len(data)
            break
        if tag != _ITEM or position + 8 + length > len(data):
            break
        fragments.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    if fragments and fragments[0].startswith(STREAM_STARTS):  # a sender that leaves out the offset table
        fragments.insert(0, b"")
    if position != len(data) or len(fragments) < 2:  # the first item is the offset table
        raise MalformedImage(
            "PixelData (7FE0,0010) is damaged or cut short: its items are not an offset table and fragments; send the whole "
            "instance again"
        )
    if sum(fragment.startswith(STREAM_STARTS) for fragment in fragments[1:]) > 1:
        raise MalformedImage(
            "PixelData (7FE0,0010) holds several code streams, so viewers may show either; send one film per instance"
        )
    return b"".join(fragments[1:])


def _require_agreement(header: CodeStream, layout: PixelLayout) -> None:
    """A decoder allocates by the stream's own header. Only the data set's header was checked against the limits, so
    the two must agree."""
    if (header.rows, header.columns, header.components) != (layout.rows, layout.columns, layout.samples):
        raise MalformedImage(
            f"PixelData (7FE0,0010) holds {header.columns} x {header.rows} pixels of {header.components} "
            f"samples, but Columns, Rows and SamplesPerPixel say {layout.columns} x {layout.rows} of "
            f"{layout.samples}; send the whole instance again"
        )
    if header.precision > layout.bits_allocated:
        raise MalformedImage(
            f"PixelData (7FE0,0010) holds {header.precision} bits, but BitsAllocated (0028,0100) is "
            f"{layout.bits_allocated}; correct it"
        )
