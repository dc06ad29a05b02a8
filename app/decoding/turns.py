"""Turns at decoding: many films side by side, or one alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turn:
    """A film's time with its decoder; ``had_company`` says whether another film was decoded at some moment of it."""

    def __init__(self) -> None:
        self.had_company = False


class Turns:
    """Gives turns to several threads. A turn alone waits until the running turns have ended, and later turns wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Turn] = set()
        self._ahead = 0  # turns alone that run or wait

    @contextmanager
    def beside_others(self, until: float) -> Iterator[Turn]:
        """A turn that others may share.

        Raises
        ------
        TimeoutError
            It did not begin before `until`, in ``time.monotonic()`` seconds.
        """
        turn = Turn()
        with self._changed:
            self._await(lambda: not self._ahead, until)
            self._running.add(turn)
            if len(self._running) > 1:
                for each in self._running:
                    each.had_company = True
        try:
            yield turn
        finally:
            self._end(turn)

    @contextmanager
    def alone(self, until: float) -> Iterator[Turn]:
        """A turn that nobody shares.

        Raises
        ------
        TimeoutError
            It did not begin before `until`, in ``time.monotonic()`` seconds.
        """
        turn = Turn()
        with self._changed:
            self._ahead += 1
            try:
                self._await(lambda: not self._running, until)
            except TimeoutError:
                self._leave()
                raise
            self._running.add(turn)
        try:
            yield turn
        finally:
            self._end(turn)
            with self._changed:
                self._leave()

    def _await(self, holds: Callable[[], bool], until: float) -> None:
        if not self._changed.wait_for(holds, max(0.0, until - time.monotonic())):
            raise TimeoutError

    def _leave(self) -> None:
        self._ahead -= 1
        self._changed.notify_all()

    def _end(self, turn: Turn) -> None:
        with self._changed:
            self._running.remove(turn)
            self._changed.notify_all()
