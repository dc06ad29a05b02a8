"""The bucket of tokens: a burst, then its rate, each caller's own."""

from __future__ import annotations

import pytest

from app.access import Quota, Quotas


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_and_then_the_rate(clock: Clock) -> None:
    quotas, quota = Quotas(clock), Quota(per_minute=30, burst=4)
    assert [quotas.take("a", quota) for _ in range(4)] == [0] * 4
    assert quotas.take("a", quota) == pytest.approx(2)
    clock.now += 1.5
    assert quotas.take("a", quota) == pytest.approx(0.5)
    clock.now += 0.5
    assert quotas.take("a", quota) == 0
    assert quotas.take("a", quota) == pytest.approx(2)
    clock.now += 3600  # a pause fills it, and no more
    assert [quotas.take("a", quota) for _ in range(5)] == [0] * 4 + [pytest.approx(2)]


def test_over_an_hour_no_more_than_the_rate_and_one_burst(clock: Clock) -> None:
    quotas, quota = Quotas(clock), Quota(per_minute=60, burst=10)
    given = 0
    for _ in range(36_000):
        given += quotas.take("a", quota) == 0
        clock.now += 0.1
    assert 3600 <= given <= 3610


def test_a_neighbour_has_its_own(clock: Clock) -> None:
    quotas, quota = Quotas(clock), Quota(per_minute=1, burst=1)
    assert quotas.take("a", quota) == 0
    assert quotas.take("a", quota) == pytest.approx(60)
    assert quotas.take("b", quota) == 0


def test_what_was_begun_is_owed(clock: Clock) -> None:
    quotas, quota = Quotas(clock), Quota(per_minute=60, burst=2)
    assert quotas.take("a", quota) == 0
    for _ in range(5):
        quotas.owe("a", quota)
    assert quotas.take("a", quota) == pytest.approx(5)


def test_the_caller_of_longest_ago_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.access.quota.MOST_CALLERS", 2)
    quotas, quota = Quotas(clock), Quota(per_minute=1, burst=1)
    for name in ("a", "b", "c"):
        assert quotas.take(name, quota) == 0
    assert [quotas.take(name, quota) > 0 for name in ("b", "c")] == [True, True]
    assert quotas.take("a", quota) == 0
