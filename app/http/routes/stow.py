"""STOW-RS (PS3.18 section 10.5): many instances in a request, each judged by itself.

    request -> parts, as they arrive -> identity -> decode -> in the record? else judge -> outcomes -> DICOM JSON or XML

A request holds one of the engine's places, and further ones only while there is room. Under load it goes slower. Once begun,
it is refused only if more of it arrives than may be held, or if it arrives too slowly while others wait. Its sender has one
deadline for all parts, which grows with each part that has come.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Security
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.engine import DeadlinePassed, Place
from app.metrics import UNKNOWN_KIND
from app.pipeline.errors import UnsuitableImage
from app.pipeline.identity import Identity, is_uid
from app.screening import Origin, PostedFilm, Screening
from app.settings import Settings
from app.tracing import span

from ..openapi import BINARY, problems
from ..problems import SLUG_OF, HttpError
from ..security import Access, require, sharer
from ..services import Services
from ..store_response import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    NOT_DICOM,
    OTHER_STUDY,
    PROCESSING_FAILURE,
    SCORED_CLASSES,
    TOO_LARGE,
    InstanceFailure,
    InstanceOutcome,
    reason_of,
    response_body,
    status_of,
)
from ..wire.accept import DICOM, DICOM_XML, STORE_TYPES, store_type
from ..wire.body import limited, require_declared_length, require_identity_encoding
from ..wire.media import UNDECLARED, declared_kind, essence
from ..wire.multipart_related import MalformedMultipart, Part, RelatedParser, TooManyParts
from ..wire.native_xml import native_xml
from .posting import origin_of

log = logging.getLogger("cxr_gate")

#: Share of the deadline that each part that has come adds to its sender's time. One part may take the whole deadline, but not
#: every part: two hundred parts would otherwise hold a place for 100 minutes.
PART_SHARE: Final = 0.25
_REMEDY = 'send multipart/related; type="application/dicom"; boundary=..., each part one DICOM file'

_STORED: Final = {name: {"schema": {"type": "object"}} if name.endswith("json") else {} for name in STORE_TYPES}
_OF_STORE: Final = (
    "not-acceptable",
    "body-too-large",
    "unsupported-media-type",
    "overloaded",
    "not-ready",
    "deadline-passed",
)
_DESCRIBED: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": {
        200: {"description": "every instance was scored", "content": _STORED},
        202: {"description": "some instances were scored, others failed", "content": _STORED},
        409: {"description": "no instance was scored", "content": _STORED},
        # 503 comes as DICOM if every instance met a passing fault.
        **problems(*_OF_STORE, also={503: _STORED}),
    },
    "openapi_extra": {"requestBody": {"required": True, "content": {"multipart/related": BINARY}}},
}

router = APIRouter(tags=["dicomweb"], dependencies=[Security(require, scopes=["score"])])


@router.post("/dicomweb/studies", **_DESCRIBED)
async def store_instances(request: Request) -> Response:
    """STOW-RS: judge each instance; the answer has one item an instance."""
    return await StoreTransaction.of(request)(request)


@router.post("/dicomweb/studies/{study}", **_DESCRIBED)
async def store_instances_of_study(request: Request, study: str) -> Response:
    """STOW-RS for one study: instances of another fail."""
    return await StoreTransaction.of(request)(request, study)


@dataclass(frozen=True)
class StoreTransaction:
    """The store transaction of one application."""

    screening: Screening
    settings: Settings
    access: Access

    @classmethod
    def of(cls, request: Request) -> StoreTransaction:
        """The transaction of the application that answers a request."""
        services = Services.of(request)
        return cls(services.screening, services.settings, services.access)

    async def __call__(self, request: Request, study: str | None = None) -> Response:
        """Judge each instance of a request.

        Parameters
        ----------
        study : str or None
            StudyInstanceUID of the path; instances of other studies fail.

        Raises
        ------
        HttpError
            The request as a whole is malformed, too large, of another media type, or wants another answer.
        NotReady, Overloaded
            Raised before anything is read.
        DeadlinePassed
            The sender took longer than the deadline for one part, or than the parts that came may take together.
        """
        if study is not None and not is_uid(study):
            raise HttpError("malformed-request", "the study of the path is no UID; name a StudyInstanceUID (0020,000D)")
        media_type = store_type(",".join(request.headers.getlist("accept")))
        if media_type is None:
            raise HttpError(
                "not-acceptable",
                f"the answer is {', '.join(STORE_TYPES)} and nothing else; name one in Accept, or leave Accept out. Nothing "
                "was judged",
            )
        parser = self._parser(request)
        outcomes = await self._outcomes(request, parser, study)
        for outcome in outcomes:
            self._count(outcome)
        status = status_of(outcomes)
        headers = {"Retry-After": str(self.screening.engine.retry_after)} if status == 503 else None
        body = response_body(outcomes, request.state.request_id)
        if media_type == DICOM_XML:
            return Response(native_xml(body), status, headers, media_type)
        return JSONResponse(body, status, headers, media_type)

    def _parser(self, request: Request) -> RelatedParser:
        """Check the head of a request."""
        media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
        if media_type != b"multipart/related":
            raise HttpError("unsupported-media-type", f"Content-Type is not multipart/related; {_REMEDY}")
        if parameters.get(b"type", b"").strip().lower() != DICOM.encode():
            raise HttpError(
                "unsupported-media-type", f"Content-Type's parameter type is absent or not {DICOM}; {_REMEDY}"
            )
        require_identity_encoding(request)
        require_declared_length(request, self.settings.max_store_bytes)
        try:
            return RelatedParser(
                parameters.get(b"boundary", b""),
                max_parts=self.settings.max_store_instances,
                max_part_bytes=self.settings.max_body_bytes,
            )
        except MalformedMultipart as error:
            raise HttpError("malformed-request", f"Content-Type: {error}; {_REMEDY}") from error

    async def _outcomes(self, request: Request, parser: RelatedParser, study: str | None) -> list[InstanceOutcome]:
        tasks: list[asyncio.Task[InstanceOutcome]] = []
        running: set[asyncio.Task[InstanceOutcome]] = set()
        sharing = sharer(request)
        try:
            with self.screening.engine.place(sharing) as place:
                async with aclosing(self._parts(request, parser, place)) as parts:
                    async for part in parts:
                        while len(running) >= self.settings.store_parallel or (
                            running and not self.screening.engine.room_for(sharing, len(part.body))
                        ):
                            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                        # The request's own place serves one instance; each further one takes its own.
                        further = ExitStack()
                        if running:
                            further.enter_context(self.screening.engine.place(sharing)).reserve(len(part.body))
                        number = len(tasks) + 1
                        if number > 1:
                            self.access.owe(request)
                        origin = origin_of(request, time.perf_counter(), f"{request.state.request_id}-{number}")
                        task = asyncio.create_task(self._outcome(number, part, study, origin))
                        task.add_done_callback(lambda _, place=further: place.close())  # type: ignore[misc]
                        tasks.append(task)
                        running.add(task)
                return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _parts(self, request: Request, parser: RelatedParser, place: Place) -> AsyncGenerator[Part, None]:
        """The parts as they arrive. While a part waits for room, nothing more is read, and the sender's time stands still."""
        seconds = self.settings.deadline_seconds
        left = seconds
        # A request of any length holds at most the instance that is being read and the one that is judged in its place.
        most = 2 * self.settings.max_body_bytes
        try:
            async with aclosing(limited(request, self.settings.max_store_bytes, place, most)) as chunks:
                while True:
                    began = time.monotonic()
                    with span("read"):
                        async with asyncio.timeout(min(seconds, left)), place.arriving():
                            arrived = await _arrived(parser, chunks)
                    if not arrived:
                        break
                    left += len(arrived) * PART_SHARE * seconds - (time.monotonic() - began)
                    for part in arrived:
                        yield part
        except TimeoutError as error:
            raise DeadlinePassed(
                f"an instance did not arrive within {seconds:g} s, or the request as a whole within that and "
                f"{PART_SHARE * seconds:g} s more for each instance that came; send fewer at once"
            ) from error
        except TooManyParts as error:
            raise HttpError("body-too-large", str(error)) from error
        except MalformedMultipart as error:
            raise HttpError("malformed-request", f"the multipart body is malformed: {error}") from error
        try:
            parser.close()
        except MalformedMultipart as error:
            raise HttpError("malformed-request", f"the multipart body is malformed: {error}") from error

    async def _outcome(self, number: int, part: Part, study: str | None, origin: Origin) -> InstanceOutcome:
        """Judge one part; any error becomes the failure of this part alone."""
        film = PostedFilm(part.body, "dicom")
        identity: Identity | None = None
        try:
            identity = await run_in_threadpool(lambda: film.identity)
            if failure := _refusal(part, identity, study, self.settings.max_body_bytes):
                return InstanceOutcome(number, identity, failure)
            async with self.screening.engine.deadline() as deadline:
                screened = await self.screening.screen(film, origin, deadline, recalls=True)
            return InstanceOutcome(number, identity, screened)
        except Exception as error:
            return InstanceOutcome(number, identity, self._failure(error, identity, origin.request_id))

    def _count(self, outcome: InstanceOutcome) -> None:
        self.screening.metrics.stored_instances.labels(outcome.answer).inc()
        if isinstance(outcome.result, InstanceFailure):
            kind = "dicom" if outcome.identity else UNKNOWN_KIND
            self.screening.metrics.count_not_judged(outcome.result.slug, self.screening.engine.active.name, kind)

    def _failure(self, error: Exception, identity: Identity | None, request_id: str) -> InstanceFailure:
        if isinstance(error, UnsuitableImage) and identity and identity.sop_class_uid not in SCORED_CLASSES:
            return InstanceFailure(CLASS_NOT_SUPPORTED, SLUG_OF[type(error)], str(error))
        if type(error) in SLUG_OF:
            return InstanceFailure(reason_of(type(error)), SLUG_OF[type(error)], str(error))
        log.error("unexpected error", exc_info=error, extra={"request_id": request_id})
        return InstanceFailure(PROCESSING_FAILURE, "internal-error", "a fault of the service; report the request_id")


async def _arrived(parser: RelatedParser, chunks: AsyncGenerator[bytes, None]) -> list[Part]:
    """The next complete parts; empty if the body has ended."""
    async for chunk in chunks:
        if parts := parser.feed(chunk):
            return parts
    return []


def _refusal(part: Part, identity: Identity | None, study: str | None, max_bytes: int) -> InstanceFailure | None:
    """The failure of a part that is found before the part is decoded."""
    media_type = essence(part.headers.get("content-type"))
    if media_type not in UNDECLARED and declared_kind(media_type) != "dicom":
        return InstanceFailure(
            NOT_DICOM, "unsupported-media-type", f"the part's Content-Type is not {DICOM}; send it as that"
        )
    if part.headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        return InstanceFailure(
            NOT_DICOM,
            "unsupported-media-type",
            "the part's Content-Transfer-Encoding is not supported; send it as binary",
        )
    if part.too_large:
        return InstanceFailure(
            TOO_LARGE, "body-too-large", f"the instance is over the limit of {max_bytes:,} bytes; send a smaller file"
        )
    if identity is None:
        return InstanceFailure(
            CANNOT_UNDERSTAND,
            "malformed-image",
            "the part is no DICOM file with a readable SOPClassUID (0008,0016) and SOPInstanceUID (0008,0018); "
            "send whole Part 10 files",
        )
    if study is not None and identity.study_instance_uid != study:
        return InstanceFailure(
            OTHER_STUDY,
            "malformed-request",
            "StudyInstanceUID (0020,000D) is not the study of the path; post it to its own study, or to /dicomweb/studies",
        )
    return None
