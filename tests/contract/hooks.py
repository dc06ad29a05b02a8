"""What Schemathesis cannot know: how films look, which boundary a body has, and which films and versions there are.

Loaded by ``st run`` (SCHEMATHESIS_HOOKS). The environment names what is there: CONTRACT_FILMS (ids in quarantine) and
CONTRACT_VERSIONS (of bundles).
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.http.stowing import CONTENT_TYPE, related
from tests.support.films import dicom, jpeg, png

#: Half of the path parameters name what is there; the rest is Schemathesis's own.
THERE = {
    "id": os.environ.get("CONTRACT_FILMS", "").split(),
    "model_version": os.environ.get("CONTRACT_VERSIONS", "").split(),
    "study": ["1.2.3.4"],
}


def films(*whole: bytes) -> st.SearchStrategy[bytes]:
    """Whole ones, such as were cut or spoiled, and bytes that are none."""
    good = st.sampled_from(whole)
    cut = st.builds(lambda film, length: film[:length], good, st.integers(0, 2000))
    spoiled = st.builds(
        lambda film, at, value: film[: at % len(film)] + value + film[at % len(film) + len(value) :],
        good, st.integers(0, 2**16), st.binary(min_size=1, max_size=8),
    )  # fmt: skip
    return st.one_of(good, good, cut, spoiled, st.binary(max_size=64))


PNG, JPEG = films(*map(png, range(4))), films(*map(jpeg, range(4)))
DICOM = films(*map(dicom, range(4)), dicom(StudyInstanceUID="1.2.3.4"))
# Some films are of another kind than their type says.
schemathesis.openapi.media_type("image/png", st.one_of(PNG, JPEG))
schemathesis.openapi.media_type("image/jpeg", st.one_of(JPEG, PNG))
schemathesis.openapi.media_type("application/dicom", DICOM)
schemathesis.openapi.media_type("application/octet-stream", st.one_of(PNG, JPEG, DICOM))
schemathesis.openapi.media_type("multipart/related", st.lists(DICOM, max_size=3).map(related))


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Put something that is there where the generated value's hash is even."""
    if not path_parameters:
        return path_parameters
    return {
        name: there[len(str(value)) // 2 % len(there)]
        if (there := THERE.get(name)) and len(str(value)) % 2 == 0
        else value
        for name, value in path_parameters.items()
    }


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """The boundary is a parameter of Content-Type, of which OpenAPI says nothing. (The phase of coverage tries headers.)"""
    if case.media_type == "multipart/related" and case.meta and case.meta.phase.name == "fuzzing":
        case.headers = {**(case.headers or {}), "Content-Type": CONTENT_TYPE}
