"""The request's body -> the bytes and the kind of one film, held in memory and never over the limit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.pipeline.image import SourceKind

from ..problems import HttpError
from .media import MULTIPART, essence, kind_of, require_film_type

#: Bytes that a multipart body adds to the film: boundaries and part headers.
MULTIPART_OVERHEAD_BYTES: Final = 16 * 1024


class Holder(Protocol):
    """Holds a body that arrives: a ``Place`` of the engine, or ``Unheld``."""

    def require_room_for(self, total: int) -> None:
        """Refuse `total` announced bytes if they would be refused on arrival."""

    def arrived(self, count: int) -> None:
        """Note that `count` more bytes have come."""

    def reserve(self, total: int) -> None:
        """Hold `total` bytes instead of those held before."""


class Unheld:
    """A place for bodies that are too small to be counted."""

    def require_room_for(self, total: int) -> None:
        """Refuse nothing."""

    def arrived(self, count: int) -> None:
        """Note nothing."""

    def reserve(self, total: int) -> None:
        """Hold nothing."""


async def read_film(request: Request, max_body_bytes: int, place: Holder) -> tuple[bytes, SourceKind]:
    """Read the one film of a request; its kind is the declared one, or that of its signature if none is declared.

    Raises
    ------
    HttpError
        A media type that is not read here or that the bytes contradict, a body over the limit (by Content-Length before
        reading, else while reading), a malformed multipart body, or not exactly one part ``file``.
    MalformedImage
        No known signature.
    Overloaded
        From `place`, which holds the bytes as they arrive, and checks the announced length before anything is read.
    """
    media_type = essence(request.headers.get("content-type"))
    if media_type != MULTIPART:
        require_film_type(media_type)
    require_identity_encoding(request)
    limit = max_body_bytes + (MULTIPART_OVERHEAD_BYTES if media_type == MULTIPART else 0)
    require_declared_length(request, limit)
    if media_type == MULTIPART:
        return await _film_of_form(request, limit, place)
    data = bytearray()
    async for chunk in limited(request, limit, place):
        data += chunk
    film = bytes(data)
    return film, kind_of(film, media_type)


def require_identity_encoding(request: Request) -> None:
    """Refuse a body that is compressed as a whole.

    Raises
    ------
    HttpError
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError("unsupported-media-type", "Content-Encoding is not supported; send the file as it is")


_ONE_FILE: Final = (
    "send one part and no other, a file named 'file' (curl -F file=@film.dcm); several films, in several requests"
)


class _InMemoryParser(MultiPartParser):
    """Starlette's parser without its temporary files: patients' films must not be left on a disk."""

    spool_max_size = 2**62


async def _film_of_form(request: Request, limit: int, place: Holder) -> tuple[bytes, SourceKind]:
    try:
        form = await _InMemoryParser(request.headers, limited(request, limit, place), max_files=1, max_fields=0).parse()
    except MultiPartException as error:
        raise HttpError(
            "malformed-request", f"the multipart body is malformed: {error.message.rstrip('.')}; {_ONE_FILE}"
        ) from error
    except (KeyError, ValueError) as error:  # no boundary, or headers that are not text
        raise HttpError(
            "malformed-request", "the multipart body is malformed: no boundary, or unreadable headers"
        ) from error
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise HttpError("malformed-request", f"the multipart body has no file part named 'file'; {_ONE_FILE}")
        film, media_type = await part.read(), essence(part.content_type)
    finally:
        await form.close()
    if len(film) > limit - MULTIPART_OVERHEAD_BYTES:
        raise _too_large(limit - MULTIPART_OVERHEAD_BYTES)
    return film, kind_of(film, media_type)


async def limited(request: Request, limit: int, place: Holder, most: int | None = None) -> AsyncGenerator[bytes, None]:
    """The body as it arrives.

    Parameters
    ----------
    place : Holder
        Holds the bytes that have arrived. A declared length is only checked: a sender that declares much and sends
        nothing would otherwise hold bytes that others need.
    most : int, optional
        Bytes that are held at most, if the body is not kept whole.

    Raises
    ------
    HttpError
        More bytes than the limit, or a connection that closed early.
    Overloaded
        From `place`.
    """
    most = limit if most is None else most
    declared = declared_length(request.headers)
    if declared is not None:
        place.require_room_for(min(declared, most))
    total = 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise _too_large(limit)
            place.arrived(len(chunk))
            place.reserve(min(total, most))
            yield chunk
    except ClientDisconnect as error:
        raise HttpError("malformed-request", "the connection closed before the body was complete") from error


def require_declared_length(request: Request, limit: int) -> None:
    """Refuse by Content-Length, before anything is read.

    Raises
    ------
    HttpError
    """
    declared = declared_length(request.headers)
    if declared is not None and declared > limit:
        raise _too_large(limit)


def declared_length(headers: Headers) -> int | None:
    """Content-Length in bytes; None for a chunked body."""
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdigit() else None


def _too_large(limit: int) -> HttpError:
    return HttpError("body-too-large", f"the body is over the limit of {limit:,} bytes; send a smaller file")
