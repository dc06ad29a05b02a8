"""What is fuzzed: functions of hostile bytes that end as they promise, or raise an AssertionError or whatever went wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from app.decoding.decoders import place_of
from app.http.problems import PROBLEMS, HttpError
from app.http.wire.body import Unheld, read_film
from app.http.wire.multipart_related import MalformedMultipart, Part, RelatedParser, TooManyParts
from app.pipeline import LABELS, Verdict, decode, to_tensor
from app.pipeline.errors import InputError, MalformedImage
from app.pipeline.identity import is_uid, read_identity
from app.pipeline.manifest import Manifest
from app.results import UnreportableSource, make_report, pixels_digest, read_source, to_part10
from tests.support.bundles import manifest_fields

from .connection import fuzz_connection

MAX_PIXELS = 1_000_000
MAX_PARTS, MAX_PART_BYTES, MAX_BODY_BYTES = 8, 4_096, 65_536
_MANIFEST = Manifest(model_version="densenet121-mgm-000000000000", files={}, **manifest_fields(-10.0))
_VERDICT = Verdict(True, 0.0, np.linspace(0.0, 1.0, len(LABELS)))
T = TypeVar("T")


def fuzz_decode(data: bytes) -> str:
    """Bytes of a film -> a sound image and, of DICOM, a report; or one of the pipeline's errors. Says which."""
    identity = read_identity(data)
    assert identity is None or (is_uid(identity.sop_class_uid) and is_uid(identity.sop_instance_uid))
    try:
        place_of(data)
        image = decode(data, max_pixels=MAX_PIXELS)
        rows, columns = image.pixels.shape
        assert rows * columns <= MAX_PIXELS
        assert image.pixels.dtype == np.float32
        assert np.isfinite(image.pixels).all()
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1
        assert to_tensor(image.pixels).isfinite().all()
        if image.source_kind == "dicom":
            _report(data, image.pixels)
    except InputError as error:  # UnreportableSource is one too
        return type(error).__name__
    return "image"


def _report(data: bytes, pixels: np.ndarray) -> None:
    try:
        source = read_source(data)
    except UnreportableSource:
        return
    made = datetime(2026, 3, 1, tzinfo=UTC)
    to_part10(
        make_report(source, _VERDICT, key=b"a key", pixels_digest=pixels_digest(pixels), manifest=_MANIFEST, made=made)
    )


def fuzz_multipart(data: bytes) -> str:
    """A byte for the kind, one for how the body is cut, a line for Content-Type, and the body. Says how it ended.

    A form gives a film or an error of the table; multipart/related gives the same parts however it is cut.
    """
    kind, step = data[:1], max(1, *data[1:2], 1)
    content_type, _, body = data[2:].partition(b"\n")
    return (_form if kind < b"\x80" else _related)(content_type, [*_pieces(body, step)])


def _pieces(body: bytes, step: int) -> Iterator[bytes]:
    for start in range(0, len(body), step):
        yield body[start : start + step]


def _form(content_type: bytes, pieces: list[bytes]) -> str:
    waiting = [*pieces, b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}, receive)
    try:
        film, _ = _run(read_film(request, MAX_BODY_BYTES, Unheld()))
    except MalformedImage:
        return "MalformedImage"
    except HttpError as error:
        return PROBLEMS[error.slug].title
    assert film in b"".join(pieces)
    return "film"


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what waits for nothing, without an event loop, which would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("it waits")


def _related(content_type: bytes, pieces: list[bytes]) -> str:
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    cut, whole = _parts(boundary, pieces), _parts(boundary, [b"".join(pieces)])
    assert cut == whole
    parts, ended = cut
    assert len(parts) <= MAX_PARTS
    for part in parts:
        assert len(part.body) <= MAX_PART_BYTES
        assert part.body in b"".join(pieces)
        read_identity(part.body)
    return ended


def _parts(boundary: bytes, pieces: list[bytes]) -> tuple[list[Part], str]:
    parts: list[Part] = []
    try:
        parser = RelatedParser(boundary, max_parts=MAX_PARTS, max_part_bytes=MAX_PART_BYTES)
        for piece in pieces:
            parts += parser.feed(piece)
        parser.close()
    except (MalformedMultipart, TooManyParts) as error:
        # Parts that were whole before the fault are given only where they came in an earlier piece.
        return [], f"{type(error).__name__}: {error}"
    return parts, "parts"


TARGETS: dict[str, Callable[[bytes], str]] = {
    "decode": fuzz_decode,
    "multipart": fuzz_multipart,
    "connection": fuzz_connection,
}
