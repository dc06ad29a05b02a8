"""Films of some size in compressed syntaxes, and the processes that decode them, found and struck from outside."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from imagecodecs import jpeg2k_encode
from pydicom.uid import JPEG2000Lossless, RLELossless

from tests.pipeline.films import film, smooth
from tests.support.films import compressed, part10
from tests.support.waiting import eventually

SECONDS = 60.0  # on a machine that others use
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@functools.cache
def small_film() -> bytes:
    """Decoded within milliseconds."""
    frame = jpeg2k_encode(smooth(12), codecformat="j2k", reversible=True, bitspersample=12)
    return part10(compressed(frame, JPEG2000Lossless, film(smooth(12), **WINDOW)))


@functools.cache
def slow_film() -> bytes:
    """Decoded within some hundred milliseconds, so that there is time to strike."""
    pixels = smooth(12, side=1536)
    frame = jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=12)
    return part10(compressed(frame, JPEG2000Lossless, film(pixels, **WINDOW)))


def large_films(count: int) -> list[bytes]:
    """Of 9 million pixels each: a second of CPU time and more to decode."""
    pixels = smooth(12, side=3000)
    frame = jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=12)
    return [part10(compressed(frame, JPEG2000Lossless, film(pixels, **WINDOW))) for _ in range(count)]


@functools.cache
def film_of_runs() -> bytes:
    """RLE of a megabyte and 36 million pixels, which need some 500 MiB when decoded: runs of 128."""
    side = 47 * 128
    runs = np.arange(side * side // 128)
    planes = [
        np.stack([np.full(runs.size, 0x81), byte % 16], axis=1).astype(np.uint8).tobytes()
        for byte in (runs, runs // 16)
    ]
    table = np.array([2, 64, 64 + len(planes[0]), *[0] * 13], "<u4").tobytes()
    like = film(smooth(12), **WINDOW)
    like.Rows = like.Columns = side
    return part10(compressed(table + b"".join(planes), RLELossless, like))


@contextmanager
def every_core_taken(times: int = 1) -> Iterator[None]:
    """A load beside the block: `times` processes that never rest for each core that this one may use."""
    spin = [sys.executable, "-c", "while True: pass"]
    loads = [subprocess.Popen(spin) for _ in range(times * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
        for load in loads:
            load.wait()


def children_of(pid: int) -> list[int]:
    """Live processes that `pid` forked."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return found


def descendants_of(pid: int) -> list[int]:
    return [one for child in children_of(pid) for one in (child, *descendants_of(child))]


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def fork_server_of(pid: int) -> int:
    """The process of a service that forks decoders."""
    (found,) = [
        one
        for one in children_of(pid)
        if re.search(rb"app\.decoding\.fork_server|decoding\.misbehaving", Path(f"/proc/{one}/cmdline").read_bytes())
    ]
    return found


def at_work(pid: int) -> bool:
    """Whether it is past its first steps: only then does it end with the fork server, whatever stops it, and is limited."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(re.search(r"^Max data size +\d", limits, re.MULTILINE))


def await_child(fork_server: int, other_than: frozenset[int] = frozenset()) -> int:
    """A process that decodes a film at this moment."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := [one for one in children_of(fork_server) if one not in other_than and at_work(one)]:
            return found[0]
        time.sleep(0.001)
    raise AssertionError("no film is decoded in a process")


def await_end(pids: list[int]) -> None:
    eventually(lambda: not any(map(alive, pids)), SECONDS, lambda: f"{[pid for pid in pids if alive(pid)]} live on")


@contextmanager
def struck(fork_server: int, number: signal.Signals, times: int) -> Iterator[list[int]]:
    """Send a signal to each of the next `times` processes; gives their ids."""
    pids: list[int] = []

    def strike() -> None:
        for _ in range(times):
            pid = await_child(fork_server, frozenset(pids))
            pids.append(pid)
            os.kill(pid, number)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield pids
    finally:
        thread.join()


@contextmanager
def each_struck(fork_server: int, number: signal.Signals) -> Iterator[None]:
    """Send a signal to every process that decodes a film within the block, once each."""
    stop = threading.Event()

    def strike() -> None:
        struck: set[int] = set()
        while not stop.wait(0.001):
            for pid in children_of(fork_server):
                if pid not in struck and at_work(pid):
                    struck.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
