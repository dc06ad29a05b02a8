"""How old a film in quarantine is, where the clock was wrong when it was kept."""

from __future__ import annotations

import pytest

from app.quarantine.quarantine import _Held, dated

NOW = 1000.0


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([9e9, 2, 3], [2, 2, 3]),
        ([1, 9e9, 9e9, 4, 9e9], [1, 4, 4, 4, NOW]),
        ([5, 9e9, 1, 8], [5, 1, 1, 8]),  # a clock that was set back is left as it is
        ([9e9], [NOW]),
        ([], []),
    ],
)
def test_a_film_dated_in_the_future_is_as_old_as_the_next(times: list[float], expected: list[float]) -> None:
    """In the order in which they were kept, which is not that of the mapping."""
    films = {str(n): _Held(n, at, "pending", 1) for n, at in reversed(list(enumerate(times)))}
    made = dated(films, NOW)
    assert [made[str(n)].kept_at for n in range(len(times))] == expected
    assert list(made) == list(films)
