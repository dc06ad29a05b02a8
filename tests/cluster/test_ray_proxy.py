"""The middleware of Ray's proxy, with a stand-in for Ray that loses requests; needs no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.cluster.ray_proxy import RETRY_AFTER_SECONDS, PutAgain
from app.http import problems

BODY = [b"first", b"second", b"last"]
Attempt = Callable[[Scope, Receive, Send], object]


class Ray:
    """Gives each attempt to the next of its `attempts`, and keeps the bodies that they saw."""

    def __init__(self, *attempts: Attempt) -> None:
        self.attempts = list(attempts)
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.attempts.pop(0)(scope, receive, send)  # type: ignore[misc]

    def dies_after(self, chunks: int) -> Attempt:
        """A replica that dies once it has seen so much; Ray's proxy then returns without an answer."""

        async def attempt(_: Scope, receive: Receive, send: Send) -> None:
            for _ in range(chunks):
                await receive()

        return attempt

    def answers(self, status: int = 200, content_type: str = "application/json") -> Attempt:
        async def attempt(scope: Scope, receive: Receive, send: Send) -> None:
            seen = b""
            more = True
            while more:
                message = await receive()
                seen += message["body"]
                more = message.get("more_body", False)
            self.bodies.append(seen)
            headers = [
                (b"content-type", content_type.encode()),
                (b"x-request-id", b"ours"),
                (b"X-Request-ID", b"ray's"),
            ]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

        return attempt


async def chunks():
    for chunk in BODY:
        yield chunk


def post(app: PutAgain, path: str = "/v1/score") -> httpx.Response:
    async def posted() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ray") as client:
            return await client.post(path, content=chunks())

    return asyncio.run(posted())


@pytest.mark.parametrize("seen", [0, 1, len(BODY)])
def test_a_lost_request_is_put_again_whole(seen: int) -> None:
    ray = Ray()
    ray.attempts = [ray.dies_after(seen), ray.answers()]
    assert post(PutAgain(ray)).status_code == 200
    assert ray.bodies == [b"".join(BODY)]


def assert_problem(answer: httpx.Response, slug: str) -> None:
    """As the service itself would word its kind."""
    known = problems.PROBLEMS[slug]
    body = answer.json()
    assert (body["type"], body["title"], body["status"]) == (f"/problems/{slug}", known.title, known.status)
    assert answer.status_code == known.status
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert answer.headers["x-request-id"] == body["request_id"]
    assert answer.headers.get("retry-after") == (str(RETRY_AFTER_SECONDS) if known.retry else None)


def test_a_request_that_kills_its_replica_is_given_up() -> None:
    ray = Ray()
    ray.attempts = [ray.dies_after(3), ray.dies_after(3), ray.answers()]
    assert_problem(post(PutAgain(ray)), "not-ready")
    assert len(ray.attempts) == 1


def test_a_body_without_room_is_served_but_not_put_again() -> None:
    ray = Ray()
    ray.attempts = [ray.answers(), ray.dies_after(3), ray.answers()]
    app = PutAgain(ray, kept_bytes=len(BODY[0]))
    assert post(app).status_code == 200
    assert_problem(post(app), "not-ready")
    assert ray.bodies == [b"".join(BODY)]
    assert app.room == len(BODY[0])


@pytest.mark.parametrize(
    ("status", "slug"), [(404, "not-ready"), (408, "deadline-passed"), (500, "not-ready"), (503, "overloaded")]
)
def test_what_ray_says_itself_is_told_as_a_problem(status: int, slug: str) -> None:
    ray = Ray()
    ray.attempts = [ray.answers(status, "text/plain; charset=utf-8")]
    assert_problem(post(PutAgain(ray)), slug)


@pytest.mark.parametrize("status", [404, 422, 500, 503])
def test_what_the_service_says_passes_with_its_own_id(status: int) -> None:
    ray = Ray()
    ray.attempts = [ray.answers(status, "application/problem+json")]
    answer = post(PutAgain(ray))
    assert (answer.status_code, answer.content) == (status, b"{}")
    assert answer.headers.get_list("x-request-id") == ["ours"]


def test_rays_own_pages_pass() -> None:
    ray = Ray()
    ray.attempts = [ray.answers(404, "text/plain")]
    assert post(PutAgain(ray), "/-/healthz").status_code == 404


def test_a_caller_who_left_is_not_answered_again() -> None:
    ray = Ray()
    ray.attempts = [ray.dies_after(2), ray.answers()]
    messages = [{"type": "http.request", "body": b"some", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/score", "headers": []}
    asyncio.run(PutAgain(ray)(scope, receive, send))
    assert not sent
    assert len(ray.attempts) == 1


def test_an_answer_that_began_is_not_begun_again() -> None:
    """Its connection ends as it is: two halves of two answers are none."""

    async def half(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    ray = Ray()
    ray.attempts = [half, ray.answers()]
    sent = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(PutAgain(ray)({"type": "http", "path": "/", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == ["http.response.start", "http.response.body"]
    assert len(ray.attempts) == 1


def test_the_callers_id_does_not_reach_ray() -> None:
    seen = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    headers = [(b"x-request-id", b"a name"), (b"accept", b"*/*")]
    asyncio.run(PutAgain(look)({"type": "http", "path": "/", "headers": headers}, None, _drop))  # type: ignore[arg-type]
    assert seen == [(b"accept", b"*/*")]


async def _drop(_: Message) -> None:
    pass
