"""Media types that senders declare -> the kind of a film."""

from __future__ import annotations

from typing import Any, Final

from app.pipeline.decode import has_signature, sniff
from app.pipeline.errors import MalformedImage
from app.pipeline.image import SourceKind

from ..problems import HttpError

RAW_TYPES: Final[dict[str, SourceKind]] = {"image/png": "png", "image/jpeg": "jpeg", "application/dicom": "dicom"}
MULTIPART: Final = "multipart/form-data"
#: Other names of the same types: from old browsers, Citrix, and clients that join "image/" and a file's ending.
SYNONYMS: Final[dict[str, SourceKind]] = {
    "image/x-png": "png",
    "image/x-citrix-png": "png",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/x-citrix-jpeg": "jpeg",
    "application/x-dicom": "dicom",
    "image/dicom": "dicom",
    "image/x-dicom": "dicom",
}
#: The type that curl declares for ``--data-binary`` by default.
URL_ENCODED: Final = "application/x-www-form-urlencoded"
#: Types that do not say what a film is, or no type: the signature decides.
UNDECLARED: Final = frozenset({"", "*/*", "image/*", "application/octet-stream", "binary/octet-stream", URL_ENCODED})
TYPE_OF: Final[dict[SourceKind, str]] = {kind: media_type for media_type, kind in RAW_TYPES.items()}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_FORM: Final = {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"]}}}
#: How OpenAPI describes the body of a route that takes a film.
FILM_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "One film. Usual synonyms of the media types are taken too. Without Content-Type, or with "
    "application/octet-stream, the film's signature tells what it is; a type that contradicts it is refused (415).",
    "content": {**dict.fromkeys((*RAW_TYPES, "application/octet-stream"), _BINARY), MULTIPART: _FORM},
}
_SEND: Final = (
    "send image/png, image/jpeg or application/dicom, or multipart/form-data with one part named file "
    "(curl -F file=@film.dcm)"
)


def essence(content_type: str | None) -> str:
    """The media type of a Content-Type, in lower case and without parameters; empty if there is none.

    Parameters are ignored: a DICOM file names its own transfer syntax, and senders quote parameters in odd ways.
    """
    return (content_type or "").partition(";")[0].strip().lower()


def declared_kind(media_type: str) -> SourceKind | None:
    """The kind of film that a media type declares; None if it declares none, or is not read here."""
    return RAW_TYPES.get(media_type) or SYNONYMS.get(media_type)


def require_film_type(media_type: str) -> None:
    """Refuse a media type that declares anything but a film.

    Raises
    ------
    HttpError
    """
    if media_type in UNDECLARED or declared_kind(media_type):
        return
    elsewhere = "; STOW-RS is at /dicomweb/studies" if media_type == "multipart/related" else ""
    raise HttpError("unsupported-media-type", f"Content-Type is not one that is read here; {_SEND}{elsewhere}")


def kind_of(film: bytes, media_type: str) -> SourceKind:
    """The kind that the media type declares, if the bytes can be that kind; the kind of the bytes if it declares none.

    Raises
    ------
    HttpError
        A media type that is not read here, or that the bytes contradict.
    MalformedImage
        No known signature.
    """
    require_film_type(media_type)
    declared = declared_kind(media_type)
    if declared and has_signature(film, declared):
        return declared
    try:
        kind = sniff(film)
    except MalformedImage:
        if media_type == URL_ENCODED and film:
            raise HttpError(
                "unsupported-media-type",
                f"Content-Type is {URL_ENCODED}, and the bytes are no whole film; {_SEND}. (curl sends a file as it is with "
                "--data-binary @film.dcm, not with -d)",
            ) from None
        raise
    if declared is None:
        return kind
    raise HttpError(
        "unsupported-media-type",
        f"Content-Type is {media_type}, but the bytes are {kind.upper()}; declare what they are: {TYPE_OF[kind]}",
    )
