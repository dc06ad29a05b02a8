"""Problems (RFC 9457): one table from errors to statuses, and the page that documents each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse

from app.access.oidc import ProviderUnavailable
from app.access.sequences import QuerySequence
from app.decoding.decode_pool import DecodingUnavailable
from app.engine import DeadlinePassed, InferenceFailed, NotReady, Overloaded
from app.pipeline.errors import ImageTooLarge, MalformedImage, NumericalError, UnsuitableImage, UnsupportedMedia
from app.quarantine import AlreadyDecided, FilmUnreadable, NoSuchFilm, QuarantineUnavailable
from app.records import RecordUnavailable
from app.results import UnreportableSource
from app.versions import UnknownVersion, VersionConflict, VersionRefused

MEDIA_TYPE: Final = "application/problem+json"
#: For faults whose end nobody can estimate; Overloaded has its own estimate.
RETRY_AFTER_SECONDS: Final = 2


#: The detail of the gate's rejection, whichever resource the film was posted to.
REJECTED_DETAIL: Final = (
    "the image's features are unlike those of clean chest films, so no probabilities are given; "
    "do not retry, let a person look at the film"
)


class HttpError(Exception):
    """A fault of the request itself; ``slug`` names its problem, ``headers`` go with the answer."""

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.headers = headers


@dataclass(frozen=True)
class Problem:
    """One kind of problem; ``remedy`` is for its page."""

    status: int
    title: str
    meaning: str
    remedy: str
    retry: bool = False


PROBLEMS: Final[dict[str, Problem]] = {
    "rejected-as-adversarial": Problem(
        422,
        "rejected as adversarial",
        "The image's features are unlike those of clean chest films, so no probabilities are given. Somebody may have tampered "
        "with it. The gate also rejects some rare or damaged films, and one clean film in twenty to thirty.",
        "Do not retry: the same image gets the same answer. Let a person look at the film, and read it without this service. "
        "If the site keeps rejected films, its reviewer can release this one, and /v1/results/{request_id} then gives its "
        "probabilities.",
    ),
    "malformed-request": Problem(
        400,
        "malformed request",
        "The request could not be understood, or has a query parameter that its path does not know.",
        "Correct the request as the detail says.",
    ),
    "malformed-image": Problem(
        400, "malformed image", "The image is empty, damaged, cut short or undecodable.", "Send the whole file again."
    ),
    "unsuitable-image": Problem(
        400,
        "unsuitable image",
        "The image can be read, but is not a frontal chest radiograph of usable size.",
        "Send only frontal chest films (CR or DX, PA or AP). The detail names the tag or the size, or says what the pixels show.",
    ),
    "unreportable-source": Problem(
        400,
        "unreportable source",
        "The request asks for a DICOM result, but a tag that a report in the film's study must hold is missing or damaged.",
        "Correct the tag that the detail names, or ask for application/json, which does not need the tag.",
    ),
    "unauthenticated": Problem(
        401,
        "unauthenticated",
        "The service asks for a key or a token, and the request has none, or one that is unknown, revoked or expired.",
        "Send one header 'Authorization: Bearer KEY'. Keys are made by the service's operator: cxr-gate new-key.",
    ),
    "forbidden": Problem(
        403,
        "forbidden",
        "The key or token lacks the scope for this request; or the service has no keys, and this request needs one.",
        "Ask the service's operator for a key with the scope that the detail names (cxr-gate new-key --scope).",
    ),
    "foreign-request": Problem(
        403,
        "foreign request",
        "The service has no keys. So it answers only requests for this machine's own names or for names that its operator "
        "allowed, and no request that another site's page sends, unless the site is in CXR_ALLOWED_ORIGINS.",
        "Use http://localhost:PORT or http://127.0.0.1:PORT. The operator adds names with CXR_ALLOWED_HOSTS and sites with "
        "CXR_ALLOWED_ORIGINS, or gives callers keys (cxr-gate new-key); with keys any name will do.",
    ),
    "quota": Problem(
        429,
        "quota",
        "The caller has asked more than its quota allows. The service itself may be idle.",
        "Retry after the seconds that Retry-After names. If it persists, send less at once, or ask the service's operator for a "
        "larger quota.",
        True,
    ),
    "query-sequence": Problem(
        403,
        "query sequence",
        "The caller has sent many films that differ from this one by very little, as an attack by queries does. The film is not "
        "judged.",
        "Do not retry: the same film is refused again until the service forgets the films like it, after a day by default. "
        "Other films are judged as before. Let a person look at the film, and ask the service's operator.",
    ),
    "not-found": Problem(404, "not found", "There is nothing at this path.", "See /docs for the paths."),
    "method-not-allowed": Problem(
        405, "method not allowed", "This path does not have this method.", "See /docs for its methods."
    ),
    "not-acceptable": Problem(
        406,
        "not acceptable",
        "The answer exists in no media type that Accept names.",
        "Name the media type that the detail gives, or leave Accept out.",
    ),
    "idempotency-key-reused": Problem(
        409,
        "idempotency key reused",
        "The caller has used the Idempotency-Key for another film. Nothing was judged.",
        "Send a new key with each film, and the same key only where the same film is tried again.",
    ),
    "awaiting-review": Problem(
        409,
        "awaiting review",
        "The gate rejected the film, and nobody has decided on it yet.",
        "Ask the site's reviewer to look at the film, and repeat the request after that.",
    ),
    "already-decided": Problem(
        409,
        "already decided",
        "Another reviewer has already made the opposite decision on the film.",
        "Decisions cannot be taken back. Speak with that reviewer; treat a film that was released wrongly as an incident.",
    ),
    "confirmed-as-bad": Problem(
        410,
        "confirmed as bad",
        "A reviewer has looked at the film, and decided that the network must not read it.",
        "Do not ask again. Read the film without this service, and find out where it came from.",
    ),
    "body-too-large": Problem(413, "body too large", "The body is over the byte limit.", "Send a smaller file."),
    "image-too-large": Problem(
        413, "image too large", "The image's header claims more pixels than the limit.", "Reduce the image."
    ),
    "unsupported-media-type": Problem(
        415,
        "unsupported media type",
        "The media type or DICOM transfer syntax is not read here, or the bytes are not what the media type says.",
        "Send image/png, image/jpeg or application/dicom, or multipart/form-data with one of them as 'file' "
        "(curl -H 'Content-Type: application/dicom' --data-binary @film.dcm, or curl -F file=@film.dcm); "
        "to /dicomweb/studies, multipart/related of application/dicom.",
    ),
    "internal-error": Problem(
        500, "internal error", "A fault of the service, which is logged under the request_id.", "Report the request_id."
    ),
    "film-unreadable": Problem(
        500,
        "film unreadable",
        "The kept film cannot be read: its file was changed or is gone, or its key is lost.",
        "Tell the operator of the service; the log has the reason under the request_id.",
    ),
    "overloaded": Problem(
        503,
        "overloaded",
        "Too many requests or bytes wait, from all callers or from this one; or the work that waits takes "
        "longer than the deadline; or the body came too slowly while others waited.",
        "Retry after the seconds that Retry-After names: by then the requests that wait now should be done.",
        True,
    ),
    "not-ready": Problem(
        503,
        "not ready",
        "The service is starting or stopping, or no device is in service.",
        "Retry after the seconds that Retry-After names.",
        True,
    ),
    "inference-failed": Problem(
        503, "inference failed", "The device failed on this image.", "Retry; if it persists, tell the operator.", True
    ),
    "decoding-unavailable": Problem(
        503,
        "decoding unavailable",
        "The machine was too busy to decode the film in time; or its decoder died while the machine was busy "
        "or short of memory; or no process could be started to decode it. The film itself may be good.",
        "Retry after the seconds that Retry-After names; if it persists, tell the operator that the machine is "
        "short of CPU time, memory or processes (cxr_decode_process_failures_total says more).",
        True,
    ),
    "record-unavailable": Problem(
        503,
        "record unavailable",
        "The decision could not be written to the record, and the service gives no decision without that.",
        "Retry; if it persists, tell the operator that the database of CXR_RECORD_URL does not answer.",
        True,
    ),
    "identity-provider-unavailable": Problem(
        503,
        "identity provider unavailable",
        "The service has no key of the identity provider yet, so it cannot check the token.",
        "Retry; if it persists, tell the operator that the provider of CXR_OIDC_ISSUER does not answer.",
        True,
    ),
    "version-conflict": Problem(
        409,
        "version conflict",
        "The version's present state does not allow this step.",
        "GET /v1/versions shows the state. Let a version run in shadow first: only the shadow and the previous version can be "
        "promoted, since they are loaded and proven.",
    ),
    "version-refused": Problem(
        503,
        "version refused",
        "The bundle does not verify, or does not reproduce its golden outputs here; or the choice could not be written down. The "
        "active version stays active.",
        "Correct the fault that the detail names (most often: copy the bundle's whole folder again), then repeat the request.",
    ),
    "quarantine-unavailable": Problem(
        503,
        "quarantine unavailable",
        "A rejected film could not be kept for review, and the service gives no decision without that.",
        "Retry; if it persists, tell the operator that the folder of CXR_QUARANTINE_FOLDER cannot be written to.",
        True,
    ),
    "deadline-passed": Problem(
        504, "deadline passed", "There was no verdict in time.", "Retry when there is less load."
    ),
}

#: The problems of a film wherever it is decoded; below, with those that are added where it is judged.
OF_FILMS: Final = (
    "malformed-image",
    "unsuitable-image",
    "body-too-large",
    "image-too-large",
    "unsupported-media-type",
    "overloaded",
    "not-ready",
    "decoding-unavailable",
    "deadline-passed",
)
OF_JUDGED_FILMS: Final = (
    *OF_FILMS,
    "rejected-as-adversarial",
    "unreportable-source",
    "query-sequence",
    "inference-failed",
    "record-unavailable",
    "quarantine-unavailable",
)

#: Faults of a sender for which its film is not judged; metrics count these by name.
SENDER_FAULTS: Final = (
    "malformed-request",
    "malformed-image",
    "unsuitable-image",
    "not-acceptable",
    "body-too-large",
    "image-too-large",
    "unsupported-media-type",
)

#: The one table from the code's errors to problems.
SLUG_OF: Final[dict[type[Exception], str]] = {
    MalformedImage: "malformed-image",
    UnsuitableImage: "unsuitable-image",
    UnsupportedMedia: "unsupported-media-type",
    ImageTooLarge: "image-too-large",
    UnreportableSource: "unreportable-source",
    NumericalError: "malformed-image",
    QuerySequence: "query-sequence",
    Overloaded: "overloaded",
    NotReady: "not-ready",
    DecodingUnavailable: "decoding-unavailable",
    InferenceFailed: "inference-failed",
    DeadlinePassed: "deadline-passed",
    RecordUnavailable: "record-unavailable",
    ProviderUnavailable: "identity-provider-unavailable",
    UnknownVersion: "not-found",
    VersionConflict: "version-conflict",
    VersionRefused: "version-refused",
    QuarantineUnavailable: "quarantine-unavailable",
    FilmUnreadable: "film-unreadable",
    NoSuchFilm: "not-found",
    AlreadyDecided: "already-decided",
}


def problem_response(
    request: Request, slug: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem as ``application/problem+json``."""
    problem = PROBLEMS[slug]
    return JSONResponse(
        problem_body(slug, detail, request.state.request_id),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={**({"Retry-After": str(RETRY_AFTER_SECONDS)} if problem.retry else {}), **(headers or {})},
    )


def problem_body(slug: str, detail: str, request_id: str) -> dict[str, str | int]:
    """The body of a problem."""
    return {
        "type": f"/problems/{slug}",
        "title": PROBLEMS[slug].title,
        "status": PROBLEMS[slug].status,
        "detail": detail,
        "instance": f"/requests/{request_id}",
        "request_id": request_id,
    }
