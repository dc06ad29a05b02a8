"""Near-duplicates of a caller: counted, forgotten in time, and apart from what is the same or unlike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.access.sequences import DESCRIPTOR_SIZE, MOST_FILMS, RADIUS, Sequences, descriptor
from app.pipeline import decode, film_tensor
from offline.data.films import read_films
from tests.support.films import pixels

Image = NDArray[np.float32]


def film(seed: int = 0) -> Image:
    return pixels(seed, 224).astype(np.float32) / 255


def changed(image: Image, seed: int, most: float = 8 / 255) -> Image:
    """As Square would: stripes and a square of `most`, up or down."""
    draw = np.random.default_rng(seed)
    moved = image + draw.choice([-most, most], (1, 224))
    row, column = draw.integers(0, 144, 2)
    moved[row : row + 80, column : column + 80] = image[row : row + 80, column : column + 80] + most
    return np.clip(moved, 0, 1).astype(np.float32)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_descriptor_is_the_blocks_means_less_theirs_and_of_length_1() -> None:
    image = film(3)
    blocks = np.array(
        [[image[16 * i : 16 * i + 16, 16 * j : 16 * j + 16].mean() for j in range(14)] for i in range(14)]
    )
    naive = (blocks - blocks.mean()).ravel()
    assert descriptor(image).shape == (DESCRIPTOR_SIZE,)
    assert np.allclose(descriptor(image), naive / np.linalg.norm(naive), atol=1e-5)
    assert np.allclose(descriptor(0.5 * image + 0.2), descriptor(image), atol=1e-5)
    assert not descriptor(np.full((224, 224), 0.3, np.float32)).any()


def test_the_count_is_that_of_the_naive_distances() -> None:
    images = [changed(film(seed % 7), seed, most) for seed in range(60) for most in (0.01, 0.1)]
    sequences = Sequences(films=1000, seconds=60)
    for number, image in enumerate(images):
        distances = [np.linalg.norm(descriptor(image) - descriptor(other)) for other in images[:number]]
        near = [other for other, distance in enumerate(distances) if distance < RADIUS]
        seen = sequences.see("a", image, str(number))
        assert seen.near == len(near)
        assert not seen.again
        assert seen.nearest_request == (str(int(np.argmin(distances))) if near else "")
    assert 0 < len(near) < len(images) / 2  # some are near and some are not, or nothing was tested


def test_the_same_film_again_is_nothing_new_and_finds_what_it_found() -> None:
    sequences = Sequences(films=100, seconds=60)
    first = film()
    for number in range(20):
        seen = sequences.see("a", first.copy(), str(number))
        assert (seen.near, seen.again) == (0, number > 0)
    for number in range(15):
        assert sequences.see("a", changed(first, number), "").near == number + 1
    assert sequences.see("a", first, "").near == 0


def test_unlike_films_and_other_callers_are_no_neighbours() -> None:
    sequences = Sequences(films=100, seconds=60)
    for seed in range(20):
        assert sequences.see("a", film(seed), "").near == 0
        assert sequences.see("b", changed(film(seed), seed), "").near == 0


def test_films_are_forgotten_after_their_time_and_are_new_then() -> None:
    clock = Clock()
    sequences = Sequences(films=100, seconds=60, clock=clock)
    sequences.see("a", film(), "")
    clock.now += 59
    assert sequences.see("a", changed(film(), 1), "").near == 1
    clock.now += 2
    assert sequences.see("a", changed(film(), 2), "").near == 1
    again = sequences.see("a", film(), "")
    assert (again.near, again.again) == (2, False)


def test_a_callers_oldest_films_give_way() -> None:
    sequences = Sequences(films=20, seconds=60)
    sequences.see("a", film(), "")
    for seed in range(1, 20):
        sequences.see("a", film(seed), "")
    assert sequences.see("a", film(), "").again
    sequences.see("a", film(20), "")  # the first goes
    seen = sequences.see("a", changed(film(), 1), "")
    assert (seen.near, seen.again) == (0, False)
    assert not sequences.see("a", film(), "").again


def test_who_came_last_is_remembered_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_FILMS == 65_536
    monkeypatch.setattr("app.access.sequences.MOST_FILMS", 10)
    sequences = Sequences(films=100, seconds=60)
    for seed in range(5):
        sequences.see("old", film(seed), "")
    for seed in range(6):
        sequences.see("new", film(seed), "")
    assert sequences.see("new", film(0), "").again
    assert not sequences.see("old", film(0), "").again


def test_serial_films_are_none_and_changed_ones_are(shared_data: Path) -> None:
    """The films of the test split, of which no figure of the detector comes."""
    sequences = Sequences(films=4096, seconds=60)
    films = sorted(read_films(shared_data / "chest_xrays"), key=lambda each: (each.patient, each.path.name))
    images = [film_tensor(decode(each.path.read_bytes())).numpy()[0, 0] for each in films if each.split == "test"]
    assert max(sequences.see("pacs", image, "").near for image in images) <= 2
    for number in range(12):
        seen = sequences.see("pacs", changed(images[0], number, 0.05), "")
    assert seen.near >= 10
