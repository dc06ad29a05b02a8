"""When something is tried again, and how long it waits first."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forward import retry as retry_module
from app.forward.errors import Fault, Misconfigured, Passing, Stopping
from app.forward.retry import FAULT_ATTEMPTS, FIRST_SECONDS, MOST_SECONDS, Retry, backoff_seconds
from app.waiting import MOST_RETRY_AFTER_SECONDS, parse_retry_after


class Attempts:
    """Fails with each error in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(attempts: Attempts, stop_after: float | None = None) -> tuple[str, list[float]]:
    """The result, and the waits."""
    waits: list[float] = []

    async def main() -> str:
        stop = asyncio.Event()
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, stop.set)
        return await Retry(stop, lambda _, delay: waits.append(delay))(attempts)

    return asyncio.run(main()), waits


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(retry_module, "MOST_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_what_passes_is_tried_for_ever() -> None:
    attempts = Attempts(*[Passing("down")] * 50)
    assert run(attempts)[0] == "done"
    assert attempts.made == 51


@pytest.mark.usefixtures("quick")
def test_a_fault_is_given_up_and_what_passes_between_does_not_count() -> None:
    faults: list[Exception] = [Fault("broken", "unnamed")] * (FAULT_ATTEMPTS - 1)
    assert run(Attempts(*faults, *[Passing("down")] * 20))[0] == "done"
    attempts = Attempts(*faults, Passing("down"), Fault("broken still", "unnamed"))
    with pytest.raises(Fault, match="broken still"):
        run(attempts)
    assert attempts.made == FAULT_ATTEMPTS + 1


def test_what_needs_a_person_is_not_tried_again() -> None:
    attempts = Attempts(Misconfigured("password"))
    with pytest.raises(Misconfigured):
        run(attempts)
    assert attempts.made == 1


def test_a_stop_ends_the_wait() -> None:
    began = time.monotonic()
    with pytest.raises(Stopping):
        run(Attempts(Passing("down", retry_after=1000)), stop_after=0.05)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("quick")
def test_what_was_asked_for_is_the_least_wait() -> None:
    assert run(Attempts(Passing("busy", retry_after=0.2)))[1] == [0.2]


@given(st.integers(0, 10**6))
def test_waits_double_up_to_a_limit_with_jitter(attempts: int) -> None:
    full = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts, 30))
    assert full / 2 <= backoff_seconds(attempts) <= full


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("", 0), ("2", 2), ("0.5", 0.5), ("-3", 0), ("soon", 0), ("nan", 0), ("inf", 0)),
        ("99999", MOST_RETRY_AFTER_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("10000000000", MOST_RETRY_AFTER_SECONDS),
        ("1e400", 0),
        ("\u00b2", 0),  # a digit to str.isdigit, and no number
        ("Wed, 21 Oct 2999 07:28:00 GMT", MOST_RETRY_AFTER_SECONDS),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 0),
    ],
)
def test_retry_after_in_its_two_forms(text: str, seconds: float) -> None:
    assert parse_retry_after(text) == seconds


def test_retry_after_as_a_date_is_from_now() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < parse_retry_after(soon) <= 60


@given(st.text())
def test_retry_after_is_never_more_than_it_may_be(text: str) -> None:
    seconds = parse_retry_after(text)
    assert math.isfinite(seconds)
    assert 0 <= seconds <= MOST_RETRY_AFTER_SECONDS
