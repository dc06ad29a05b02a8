"""Whether a film is one of many near-duplicates that its caller sent, as in an attack by queries.

    tensor -> descriptor (196 numbers) -> how many of the caller's other films lie within RADIUS -> many: a sequence

An attacker who sees only answers sends one film hundreds of times, with a small change each time. These films lie close
together, and films of one patient do not, if they are compared by their pixels in blocks of 16 without brightness and
contrast. In the network's features they lie apart, since an attack moves the features (docs/query-detection.md has the
figures). After Chen, Carlini and Wagner, "Stateful detection of black-box adversarial attacks" (SPAI 2020), who count a
caller's near neighbours in a learnt space, and Li et al., "Blacklight" (USENIX Security 2022), who compare pixels without a
learnt model.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIDE: Final = 224  # pixels of the film as the network sees it
_BLOCKS: Final = 14  # on each side, of 16 x 16 pixels
DESCRIPTOR_SIZE: Final = _BLOCKS * _BLOCKS
#: Distance of descriptors, in [0, 2], under which two films are near-duplicates: the largest, in steps of .05, at which no film
#: of the training and validation splits has more than one among them (``python -m benchmarks.queries`` finds it again).
RADIUS: Final = 0.25
#: Two descriptors of length 1 are within RADIUS if their product is over this.
_LEAST_PRODUCT: Final = 1 - RADIUS**2 / 2
#: Most films remembered of all callers together: 51 MB of descriptors.
MOST_FILMS: Final = 65_536
_AVERAGE: Final = (np.kron(np.eye(_BLOCKS), np.ones(_SIDE // _BLOCKS)) / (_SIDE // _BLOCKS)).astype(np.float32)


class QuerySequence(Exception):
    """The film is not judged: its caller sent too many near-duplicates of it."""


def descriptor(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks, centred and of length 1: brightness, contrast and fine detail do not change them.

    Parameters
    ----------
    image : ndarray, shape (224, 224), float32, in [0, 1]

    Returns
    -------
    ndarray, shape (196,), float32
        Zeros for an image whose blocks are all alike.
    """
    blocks: NDArray[np.float32] = np.linalg.multi_dot([_AVERAGE, image, _AVERAGE.T])
    blocks -= blocks.mean()
    length = float(np.linalg.norm(blocks))
    blocks /= length if length > 1e-6 else np.inf
    return blocks.ravel()


@dataclass(frozen=True)
class Sighting:
    """The neighbours of a film at its arrival.

    Attributes
    ----------
    near : int
        How many other films of its caller are near-duplicates of it.
    again : bool
        The caller sent exactly this film before; `near` is the count of that time.
    nearest_request : str
        Id of the request that brought the nearest of them; empty if there is none.
    """

    near: int
    again: bool
    nearest_request: str


@dataclass
class _Memory:
    """The last films of one caller: a ring buffer that grows to `most` films."""

    most: int
    descriptors: NDArray[np.float32] = field(default_factory=lambda: np.empty((16, DESCRIPTOR_SIZE), np.float32))
    times: NDArray[np.float64] = field(default_factory=lambda: np.empty(16))
    films: list[tuple[bytes, Sighting, str]] = field(default_factory=list)  # digest, sighting, request
    places: dict[bytes, int] = field(default_factory=dict)  # by digest
    next: int = 0

    def add(self, digest: bytes, row: NDArray[np.float32], now: float, sighting: Sighting, request: str) -> int:
        """Remember a film, in the place of the oldest if there is no room; returns 1 if one more is remembered, else 0."""
        place, grown = self.next, int(self.next == len(self.films))
        if grown:
            self.films.append((digest, sighting, request))
            if place == len(self.times):
                self.descriptors = np.concatenate([self.descriptors, np.empty_like(self.descriptors)])
                self.times = np.concatenate([self.times, np.empty_like(self.times)])
        else:
            oldest = self.films[place][0]
            if self.places.get(oldest) == place:
                del self.places[oldest]
            self.films[place] = digest, sighting, request
        self.descriptors[place], self.times[place], self.places[digest] = row, now, place
        self.next = (place + 1) % self.most
        return grown

    def sighting(self, digest: bytes, row: NDArray[np.float32], since: float) -> Sighting:
        place = self.places.get(digest)
        if place is not None and self.times[place] >= since:
            seen = self.films[place][1]
            return Sighting(seen.near, True, seen.nearest_request)
        count = len(self.films)
        products = self.descriptors[:count] @ row
        products[self.times[:count] < since] = -1
        near = int(np.count_nonzero(products > _LEAST_PRODUCT))
        return Sighting(near, False, self.films[int(products.argmax())][2] if near else "")


class Sequences:
    """Remembers each caller's films as descriptors, from which no film can be rebuilt. Used in one thread.

    Parameters
    ----------
    films : int
        Most films remembered of each caller.
    seconds : float
        How long a film is remembered.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, films: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._films = films
        self._seconds = seconds
        self._clock = clock
        self._callers: OrderedDict[str, _Memory] = OrderedDict()  # the latest caller is last
        self._remembered = 0

    def see(self, caller: str, image: NDArray[np.float32], request: str) -> Sighting:
        """Count the near-duplicates of a caller's film, and remember the film.

        A film sent again, pixel for pixel, gets its first count, and does not count as a neighbour of other films. So a
        sender that tries again raises no count, and cannot be refused an answer that it got before.

        Parameters
        ----------
        image : ndarray, shape (224, 224), float32, in [0, 1]
        request : str
            Id of the request, under which its answer is recorded.
        """
        now = self._clock()
        memory = self._callers.setdefault(caller, _Memory(self._films))
        self._callers.move_to_end(caller)
        digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
        row = descriptor(image)
        sighting = memory.sighting(digest, row, now - self._seconds)
        if not sighting.again:
            self._remembered += memory.add(digest, row, now, sighting, request)
            while self._remembered > MOST_FILMS and len(self._callers) > 1:
                _, gone = self._callers.popitem(last=False)
                self._remembered -= len(gone.films)
        return sighting
