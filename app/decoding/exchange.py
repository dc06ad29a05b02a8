"""The messages between the service and a process that decodes one film.

    service -> process   the declared kind of the film (a byte: its place in ``KINDS``), the film, the end of the stream
    process -> service   length of the header (uint32, little endian), the header (JSON), an image's pixels (float32)

The header is ``{"field": {...}, "notes": [...], "missing_tags": [...], "presentation": "..."}``, or ``{"error", "message"}``.
A film may have taken its decoder over, so the answer is plain data, which is checked and never unpickled. A pipe
beats shared memory here: large arrays get large pages, whereas shared memory is filled and mapped in small ones.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from app.pipeline import errors
from app.pipeline.dicom.projection import EXPECTED_TAGS
from app.pipeline.errors import InputError
from app.pipeline.exposed_field import ExposedField
from app.pipeline.image import DecodedImage, SourceKind

KINDS: Final[tuple[SourceKind, ...]] = ("dicom", "png", "jpeg")
LENGTH: Final = struct.Struct("<I")
MAX_HEADER_BYTES: Final = 64 * 1024
#: Characters of a message; some 150 are enough.
MAX_PRESENTATION: Final = 500
#: The characters that a presentation may have; it goes into the record and the report.
_SAID: Final = re.compile(r"[ -~]")
#: Stands in place of an error's name if the memory limit was met.
NO_MEMORY: Final = "MemoryError"
#: What may be wrong with a film; no other error is taken from a process.
_ERRORS: Final[dict[str, type[InputError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, InputError) and kind is not InputError
}


class MemoryLimitMet(Exception):
    """The process reports that it met the memory limit."""


class NoAnswer(Exception):
    """A process ended, or gave an answer that no sound process gives."""


def header_of(image: DecodedImage) -> dict[str, object]:
    """The header that goes before an image's pixels; ``image_of`` reads it."""
    return {
        "field": image.field.as_json(),
        "notes": image.notes,
        "missing_tags": image.missing_tags,
        "presentation": image.presentation,
    }


def image_of(
    header: dict[str, Any], max_pixels: int, fill: Callable[[memoryview], None], kind: SourceKind = "dicom"
) -> DecodedImage:
    """The image that ``header_of`` described. Every value is checked here, since the header may be hostile.

    Parameters
    ----------
    header : dict
    max_pixels : int
    fill : callable
        Writes the pixels, as bytes, into the whole buffer that it gets.
    kind : SourceKind
        What the film was declared to be.

    Raises
    ------
    NoAnswer, KeyError, TypeError, ValueError
        The header is unsound; and all that `fill` raises.
    """
    field = ExposedField.from_json(header["field"])
    if field.rows * field.columns > max_pixels:
        raise NoAnswer("an impossible size")
    pixels = np.empty((field.rows, field.columns), np.float32)
    fill(pixels.data.cast("B"))
    missing = tuple(tag for tag in EXPECTED_TAGS if tag in header["missing_tags"])  # they label a metric
    presentation = "".join(filter(_SAID.fullmatch, str(header["presentation"])[:MAX_PRESENTATION]))
    return DecodedImage(pixels, field, kind, tuple(map(str, header["notes"])), missing, presentation)


def exchange(
    process: socket.socket, data: bytes, until: float, max_pixels: int, kind: SourceKind = "dicom"
) -> DecodedImage:
    """Send a film to a process, and turn its answer into the result or the error of ``decode``.

    Parameters
    ----------
    process : socket
    data : bytes
    until : float
        When to stop waiting, in ``time.monotonic()`` seconds.
    max_pixels : int
    kind : SourceKind
        What the film was declared to be.

    Returns
    -------
    DecodedImage
        Its pixels are not checked for range: the worst result of a decoder that was taken over is some image.

    Raises
    ------
    InputError
        The process raised it.
    MemoryLimitMet, NoAnswer
    TimeoutError
        No whole answer before `until`.
    """
    try:
        process.settimeout(_left(until))
        process.sendall(bytes([KINDS.index(kind)]))
        process.sendall(data)
        process.shutdown(socket.SHUT_WR)
        (length,) = LENGTH.unpack(_filled(bytearray(LENGTH.size), process, until))
        if length > MAX_HEADER_BYTES:
            raise NoAnswer("a header without end")
        told = json.loads(_filled(bytearray(length), process, until))
        if "error" not in told:
            return image_of(told, max_pixels, lambda pixels: _fill(pixels, process, until), kind)
        error = MemoryLimitMet() if told["error"] == NO_MEMORY else _ERRORS[told["error"]](str(told["message"]))
    except TimeoutError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise NoAnswer(type(fault).__name__) from fault
    raise error


def _filled(buffer: bytearray, process: socket.socket, until: float) -> bytearray:
    _fill(memoryview(buffer), process, until)
    return buffer


def _fill(rest: memoryview, process: socket.socket, until: float) -> None:
    while rest:
        process.settimeout(_left(until))
        count = process.recv_into(rest)
        if count == 0:
            raise NoAnswer("the end of the stream")
        rest = rest[count:]


def _left(until: float) -> float:
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left
