"""What an answer of the service or of Orthanc means for a film: done, refused, this film failed, or the other side is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.forward.errors import Fault, ForwardError, Misconfigured, Passing
from app.forward.orthanc import Orthanc
from app.forward.service import Refusal, Report, Service

REQUEST_ID = "0" * 32


def problem(status: int, slug: str | None = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"json": {"type": f"/problems/{slug}"}} if slug else {"text": "<html>a proxy's page"}
    return httpx.Response(status, headers={"X-Request-ID": REQUEST_ID, **named}, **body)  # type: ignore[arg-type]


def report(status: int) -> httpx.Response:
    return httpx.Response(status, content=b"a report", headers={"Content-Type": "application/dicom"})


Made = type[ForwardError] | type[Refusal] | type[Report]
SERVICE: dict[str, tuple[httpx.Response | Exception, Made]] = {
    "accepted": (report(200), Report),
    "rejected": (report(422), Report),
    "malformed": (problem(400, "malformed-image"), Refusal),
    "too large": (problem(413), Refusal),
    "syntax": (problem(415, "unsupported-media-type"), Refusal),
    "one of a sequence": (problem(403, "query-sequence"), Refusal),
    "no scope": (problem(403, "forbidden"), Misconfigured),
    "a proxy's no to this film": (problem(403), Fault),
    "a no of a kind that is new": (problem(403, "some-thing"), Fault),
    "no key": (problem(401, "unauthenticated"), Misconfigured),
    "quota": (problem(429, "quota", Retry_After="7"), Passing),
    "overloaded": (problem(503, "overloaded", Retry_After="7"), Passing),
    "not ready": (problem(503, "not-ready"), Passing),
    "no record": (problem(503, "record-unavailable"), Passing),
    "a proxy without its service": (problem(502), Passing),
    "a proxy's 503": (problem(503), Passing),
    "nobody there": (httpx.ConnectError("refused"), Passing),
    "no way there": (httpx.ConnectTimeout("late"), Passing),
    "starved": (problem(503, "decoding-unavailable", Retry_After="7"), Fault),
    "the device failed": (problem(503, "inference-failed"), Fault),
    "cannot be kept": (problem(503, "quarantine-unavailable"), Fault),
    "late": (problem(504, "deadline-passed"), Fault),
    "late at a proxy": (problem(504), Fault),
    "a fault": (problem(500, "internal-error"), Fault),
    "broken off": (httpx.RemoteProtocolError("closed"), Fault),
    "no answer": (httpx.ReadTimeout("late"), Fault),
}


def ask(
    answer: httpx.Response | Exception, what: Callable[[httpx.AsyncClient], Awaitable[object]]
) -> object | ForwardError:
    def transport(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> object:
        async with httpx.AsyncClient(transport=httpx.MockTransport(transport), base_url="http://it") as client:
            return await what(client)

    try:
        return asyncio.run(main())
    except ForwardError as error:
        return error


@pytest.mark.parametrize("name", SERVICE)
def test_what_the_service_means(name: str) -> None:
    answer, expected = SERVICE[name]
    made = ask(answer, lambda client: Service(client).score(b"film"))
    assert type(made) is expected
    if isinstance(made, Passing | Fault) and isinstance(answer, httpx.Response):
        assert made.retry_after == float(answer.headers.get("retry-after", 0))


def test_a_fault_keeps_what_the_list_tells() -> None:
    made = ask(SERVICE["starved"][0], lambda client: Service(client).score(b"film"))
    assert isinstance(made, Fault)
    assert (made.reason, made.status, made.request_id) == ("decoding-unavailable", 503, REQUEST_ID)
    made = ask(SERVICE["broken off"][0], lambda client: Service(client).score(b"film"))
    assert isinstance(made, Fault)
    assert (made.reason, made.status, made.request_id) == ("no-answer", 0, "none")


BROKEN = httpx.Response(500)


@pytest.mark.parametrize("answer", [BROKEN, httpx.ReadError("broken")], ids=["500", "broken off"])
def test_a_film_that_orthanc_cannot_give_is_that_films_fault_and_all_else_is_not(
    answer: httpx.Response | Exception,
) -> None:
    assert type(ask(answer, lambda client: Orthanc(client).film("a"))) is Fault
    assert type(ask(answer, lambda client: Orthanc(client).modality("a"))) is Fault
    assert type(ask(answer, lambda client: Orthanc(client).store(b""))) is Passing
    assert type(ask(answer, lambda client: Orthanc(client).changes(0))) is Passing


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.ConnectError("refused")], ids=["503", "nobody there"])
def test_while_orthanc_is_away_no_film_is_at_fault(answer: httpx.Response | Exception) -> None:
    assert type(ask(answer, lambda client: Orthanc(client).film("a"))) is Passing
    assert type(ask(answer, lambda client: Orthanc(client).store(b""))) is Passing


def test_a_report_that_orthanc_refuses_is_that_films_fault() -> None:
    assert type(ask(httpx.Response(400), lambda client: Orthanc(client).store(b""))) is Fault
