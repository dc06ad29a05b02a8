"""Turns: many beside each other, or one alone, for which others wait."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.decoding.turns import Turns

SECONDS = 20.0


def soon() -> float:
    return time.monotonic() + 0.1


def test_those_beside_each_other_know_it() -> None:
    turns = Turns()
    with turns.beside_others(soon()) as first:
        assert not first.had_company
        with turns.beside_others(soon()) as second:
            assert first.had_company
            assert second.had_company
        with pytest.raises(TimeoutError), turns.alone(soon()):
            pass
    assert first.had_company  # also after it has ended
    with turns.beside_others(soon()) as third:
        assert not third.had_company


def test_whoever_is_alone_is_waited_for() -> None:
    turns = Turns()
    with turns.alone(soon()):
        for other in (turns.alone, turns.beside_others):
            with pytest.raises(TimeoutError), other(soon()):
                pass
    with turns.alone(soon()), pytest.raises(TimeoutError), turns.alone(soon()):
        pass
    with turns.beside_others(soon()):
        pass


def test_those_that_come_later_do_not_keep_it_waiting_for_ever() -> None:
    """A stream of others that always overlap ends, and has its turn again afterwards."""
    turns = Turns()
    stop = threading.Event()

    def others() -> int:
        count = 0
        while not stop.is_set():
            with turns.beside_others(time.monotonic() + SECONDS):
                time.sleep(0.002)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(others) for _ in range(4)]
        try:
            for _ in range(20):
                with turns.alone(time.monotonic() + SECONDS) as turn:
                    time.sleep(0.005)
                assert not turn.had_company
        finally:
            stop.set()
        assert all(stream.result(SECONDS) > 0 for stream in streams)
