"""Films decoded in processes: the same pixels, the same errors; and what crashes, fills or hangs a decoder harms itself alone."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode
from pydicom.uid import JPEG2000Lossless

from app.decoding.decode_pool import DecodePool, DecodingUnavailable, Failure
from app.decoding.exchange import NoAnswer, exchange
from app.decoding.fork_server import DecodeOptions
from app.decoding.machine import Machine
from app.pipeline import decode
from app.pipeline.dicom.rules import DEFAULT_RULES, HeaderRules
from app.pipeline.errors import InputError, MalformedImage, UnsuitableImage
from app.pipeline.exposed_field import ExposedField
from app.pipeline.image import DecodedImage
from app.settings import Settings
from tests.pipeline.films import film
from tests.pipeline.mutants import valid_films
from tests.support.films import compressed, part10

from .processes import (
    SECONDS,
    alive,
    await_child,
    await_end,
    children_of,
    every_core_taken,
    film_of_runs,
    fork_server_of,
    slow_film,
    small_film,
    struck,
)

MAX_PIXELS, MEMORY_MB = Settings().max_pixels, Settings().decode_memory_mb


class Told(Machine):
    """A machine that is idle, or busy, whatever else runs beside the tests."""

    def __init__(self, *idle: bool) -> None:
        super().__init__()
        self.idle = list(idle)
        self.asked = 0

    def is_idle(self, memory_kills: int) -> bool:
        """As told, in turn; as told last after that."""
        self.asked += 1
        return self.idle.pop(0) if len(self.idle) > 1 else self.idle[0]


class Watched(DecodePool):
    """A pool that keeps what failed."""

    def __init__(
        self,
        memory_mb: int = Settings().decode_memory_mb,
        max_pixels: int = MAX_PIXELS,
        cpu_seconds: int = 10,
        rules: HeaderRules = DEFAULT_RULES,
        machine: Machine | None = None,
        program: str = DecodePool.program,
        sandbox: str = "try",
    ) -> None:
        self.failures: list[Failure] = []
        self.program = program
        options = DecodeOptions(max_pixels, rules, memory_mb * 2**20, cpu_seconds, sandbox)
        super().__init__(options, self.failures.append, machine or Told(True))

    def decode(self, data: bytes, until: float | None = None) -> DecodedImage:
        """Within some seconds."""
        return super().decode(data, time.monotonic() + SECONDS if until is None else until)

    @property
    def fork_server(self) -> int:
        return fork_server_of(os.getpid())


@contextmanager
def running(**options: Any) -> Iterator[Watched]:
    pool = Watched(**options)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def misbehaving(**options: Any) -> AbstractContextManager[Watched]:
    """Films are words; see ``misbehaving``."""
    return running(program="tests.decoding.misbehaving", **options)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return valid_films(tmp_path_factory.mktemp("films"))


def test_every_syntax_is_decoded_as_in_this_process(films: dict[str, bytes]) -> None:
    with running() as pool:
        for name, data in films.items():
            given, expected = pool.decode(data), decode(data)
            np.testing.assert_array_equal(given.pixels, expected.pixels, err_msg=name)
            assert given.pixels.dtype == np.float32
            assert (given.source_kind, given.notes, given.missing_tags) == ("dicom", expected.notes, ())
        assert pool.failures == []


def test_what_a_film_lacks_is_told(films: dict[str, bytes]) -> None:
    lacking = films["jpeg-ls"].replace(b"CS\x02\x00PA", b"CS\x02\x00  ")
    with running() as pool:
        assert pool.decode(lacking).missing_tags == decode(lacking).missing_tags == ("ViewPosition",)


def test_a_sites_header_rules_hold_in_a_process(films: dict[str, bytes]) -> None:
    theirs = (
        films["jpeg-ls"].replace(b"CS\x06\x00CHEST ", b"CS\x06\x00TRXTRX").replace(b"CS\x02\x00DX", b"CS\x02\x00RF")
    )
    with running(rules=HeaderRules(frozenset({"CR", "DX", "RF"}), ("chest+TRXTRX",))) as pool:
        assert pool.decode(theirs).missing_tags == ()
    with running(rules=HeaderRules(frozenset({"CR", "DX", "RF"}))) as pool, pytest.raises(UnsuitableImage) as caught:
        pool.decode(theirs)
    assert "BodyPartExamined (0018,0015)" in str(caught.value)


REFUSED = {
    "damaged": lambda film: film.replace(b"\xff\xd9", b"\xff\xff"),
    "unsuitable": lambda film: film.replace(b"CS\x02\x00DX", b"CS\x02\x00MG"),
    "unsupported": lambda film: film.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.99"),
    "no end of the header": lambda film: film[:200],
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_come_back_as_themselves(films: dict[str, bytes], name: str) -> None:
    data = REFUSED[name](films["jpeg-ls"])
    with pytest.raises(InputError) as expected:
        decode(data)
    with running() as pool:
        with pytest.raises(type(expected.value)) as given:
            pool.decode(data)
        assert str(given.value) == str(expected.value)
        assert pool.failures == []


def test_a_film_over_the_pixel_limit(films: dict[str, bytes]) -> None:
    with running(max_pixels=60_000) as pool, pytest.raises(InputError, match="the limit is 60,000"):
        pool.decode(films["rle"])


def test_after_one_crash_the_film_is_decoded_again() -> None:
    with running() as pool:
        with struck(pool.fork_server, signal.SIGSEGV, times=1):
            image = pool.decode(slow_film())
        np.testing.assert_array_equal(image.pixels, decode(slow_film()).pixels)
        assert pool.failures == ["crash"]


def test_a_film_that_crashes_twice_on_an_idle_machine_is_refused_and_its_neighbour_is_not() -> None:
    with running() as pool, ThreadPoolExecutor(1) as threads:
        with struck(pool.fork_server, signal.SIGKILL, times=2):
            victim = threads.submit(pool.decode, slow_film())
            error = victim.exception(SECONDS)
        assert isinstance(error, MalformedImage)
        assert "its decoder crashed on an idle machine, twice" in str(error)
        assert pool.failures == ["crash", "crash"]
        assert pool.decode(small_film()).pixels.shape == (256, 256)


@pytest.mark.parametrize("film", [b"abort", b"exit", b"kill", b"abort 0.2"])
def test_a_film_that_kills_every_decoder_is_refused_after_two(film: bytes) -> None:
    with misbehaving() as pool:
        with pytest.raises(MalformedImage, match="twice"):
            pool.decode(film)
        assert pool.failures == ["crash", "crash"]
        assert pool.decode(b"fine").pixels.shape == (2, 3)


IDLE, BUSY = True, False
#: Whether the machine is found idle after each death, then how many deaths there are and whether the film is refused for good.
DEATHS: dict[str, tuple[list[bool], int, bool]] = {
    "idle": ([IDLE, IDLE], 2, True),
    "busy": ([BUSY, BUSY], 2, False),
    "busy at the second": ([IDLE, BUSY], 2, False),
    "busy at the first": ([BUSY, IDLE, IDLE], 3, True),
    "busy at the first and the last": ([BUSY, IDLE, BUSY], 3, False),
}


@pytest.mark.parametrize("name", DEATHS)
def test_only_two_deaths_in_a_row_on_an_idle_machine_are_the_films_doing(name: str) -> None:
    found, deaths, refused = DEATHS[name]
    machine = Told(*found)
    with misbehaving(machine=machine) as pool:
        with pytest.raises(MalformedImage if refused else DecodingUnavailable):
            pool.decode(b"abort")
        assert pool.failures == ["crash"] * deaths
        assert machine.asked == len(found)


def test_under_a_load_that_takes_every_core_no_crash_refuses_a_film() -> None:
    with misbehaving(machine=Machine()) as pool, every_core_taken():
        for film in (b"abort", b"kill"):
            with pytest.raises(DecodingUnavailable, match="busy or short of memory"):
                pool.decode(film)


def test_a_death_beside_another_film_does_not_count() -> None:
    """The second attempt waits for the other film, and has the machine alone."""
    machine = Told(True)
    with misbehaving(machine=machine) as pool, ThreadPoolExecutor(2) as threads:
        beside = threads.submit(pool.decode, b"stop")
        child = await_child(pool.fork_server)
        victim = threads.submit(pool.decode, b"abort")
        while pool.failures != ["crash"]:
            assert not victim.done()
            time.sleep(0.01)
        time.sleep(0.2)
        assert pool.failures == ["crash"]  # it waits
        os.kill(child, signal.SIGCONT)
        assert isinstance(victim.exception(SECONDS), MalformedImage)
        assert beside.result(SECONDS).pixels.shape == (2, 3)
        assert pool.failures == ["crash"] * 3
        assert machine.asked == 2  # not after the first death


def test_a_film_whose_decoder_died_and_that_cannot_be_alone_in_time_may_come_again() -> None:
    with misbehaving() as pool, ThreadPoolExecutor(1) as threads:
        beside = threads.submit(pool.decode, b"stop")
        child = await_child(pool.fork_server)
        with pytest.raises(DecodingUnavailable, match="too busy"):
            pool.decode(b"abort", time.monotonic() + 4)
        assert pool.failures == ["crash"]
        os.kill(child, signal.SIGCONT)
        assert beside.result(SECONDS).pixels.shape == (2, 3)
        assert pool.decode(b"fine").pixels.shape == (2, 3)  # the turn that was given up is nobody's


def test_a_film_that_spends_its_cpu_time_is_refused() -> None:
    """Also where it ignores the kernel's first signal."""
    with misbehaving(cpu_seconds=1) as pool:
        with pytest.raises(MalformedImage, match="not decoded within 1 s of CPU time"):
            pool.decode(b"spin")
        assert pool.failures == ["cpu"]  # and no second attempt


def test_a_film_over_the_first_cpu_limit_is_refused() -> None:
    with misbehaving(cpu_seconds=1) as pool:
        with pytest.raises(MalformedImage, match="not decoded within 1 s of CPU time"):
            pool.decode(b"fine 60")
        assert pool.failures == ["cpu"]


def test_a_film_that_waits_for_longer_than_its_cpu_limit_is_decoded() -> None:
    with running(cpu_seconds=2) as pool, ThreadPoolExecutor(1) as threads:
        with struck(pool.fork_server, signal.SIGSTOP, times=1) as pids:
            film = threads.submit(pool.decode, slow_film())
        with pytest.raises(TimeoutError):
            film.result(2.5)
        os.kill(pids[0], signal.SIGCONT)
        assert film.result(SECONDS).pixels.shape == (1536, 1536)
        assert pool.failures == []


def test_a_film_that_is_not_decoded_in_time_may_come_again_and_its_neighbours_are_answered() -> None:
    with running() as pool, ThreadPoolExecutor(1) as threads:
        with struck(pool.fork_server, signal.SIGSTOP, times=1) as pids:
            victim = threads.submit(pool.decode, slow_film(), time.monotonic() + 4)
        for _ in range(3):
            assert pool.decode(small_film()).pixels.shape == (256, 256)
        assert not victim.done()
        error = victim.exception(SECONDS)
        assert isinstance(error, DecodingUnavailable)
        assert "too busy" in str(error)
        assert pool.failures == ["starved"]  # and no second attempt
        assert not alive(pids[0])


def deflated_bomb(film: bytes) -> bytes:
    """64 MiB of zeros in a film that is allowed 80 MB: within the limit of the inflater, beyond that of the process."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    meta = film[: 144 + int.from_bytes(film[140:144], "little")]
    return meta + deflater.compress(bytes(64 * 2**20)) + deflater.flush()


@pytest.mark.parametrize("name", ["runs", "deflated"])
def test_a_film_that_needs_too_much_memory_is_refused(films: dict[str, bytes], name: str) -> None:
    bomb = film_of_runs() if name == "runs" else deflated_bomb(films["deflated"])
    assert len(bomb) < 2 * 2**20
    with running(memory_mb=160) as pool:
        with pytest.raises(MalformedImage, match="needs more than 160 MiB of memory"):
            pool.decode(bomb)
        assert pool.failures == ["memory"]
        assert pool.decode(small_film()).pixels.shape == (256, 256)


def test_the_default_memory_is_enough_for_a_film_of_36_million_pixels() -> None:
    with running() as pool:
        assert pool.decode(film_of_runs()).pixels.shape == (6016, 6016)


def test_the_default_cpu_time_is_enough_for_the_largest_noisy_jpeg_2000_film() -> None:
    """Seen on a smaller one, since the cost grows with the pixels."""
    noise = np.random.default_rng(0).integers(0, 2**16, (1024, 1024)).astype(np.uint16)
    frame = jpeg2k_encode(noise, codecformat="j2k", reversible=True, bitspersample=16)
    like = film(noise, WindowCenter=2**15, WindowWidth=2**16)
    like.BitsStored, like.HighBit = 16, 15
    posted = part10(compressed(frame, JPEG2000Lossless, like))
    spent = []
    for _ in range(3):
        began = time.process_time()
        decode(posted)
        spent.append(time.process_time() - began)
    assert min(spent) < Settings().decode_seconds * noise.size / MAX_PIXELS


def test_a_killed_fork_server_is_replaced() -> None:
    with running() as pool:
        first = pool.fork_server
        os.kill(first, signal.SIGKILL)
        assert pool.decode(small_film()).pixels.shape == (256, 256)
        assert pool.fork_server != first
        assert pool.failures == []


def test_a_fork_server_killed_while_it_has_a_film() -> None:
    with running() as pool, ThreadPoolExecutor(1) as threads:
        with struck(pool.fork_server, signal.SIGSTOP, times=1) as pids:
            future = threads.submit(pool.decode, slow_film())
        os.kill(pool.fork_server, signal.SIGKILL)
        assert future.result(SECONDS).pixels.shape == (1536, 1536)
        assert not alive(pids[0])
        assert pool.failures == ["crash"]


def test_nothing_is_left_behind() -> None:
    """Neither descriptors, nor shared memory, nor processes, after good films, bad ones, and kills."""

    def held() -> tuple[int, int, list[int]]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/dev/shm")), children_of(os.getpid())

    before = held()
    with running() as pool:
        pool.decode(small_film())
        within = held()
        fork_server = pool.fork_server
        for _ in range(5):
            pool.decode(small_film())
            with pytest.raises(MalformedImage):
                pool.decode(small_film().replace(b"\xff\xd9", b"\xff\xff"))
        for number in (signal.SIGSEGV, signal.SIGSTOP):
            stopped = number == signal.SIGSTOP
            expected = DecodingUnavailable if stopped else MalformedImage
            with struck(fork_server, number, times=1 if stopped else 2), pytest.raises(expected):
                pool.decode(slow_film(), time.monotonic() + (2 if stopped else SECONDS))
        assert held() == within
        assert children_of(fork_server) == []
    assert held() == before
    await_end([fork_server])


# What a decoder that was taken over might say

FIELD = ExposedField.whole(2, 3).as_json()
IMAGE = {
    "field": FIELD,
    "notes": ["a note"],
    "missing_tags": ["ViewPosition", "PatientName"],
    "presentation": "a window",
}
SHADES = np.arange(6, dtype=np.float32)


def answered(header: object, pixels: bytes = SHADES.tobytes(), max_pixels: int = 1000) -> DecodedImage:
    """What the service makes of a process that says this, whatever it is sent."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(len(encoded).to_bytes(4, "little") + encoded + pixels)
        theirs.shutdown(socket.SHUT_WR)
        return exchange(ours, b"a film", time.monotonic() + SECONDS, max_pixels)


UNSOUND: dict[str, object] = {
    "no JSON": b"\x80\x04",
    "a list": [],
    "nested without end": b"[" * 60_000,
    "a header without end": b" " * 100_000,
    "an error that is not the pipeline's": {"error": "SystemExit", "message": ""},
    "more pixels than it sends": {**IMAGE, "field": ExposedField.whole(2, 4).as_json()},
    "an endless size": {**IMAGE, "field": {**FIELD, "rows": math.inf}},
    "a size that is no number": {**IMAGE, "field": {**FIELD, "rows": math.nan}},
    "a size of a fraction": {**IMAGE, "field": {**FIELD, "rows": 2.5}},
    "a size in words": {**IMAGE, "field": {**FIELD, "rows": "2"}},
    "an endless edge": {**IMAGE, "field": {**FIELD, "left": -math.inf}},
    "endless outlines": {**IMAGE, "field": {**FIELD, "outlines": [[[0, 0], [1, 1], [10**400, 0]]]}},
    "a negative size": {**IMAGE, "field": {**FIELD, "rows": -2}},
    "over the limit": {**IMAGE, "field": ExposedField.whole(100, 100).as_json()},
    "no field": {**IMAGE, "field": [2, 3]},
    "a field outside the picture": {**IMAGE, "field": {**FIELD, "right": 4}},
    "no notes": {**IMAGE, "notes": None},
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_answer_is_no_answer(name: str) -> None:
    with pytest.raises(NoAnswer):
        answered(UNSOUND[name])


def test_what_a_decoder_says_of_the_presentation_is_short_and_plain() -> None:
    """It goes into the record and the report, and the decoder may have been taken over."""
    hostile = {**IMAGE, "presentation": "a window\0\n\ud800\u00e9" + "x" * 10_000}
    assert answered(hostile).presentation == "a window" + "x" * 488


def test_a_sound_answer_names_no_other_tags_than_are_expected() -> None:
    image = answered(IMAGE)
    np.testing.assert_array_equal(image.pixels, SHADES.reshape(2, 3))
    assert image.field == ExposedField.whole(2, 3)
    assert (image.notes, image.missing_tags) == (("a note",), ("ViewPosition",))


def test_an_answer_that_comes_drop_by_drop_does_not_outlast_the_limit() -> None:
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.01):
            theirs.send(b"\1")

    with ours, theirs:
        theirs.sendall((60_000).to_bytes(4, "little"))
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(TimeoutError):
                exchange(ours, b"a film", time.monotonic() + 0.3, MAX_PIXELS)
        finally:
            stop.set()
            thread.join()
