"""Which film is decoded where, and what becomes of one that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from app.decoding.decode_pool import DecodingUnavailable
from app.decoding.decoders import Decoders, place_of
from app.metrics import Metrics
from app.pipeline import decode
from app.pipeline.dicom.part10 import PEEKED_BYTES
from app.pipeline.errors import MalformedImage
from app.settings import Settings
from tests.pipeline.films import film
from tests.pipeline.mutants import valid_films
from tests.support.films import jpeg, part10, png

from .processes import SECONDS, await_child, await_end, fork_server_of, slow_film, small_film

UNCOMPRESSED = {"explicit", "implicit", "big-endian", "undefined-lengths"}


def test_compressed_films_are_decoded_in_processes_and_others_in_threads(tmp_path: Path) -> None:
    films = valid_films(tmp_path)
    assert {name for name, data in films.items() if place_of(data) == "thread"} == UNCOMPRESSED
    assert {place_of(png()), place_of(jpeg())} == {"thread"}
    with pytest.raises(MalformedImage, match="neither PNG, JPEG nor DICOM"):
        place_of(b"GIF89a")


def saved(form: str, side: int, *, even: bool = False, **options: Any) -> bytes:
    """Waves that compress as no film does; `even`: all rows the same."""
    rows, columns = np.mgrid[:side, :side]
    waves = (np.sin(columns / 90) * (1 if even else np.cos(rows / 70)) + 1) * 127
    stream = io.BytesIO()
    Image.fromarray(waves.astype(np.uint8)).save(stream, form, **options)
    return stream.getvalue()


def test_many_pixels_in_few_bytes_are_decoded_where_their_cost_is_bounded() -> None:
    scans = saved("JPEG", 1500, progressive=True, quality=30)
    last = scans.rindex(b"\xff\xda")
    head = scans[last : last + 2 + int.from_bytes(scans[last + 2 : last + 4], "big")]
    large = {"png": saved("PNG", 3000, even=True), "jpeg": saved("JPEG", 3000, quality=30)}
    assert {place_of(data) for data in (*large.values(), scans[:-2] + head * 50 + scans[-2:])} == {"process"}
    usual = np.random.default_rng(1).normal(128, 20, (2500, 2048)).clip(0, 255).astype(np.uint8)
    for form in ("PNG", "JPEG"):  # noise of a detector: what makes films the size that they are
        stream = io.BytesIO()
        Image.fromarray(usual).save(stream, form)
        assert place_of(stream.getvalue()) == "thread"

    async def scenario() -> None:
        async with running() as bench:
            for kind, data in large.items():
                image, _ = await bench.decode(data)
                assert image.source_kind == kind
                alone = decode(data)
                np.testing.assert_array_equal(image.pixels, alone.pixels)
                assert image.notes == alone.notes
            assert (bench.decoded("process"), bench.decoded("thread")) == (2, 0)
        async with running(decode_seconds=1, decode_memory_mb=128) as bench:
            with pytest.raises(MalformedImage, match=r"the PNG file needs more than 128 MiB.*fewer pixels"):
                await bench.decode(large["png"])

    asyncio.run(scenario())


def with_long_meta_header(syntax_at_its_end: str) -> bytes:
    """Explicit VR Little Endian is said at first; what is said last holds, beyond what is looked into."""
    dataset = film()
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = bytes(PEEKED_BYTES)
    data = part10(dataset)
    end = 144 + int.from_bytes(data[140:144], "little")
    value = syntax_at_its_end.encode() + b"\0" * (len(syntax_at_its_end) % 2)
    return data[:end] + b"\x02\0\x10\0UI" + len(value).to_bytes(2, "little") + value + data[end:]


DOUBTFUL: dict[str, Callable[[], bytes]] = {
    "no meta header": lambda: bytes(128) + b"DICM",
    "cut within the meta header": lambda: part10(film())[:200],
    "nothing after the meta header": lambda: part10(film())[: 144 + int.from_bytes(part10(film())[140:144], "little")],
    "a second transfer syntax, far behind": lambda: with_long_meta_header(JPEG2000Lossless),
    "an unknown transfer syntax": lambda: part10(film()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_not_surely_uncompressed_goes_to_a_process(name: str) -> None:
    assert place_of(DOUBTFUL[name]()) == "process"


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.metrics = Metrics()
        self.took: list[float] = []
        self.decoders = Decoders(Settings(**settings), self.metrics, self.took.append)

    async def decode(self, data: bytes, seconds: float = SECONDS) -> Any:
        return await self.decoders.decode(data, time.monotonic() + seconds)

    def submit(self, data: bytes, seconds: float = SECONDS) -> asyncio.Task[Any]:
        return asyncio.create_task(self.decode(data, seconds))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def decoded(self, place: str) -> float:
        return self.value("cxr_decode_seconds_count", place=place)

    def waiting(self, place: str) -> float:
        return self.value("cxr_queue_films", queue=f"decode-{place}")


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(**settings)
    await asyncio.to_thread(bench.decoders.start)
    try:
        yield bench
    finally:
        await asyncio.to_thread(bench.decoders.stop)


def test_a_film_and_its_tensor_come_from_either_place_and_are_measured() -> None:
    async def scenario() -> None:
        async with running() as bench:
            image, tensor = await bench.decode(small_film())
            raw, other = await bench.decode(part10(film()))
            assert image.pixels.shape == raw.pixels.shape == (256, 256)
            assert tensor.shape == other.shape == (1, 1, 224, 224)
            assert np.isfinite(tensor.numpy()).all()
            assert (bench.decoded("process"), bench.decoded("thread")) == (1, 1)
            assert bench.value("cxr_stage_seconds_count", stage="decode") == 2
            assert bench.value("cxr_stage_seconds_count", stage="preprocess") == 2
            least = [bench.value("cxr_decode_seconds_sum", place=place) / 2 for place in ("process", "thread")]
            assert [took >= one for took, one in zip(bench.took, least, strict=True)] == [True, True]

    asyncio.run(scenario())


def test_a_film_that_is_cancelled_while_it_waits_is_dropped_and_the_one_before_it_is_not() -> None:
    async def scenario() -> None:
        async with running(decode_processes=1) as bench:
            first = bench.submit(slow_film())
            child = await asyncio.to_thread(await_child, fork_server_of(os.getpid()))
            os.kill(child, signal.SIGSTOP)
            data = small_film()
            ours = sys.getrefcount(data)
            second = bench.submit(data)
            await asyncio.sleep(0)
            assert bench.waiting("process") == 1
            second.cancel()
            await asyncio.wait([second])
            assert second.cancelled()
            assert bench.waiting("process") == 0
            del second
            gc.collect()
            assert sys.getrefcount(data) == ours  # clients that hang up leave no bytes in the queue
            os.kill(child, signal.SIGCONT)
            image, _ = await asyncio.wait_for(first, SECONDS)
            assert image.pixels.shape == (1536, 1536)
            assert bench.decoded("process") == 1

    asyncio.run(scenario())


def test_a_film_that_is_cancelled_while_it_is_decoded_gives_its_place_back() -> None:
    async def scenario() -> None:
        async with running(decode_processes=1) as bench:
            first = bench.submit(slow_film())
            await asyncio.to_thread(await_child, fork_server_of(os.getpid()))
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            image, _ = await asyncio.wait_for(bench.decode(small_film()), SECONDS)
            assert image.pixels.shape == (256, 256)
            assert bench.waiting("process") == 0

    asyncio.run(scenario())


def test_a_starved_decoder_is_counted_and_holds_no_raw_film_up() -> None:
    async def scenario() -> None:
        async with running(decode_processes=1) as bench:
            starved = bench.submit(slow_film(), 1.0)
            child = await asyncio.to_thread(await_child, fork_server_of(os.getpid()))
            os.kill(child, signal.SIGSTOP)
            await asyncio.wait_for(bench.decode(part10(film())), SECONDS)
            assert not starved.done()
            with pytest.raises(DecodingUnavailable, match="too busy"):
                await asyncio.wait_for(starved, SECONDS)
            await asyncio.to_thread(await_end, [child])
            assert (await bench.decode(small_film()))[0].pixels.shape == (256, 256)
            assert bench.value("cxr_decode_process_failures_total", reason="starved") == 1

    asyncio.run(scenario())


def test_a_film_whose_turn_does_not_come_in_time_may_come_again() -> None:
    async def scenario() -> None:
        async with running(decode_processes=1) as bench:
            first = bench.submit(slow_film())
            child = await asyncio.to_thread(await_child, fork_server_of(os.getpid()))
            os.kill(child, signal.SIGSTOP)
            with pytest.raises(DecodingUnavailable, match="too busy"):
                await asyncio.wait_for(bench.decode(small_film(), 0.5), SECONDS)
            assert bench.waiting("process") == 0
            os.kill(child, signal.SIGCONT)
            await asyncio.wait_for(first, SECONDS)
            assert bench.decoded("process") == 1

    asyncio.run(scenario())


def test_the_setting_is_of_cpu_time_in_whole_seconds() -> None:
    async def scenario() -> None:
        async with running(decode_seconds=0.5) as bench:
            child = asyncio.to_thread(await_child, fork_server_of(os.getpid()))
            decoding = bench.submit(slow_film())
            limits = Path(f"/proc/{await child}/limits").read_text()
            assert re.search(r"^Max cpu time +1 +2 +seconds", limits, re.MULTILINE)
            await decoding

    asyncio.run(scenario())
