"""A Part 10 file (PS3.10 section 7) -> its transfer syntax and the few tags that are read, in bounded time and memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)

from ..errors import ImageTooLarge, MalformedImage, UnsupportedMedia
from .codecs import CODECS
from .metered import (
    MAX_INFLATED_HEADER_BYTES,
    START_OF_ELEMENT,
    MeteredStream,
    is_implicit,
    read_elements,
    read_meta,
)
from .tags import OVERLAY_BIT_POSITION, OVERLAY_GROUPS, OVERLAY_ROWS, READ_KEYWORDS, named

#: Bytes of a tag's value that may be parsed: pydicom makes an object of each number and of each item on access.
MAX_VALUE_BYTES: Final = 64 * 1024
#: Numbers or words of one tag; a polygon's corners are the most that a film has.
MAX_VALUES: Final = 2048
MAX_LUT_BYTES: Final = 2 * 65_536
#: A LUT sequence may hold a few LUTs.
MAX_LUT_SEQUENCE_BYTES: Final = 1024 * 1024
MAX_LUT_ITEMS: Final = 64
MAX_BYTES_PER_PIXEL: Final = 2

NATIVE: Final = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
#: Only Python and numpy touch the bytes of films of these syntaxes.
UNCOMPRESSED: Final = NATIVE - {DeflatedExplicitVRLittleEndian}
#: A file meta header has some hundred bytes; a longer one is not read ahead.
PEEKED_BYTES: Final = 4096
_SPECIFIC_TAGS: Final[list[int]] = [
    *(int(Tag(keyword)) for keyword in READ_KEYWORDS),
    *(int(Tag(group, element)) for group in OVERLAY_GROUPS for element in (OVERLAY_ROWS, OVERLAY_BIT_POSITION)),
]


@dataclass(frozen=True)
class Part10:
    """A data set as it was sent; only `READ_KEYWORDS` are kept."""

    dataset: Dataset
    syntax: UID
    notes: tuple[str, ...] = ()

    @property
    def little_endian(self) -> bool:
        """How words are stored, in native pixel data and in LUTs."""
        return self.syntax != ExplicitVRBigEndian


def read_part10(data: bytes, max_pixels: int) -> Part10:
    """Read the header. Only a deflated data set is decompressed, up to a bound.

    Raises
    ------
    MalformedImage
        No meta header, a header without end, or a file that ends within an element.
    UnsupportedMedia
        A transfer syntax that this code does not read.
    ImageTooLarge
        A deflated data set that would be larger than `max_pixels` and a header could need.
    """
    stream = MeteredStream(data)
    syntax, notes = _read_syntax(stream)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = MeteredStream(_inflate(data[stream.tell() :], max_pixels))
    _require_declared_encoding(stream, syntax)
    dataset = read_elements(
        stream,
        implicit=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        tags=_SPECIFIC_TAGS,
    )
    if stream.cut_short:
        raise _cut_short("within an element")
    _require_bounded_values(dataset)
    return Part10(dataset, syntax, notes)


def is_uncompressed(data: bytes) -> bool:
    """Whether a Part 10 file surely holds an uncompressed film, by its first ``PEEKED_BYTES``.

    ``read_part10`` agrees, since it reads the same bytes in the same way, up to the end of the meta header. If that end
    is not among them, or anything is wrong, the answer is no.
    """
    start = data[:PEEKED_BYTES]
    stream = MeteredStream(start)
    try:
        syntax, _ = _read_syntax(stream)
    except Exception:  # read_part10 will report the fault
        return False
    ended = stream.tell() + 8 <= len(start)  # pydicom went back before the first element of the data set
    return ended and syntax in UNCOMPRESSED


def _cut_short(where: str) -> MalformedImage:
    return MalformedImage(f"the DICOM file is cut short: it ends {where}; send the whole instance again")


def _read_syntax(stream: MeteredStream) -> tuple[UID, tuple[str, ...]]:
    """The transfer syntax, and notes on how it was read; leaves the stream at the first element of the data set."""
    meta = read_meta(stream)
    if stream.cut_short or stream.tell() + START_OF_ELEMENT > stream.size:
        raise _cut_short("within its meta header, or right after it")
    element = meta.get_item("TransferSyntaxUID")
    if element is None or not element.value or len(element.value) > 64:
        raise MalformedImage(f"{named('TransferSyntaxUID')} is absent; send a Part 10 file with its meta header")
    sent = str(meta.TransferSyntaxUID).strip(" \0")
    # PS3.5 section 9.1 forbids leading zeros, which say nothing: no two UIDs differ in them alone.
    syntax = UID(".".join(part.lstrip("0") or "0" for part in sent.split(".")) if sent else sent)
    if syntax not in NATIVE and syntax not in CODECS:
        name = syntax.name if syntax in UID_dictionary else "that is not in the standard"
        raise UnsupportedMedia(f"transfer syntax {name} is not supported; send it as Explicit VR Little Endian")
    notes = (f"{named('TransferSyntaxUID')} has leading zeros: read as {syntax.name}",) if syntax != sent else ()
    return syntax, notes


def _inflate(data: bytes, max_pixels: int) -> bytes:
    """Inflate a data set (PS3.5 section A.5); 64 MiB can hold 64 GiB, so it stops beyond the size of any film "
    "within the limits."""
    bound = MAX_BYTES_PER_PIXEL * max_pixels + MAX_INFLATED_HEADER_BYTES
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, bound)
        inflated += inflater.decompress(inflater.unconsumed_tail, 1) if not inflater.eof else b""
    except zlib.error:
        raise MalformedImage("the deflated data set is damaged; send the whole instance again") from None
    if len(inflated) > bound:
        raise ImageTooLarge(
            f"the deflated data set is over {bound:,} bytes when inflated; reduce it, or raise the pixel limit"
        )
    if not inflater.eof:
        raise MalformedImage("the deflated data set is cut short; send the whole instance again")
    return inflated


def _require_declared_encoding(stream: MeteredStream, syntax: UID) -> None:
    """Refuse implicit VR that is declared explicit, and the reverse; pydicom would guess, and warn."""
    if is_implicit(stream) != (syntax == ImplicitVRLittleEndian):
        raise MalformedImage(
            f"the data set is not encoded as {named('TransferSyntaxUID')} says, or is damaged at its start; send it as declared"
        )


def _require_bounded_values(dataset: Dataset) -> None:
    """Check lengths before pydicom makes objects of values.

    Raises
    ------
    MalformedImage
    """
    for element in dataset.values():
        if element.tag == 0x7FE00010:
            continue
        if not isinstance(element, RawDataElement):  # a sequence of undefined length, parsed within MAX_READS
            inner = [one for item in element.value for one in item.values() if isinstance(one, RawDataElement)]
            if any(len(one.value or b"") > MAX_LUT_BYTES for one in inner):
                raise _too_long(element.keyword)
            continue
        keyword = keyword_for_tag(element.tag)
        value = element.value or b""
        if element.length != 0xFFFFFFFF and len(value) < element.length:
            raise _cut_short(f"within {named(keyword)}")
        limit = MAX_LUT_SEQUENCE_BYTES if keyword.endswith("LUTSequence") else MAX_VALUE_BYTES
        items = max(value.count(b"\xfe\xff\x00\xe0"), value.count(b"\xff\xfe\xe0\x00"))
        values = 0 if keyword.endswith("Sequence") else value.count(b"\\")
        if len(value) > limit or items > MAX_LUT_ITEMS or values > MAX_VALUES:
            raise _too_long(keyword)


def _too_long(keyword: str) -> MalformedImage:
    return MalformedImage(f"{named(keyword)} is longer than any film needs; correct it, or leave it out")
