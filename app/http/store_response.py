"""Outcomes of instances -> the Store Instances Response Module (PS3.18 annex I) as DICOM JSON (annex F).

Facts without an attribute in the standard are in a private block, creator ``CXR-GATE`` in group 0099; docs/pacs.md lists it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.pipeline import LABELS
from app.pipeline.errors import MalformedImage, NumericalError, UnsupportedMedia
from app.pipeline.identity import Identity
from app.screening import Screened

from .problems import PROBLEMS, REJECTED_DETAIL, SLUG_OF

PRIVATE_CREATOR: Final = "CXR-GATE"

Json = dict[str, Any]

#: Values of Failure Reason (0008,1197), PS3.18 section I.2.2. A7xx says that the fault may pass; all other faults last. The
#: standard leaves the last three digits of Cxxx "cannot understand" to the implementation: this one writes HTTP statuses.
OUT_OF_RESOURCES: Final = 0xA700
OTHER_STUDY: Final = 0xA901
CANNOT_UNDERSTAND: Final = 0xC000
TOO_LARGE: Final = 0xC413
NOT_DICOM: Final = 0xC415
REJECTED: Final = 0xC422
SYNTAX_NOT_SUPPORTED: Final = 0xC122
PROCESSING_FAILURE: Final = 0x0110
CLASS_NOT_SUPPORTED: Final = 0x0122

_REASON_OF: Final[dict[type[Exception], int]] = {
    MalformedImage: CANNOT_UNDERSTAND,
    UnsupportedMedia: SYNTAX_NOT_SUPPORTED,
    NumericalError: PROCESSING_FAILURE,
}

#: Classes whose instances are scored; a refused instance of another class gets "Referenced SOP Class not supported".
SCORED_CLASSES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray Image, for processing
    }
)


@dataclass(frozen=True)
class InstanceFailure:
    """Why an instance has no probabilities; `slug` names the problem in ``app.http.problems``."""

    reason: int
    slug: str
    detail: str


@dataclass(frozen=True)
class InstanceOutcome:
    """The outcome of one part; `number` counts from 1."""

    number: int
    identity: Identity | None
    result: Screened | InstanceFailure

    @property
    def failure(self) -> InstanceFailure | None:
        """Why there are no probabilities; the gate's rejection is a failure, so that no sender takes the film for stored."""
        if isinstance(self.result, InstanceFailure):
            return self.result
        if self.result.verdict.accepted:
            return None
        return InstanceFailure(REJECTED, "rejected-as-adversarial", REJECTED_DETAIL)

    @property
    def answer(self) -> str:
        """How the instance was answered, in the metric's words."""
        if isinstance(self.result, InstanceFailure):
            return "refused"
        return "from_record" if self.result.recalled.from_record else "scored"


def reason_of(kind: type[Exception]) -> int:
    """The Failure Reason of an error that ``SLUG_OF`` knows: a fault of the service passes, and a fault of the film does not."""
    status = PROBLEMS[SLUG_OF[kind]].status
    return _REASON_OF.get(kind, OUT_OF_RESOURCES if status >= 500 else CANNOT_UNDERSTAND + int(str(status), 16))


def status_of(outcomes: Sequence[InstanceOutcome]) -> int:
    """The status of PS3.18 section 10.5.3.1, or 503 if the faults of all instances may pass."""
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if not failures:
        return 200
    if len(failures) < len(outcomes):
        return 202
    return 503 if all(failure.reason == OUT_OF_RESOURCES for failure in failures) else 409


def response_body(outcomes: Sequence[InstanceOutcome], request_id: str) -> Json:
    """The response module; each sequence holds its instances in the order of arrival."""
    # (0008,1190) is empty: no instance can be retrieved.
    body = {"00081190": _element("UR"), **_private(x10=_element("LO", request_id))}
    sequences: dict[str, list[Json]] = {"00081198": [], "00081199": [], "0008119A": []}
    for outcome in outcomes:
        item = {**_reference(outcome.identity), **_reason(outcome.failure), **_told(outcome)}
        if not outcome.failure:
            sequences["00081199"].append({**item, "00081190": _element("UR")})
        else:
            sequences["00081198" if outcome.identity else "0008119A"].append(item)
    body.update({tag: _element("SQ", *items) for tag, items in sequences.items() if items})
    return dict(sorted(body.items()))


def _told(outcome: InstanceOutcome) -> Json:
    told = {"x09": _element("UL", outcome.number), "x01": _element("CS", "NONE")}
    if isinstance(outcome.result, Screened):
        screened, recalled = outcome.result, outcome.result.recalled
        told["x01"] = _element("CS", "ACCEPTED" if recalled.verdict.accepted else "REJECTED")
        told["x02"] = _element("LO", screened.version.name)
        told["x05"] = _element("UC", *screened.image.notes)
        told["x06"] = _element("CS", "RECORD" if recalled.from_record else "SCORED")
        if recalled.film is not None:
            told["x11"] = _element("LO", recalled.film)
        if recalled.verdict.probabilities is not None:
            told["x03"] = _element("LO", *LABELS)
            told["x04"] = _element("FD", *(float(value) for value in recalled.verdict.probabilities))
            told["x12"] = _element("CS", *(call.upper() for call in screened.calls))
    if outcome.failure:
        told["x07"] = _element("UR", f"/problems/{outcome.failure.slug}")
        told["x08"] = _element("UT", outcome.failure.detail)
    return _private(**told)


def _reason(failure: InstanceFailure | None) -> Json:
    return {"00081197": _element("US", failure.reason)} if failure else {}


def _reference(identity: Identity | None) -> Json:
    """SOP Instance Reference Macro (PS3.3 table 10-11)."""
    if identity is None:
        return {}
    return {"00081150": _element("UI", identity.sop_class_uid), "00081155": _element("UI", identity.sop_instance_uid)}


def _private(**elements: Json) -> Json:
    """A private block (PS3.5 section 7.8.1): ``x01`` is (0099,1001)."""
    named = {f"009910{name[1:]}": element for name, element in sorted(elements.items())}
    return {"00990010": _element("LO", PRIVATE_CREATOR), **named}


def _element(vr: str, *values: object) -> Json:
    # PS3.18 section F.2.5: an empty element has no Value.
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
