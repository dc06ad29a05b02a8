"""An Orthanc, or what stands before it, that sends too much, too slowly, twice, or in a circle; and a clock that was set back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.forward import Aside, Books, answers
from app.forward import orthanc as orthanc_module
from app.forward import retry as retry_module
from app.forward.answers import open_client
from app.forward.aside import FilmSetAside
from app.forward.errors import Fault, ForwardError, Misconfigured, Passing, TooLarge
from app.forward.orthanc import Orthanc
from app.forward.reconcile import GAP_SECONDS, MOST_WITHOUT_NEWS
from app.forward.service import Service
from tests.forward.test_set_aside import REPORT, Bench, Pacs

DAY = 86_400.0
Say = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def ask(say: Say, what: Callable[[Orthanc], Awaitable[object]], most_film_bytes: int = 2**20) -> object:
    """What a question comes to at an Orthanc that says this to each request; over a socket."""
    return ask_by(say, lambda client: what(Orthanc(client, most_film_bytes)))


def ask_by(say: Say, what: Callable[[httpx.AsyncClient], Awaitable[object]]) -> object:
    """The same of any server."""

    async def main() -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await say(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, open_client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            try:
                return await what(client)
            except ForwardError as error:
                return error

    return asyncio.run(main())


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def said(body: object) -> Say:
    async def say(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(json.dumps(body).encode() if not isinstance(body, bytes) else body))

    return say


def changes(*numbers: int, done: bool = False) -> Say:
    found = [{"Seq": n, "ChangeType": "NewInstance", "ID": f"film-{n}", "Date": "now"} for n in numbers]
    return said({"Changes": found, "Done": done, "Last": numbers[-1] if numbers else 9})


async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def trickle(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Patience: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


def test_a_film_without_an_end_is_not_fetched() -> None:
    """Somebody may store four gigabytes as a CR: they must not fill the forwarder's memory, at each start anew."""
    assert isinstance(ask(endless, lambda orthanc: orthanc.film("film")), TooLarge)
    assert ask(said(bytes(2**20)), lambda orthanc: orthanc.film("film")) == bytes(2**20)
    assert isinstance(ask(said(bytes(2**20 + 1)), lambda orthanc: orthanc.film("film")), TooLarge)


@pytest.mark.parametrize(
    "what",
    [lambda o: o.changes(3), lambda o: o.instances(0), lambda o: o.last_change(), lambda o: o.reports("1.2")],
    ids=["changes", "instances", "last change", "reports"],
)
def test_a_list_without_an_end_is_not_orthancs(what: Callable[[Orthanc], Awaitable[object]]) -> None:
    assert isinstance(ask(endless, what), Fault)


def test_a_trickle_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read is in time, and the answer never is."""
    monkeypatch.setattr(answers, "WHOLE_SECONDS", 0.3)
    began = time.monotonic()
    assert isinstance(ask(trickle, lambda orthanc: orthanc.film("film")), Fault)
    assert isinstance(ask(trickle, lambda orthanc: orthanc.changes(0)), Passing)
    assert isinstance(ask_by(trickle, lambda client: Service(client).score(b"film")), Fault)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("what", [lambda o: o.changes(3), lambda o: o.instances(0), lambda o: o.reports("1.2")])
def test_what_is_nested_too_deeply_does_not_end_it(what: Callable[[Orthanc], Awaitable[object]]) -> None:
    assert isinstance(ask(said(b"[" * 200_000), what), Fault)


def test_a_proxy_that_drops_the_query_is_told_of() -> None:
    """It gives the first changes, whatever is asked for: they would be asked for without a pause and without an end."""
    for numbers in ((1, 2, 3), (3, 4), (4, 4), (5, 4)):
        made = ask(changes(*numbers), lambda orthanc: orthanc.changes(3))
        assert isinstance(made, Misconfigured), numbers
        assert "proxy" in str(made)
    page = ask(changes(4, 7), lambda orthanc: orthanc.changes(3))
    assert [change.sequence for change in page.changes] == [4, 7]  # type: ignore[attr-defined]


def test_no_changes_are_the_end_whatever_is_said() -> None:
    page = ask(changes(), lambda orthanc: orthanc.changes(9))
    assert page.done  # type: ignore[attr-defined]


class Looping(Pacs):
    """Lists the same instances wherever one asks it to begin."""

    async def instances(self, offset: int) -> list[str]:
        self.listings = getattr(self, "listings", 0) + 1
        return self.films[:2]


def test_an_orthanc_that_lists_in_a_circle_is_told_of(tmp_path: Path) -> None:
    pacs = Looping(["one", "two", "three"], lambda *_: REPORT)
    with pytest.raises(BaseExceptionGroup) as raised:
        Bench(tmp_path, pacs).run(lambda _: False)
    assert raised.group_contains(Misconfigured, match="again and again")
    assert pacs.listings == MOST_WITHOUT_NEWS + 1


class Doubling(Pacs):
    """Lists each instance twice, as where others are deleted meanwhile."""

    async def instances(self, offset: int) -> list[str]:
        return [name for name in self.films for _ in "ab"][offset : offset + 2]


def test_an_instance_that_is_listed_twice_is_forwarded_once(tmp_path: Path) -> None:
    names = [f"film {n}" for n in range(2 * MOST_WITHOUT_NEWS)]
    pacs = Doubling(names, lambda *_: REPORT)
    bench = Bench(tmp_path, pacs, in_flight=4)
    with closing(Books(bench.state.with_name(bench.state.name + ".done"))) as kept:
        bench.run(lambda _: len(pacs.reports) == len(names) and not kept.is_due(time.time(), 7 * 3600))
    assert sorted(pacs.asked) == sorted(names)


class Vast(Pacs):
    async def film(self, instance: str) -> bytes | None:
        if instance == "vast":
            raise TooLarge("the answer from Orthanc has over 268,435,456 bytes")
        return await super().film(instance)


def test_a_film_that_is_too_large_is_given_up_at_once(tmp_path: Path) -> None:
    pacs = Vast(["vast", "good"], lambda *_: REPORT)
    bench = Bench(tmp_path, pacs)
    bench.run(lambda aside: bool(pacs.reports) and aside.count() == (0, 1))
    (film,) = bench.listed
    assert (film.instance, film.status, film.reason, film.tries) == ("vast", 413, "body-too-large", 1)
    assert pacs.asked == ["good"]
    assert bench.value("instances_total", outcome="refused") == 1


def test_a_clock_that_was_set_back_by_a_day_delays_no_listing(tmp_path: Path) -> None:
    now = time.time()
    with closing(Books(tmp_path / "books")) as kept:
        kept.begin(now + 6 * 3600)
        assert not kept.is_due(now, 6 * 3600)
        assert not kept.is_due(now + 5 * 3600, 6 * 3600)
        assert kept.is_due(now - DAY, 6 * 3600)
        assert kept.is_due(now + 6 * 3600, 6 * 3600)
    assert GAP_SECONDS < 6 * 3600


def test_nor_the_next_try_of_a_film(tmp_path: Path) -> None:
    now = time.time()
    with closing(Aside(tmp_path / "films", make=True)) as aside:
        aside.put(FilmSetAside("one", 1, now, now, 1, 503, "orthanc", "none", now + 3600))
        aside.put(FilmSetAside("given up", 2, now, now, 1, 400, "malformed-image", "none", None))
        assert aside.due(now + 1) == []
        assert [film.instance for film in aside.due(now - DAY)] == ["one"]
        assert [film.instance for film in aside.due(now + 3600)] == ["one"]


def test_a_limit_of_films_is_over_the_services_own() -> None:
    from app.settings import Settings

    assert Settings().max_body_bytes < orthanc_module.MOST_FILM_BYTES
    assert retry_module.MOST_SECONDS < 3600
