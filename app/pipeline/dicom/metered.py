"""The only way to pydicom's parser. Reading any file is bounded in steps, and so in time and memory.

Each read is a few microseconds of Python, and an empty item of a sequence becomes an object of a kilobyte: without a bound,
64 MiB of empty items would take minutes and 16 GiB. Nothing else in ``app`` may call pydicom's readers; a test says so.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Collection, Set
from typing import Final

from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import ENCODED_VR, read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from ..errors import MalformedImage
from .tags import named

#: Reads of a header; a film of a hospital takes some hundred to some thousand.
MAX_READS: Final = 50_000
#: Reads up to the study's UID; a film of a hospital takes some hundred, or some thousand if its sequences are long.
MAX_READS_OF_A_BEGINNING: Final = 20_000
#: Bytes of SpecificCharacterSet (0008,0005), which pydicom decodes wherever it stands.
MAX_CHARSET_BYTES: Final = 1024
#: Bytes that an inflated data set may hold before its pixels.
MAX_INFLATED_HEADER_BYTES: Final = 16 * 1024 * 1024
#: Tag, VR and length, or tag and length.
START_OF_ELEMENT: Final = 8
#: pydicom may ask about the first element twice, at places so far apart; no two elements are so near.
_ASKED_AGAIN: Final = 6
_CHARSET: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_PIXELS: Final = 0x7FE00010
_META: Final = 0x0002

StopWhen = Callable[[BaseTag, str | None, int], bool]


class MeteredStream(io.BytesIO):
    """Bytes that may be read only in so many steps, and that record where a reader found too few.

    pydicom takes an element that the file ends in as the end of the data set.
    """

    def __init__(self, data: bytes, most: int = MAX_READS) -> None:
        super().__init__(data)
        self.left = most
        self.size = len(data)
        self.cut_short = False
        self._of_charset = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise MalformedImage(
                "the DICOM header has more elements or items than any film; remove the private sequences, or send the film anew"
            )
        found = super().read(size)
        if size == START_OF_ELEMENT:
            self._of_charset = found[:4] in _CHARSET
        elif self._of_charset and len(found) > MAX_CHARSET_BYTES:
            raise MalformedImage(
                f"{named('SpecificCharacterSet')} is longer than any film needs; correct it, or leave it out"
            )
        if size is not None and len(found) < size:
            # Eight bytes begin an element. If there are none, this is a proper end; zeros are padding.
            self.cut_short |= bool(found.strip(b"\0")) or size != START_OF_ELEMENT
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Skip a value; a place beyond the end means that the file is cut short."""
        reached = super().seek(offset, whence)
        self.cut_short |= reached > self.size
        return reached


class _Once:
    """Refuses a tag that comes twice. It serves as pydicom's ``stop_when``, but never stops.

    pydicom takes the last of the two, DCMTK the first, so that one file would be two films.
    """

    def __init__(self, stream: MeteredStream, tags: Set[int] | None = None) -> None:
        self._stream = stream
        self._tags = tags
        self._places: dict[int, int] = {}

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        place = self._stream.tell()
        if (self._tags is None or tag in self._tags) and place > self._places.setdefault(tag, place) + _ASKED_AGAIN:
            name = named(keyword_for_tag(tag)) if dictionary_has_tag(tag) else f"a tag of group {tag >> 16:04X}"
            raise MalformedImage(f"{name} comes twice, so viewers may use either; send it once")
        return False


def read_meta(stream: MeteredStream) -> Dataset:
    """The file meta header (PS3.10 section 7.1); leaves the stream at the first element of the data set.

    Raises
    ------
    MalformedImage
        A tag comes twice, or there is no end to it.
    """
    stream.seek(132)
    once = _Once(stream)
    return read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != _META or once(tag, vr, length),
    )


def read_elements(
    stream: MeteredStream, *, implicit: bool, little_endian: bool, tags: Collection[int], behind: int | None = None
) -> Dataset:
    """Elements of these tags, from the stream's position on; `behind` is the first tag that is not read.

    Raises
    ------
    MalformedImage
        One of them comes twice, or there are more elements than any film has.
    """
    once = _Once(stream, frozenset(tags))

    def stops(tag: BaseTag, vr: str | None, length: int) -> bool:
        return (behind is not None and tag >= behind) or once(tag, vr, length)

    return read_dataset(stream, implicit, little_endian, stop_when=stops, specific_tags=list(map(BaseTag, tags)))


def is_implicit(stream: MeteredStream) -> bool:
    """Whether the next element has no VR; the stream stays where it is."""
    first = stream.read(START_OF_ELEMENT)
    stream.seek(-len(first), io.SEEK_CUR)
    return first[4:6] not in ENCODED_VR


def read_beginning(data: bytes, tags: Collection[int], behind: int, *, reads: int, inflated_bytes: int) -> Dataset:
    """Elements of a Part 10 file before one tag; the file may be incomplete. Of a deflated file, at most so many
    bytes are inflated.

    Raises
    ------
    MalformedImage
        No Part 10 file, or one with more elements than any film has.
    """
    if data[128:132] != b"DICM":
        raise MalformedImage("the bytes are no DICOM file: 'DICM' after 128 bytes of preamble is absent")
    stream = MeteredStream(data, reads)
    syntax = syntax_of(read_meta(stream))
    if syntax == DeflatedExplicitVRLittleEndian:  # 64 MiB can hold 64 GiB
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[stream.tell() :], inflated_bytes)
        stream = MeteredStream(inflated, reads)
    implicit = is_implicit(stream)
    return read_elements(
        stream, implicit=implicit, little_endian=syntax != ExplicitVRBigEndian, tags=tags, behind=behind
    )


def read_header(data: bytes, keywords: Collection[str]) -> Dataset:
    """Elements of a Part 10 file that stand before its pixels.

    Raises
    ------
    MalformedImage
        As ``read_beginning``.
    """
    tags = [int(Tag(keyword)) for keyword in keywords]
    # Decoding has read the same file within the meter; its meta header is read again here.
    return read_beginning(data, tags, _PIXELS, reads=2 * MAX_READS, inflated_bytes=MAX_INFLATED_HEADER_BYTES)


def syntax_of(meta: Dataset) -> str:
    """TransferSyntaxUID (0002,0010), without padding; empty if it is absent or no UID."""
    element = meta.get_item("TransferSyntaxUID")
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("latin-1") if len(value) <= 64 else ""
    return str(value or "").strip(" \0")
