"""DICOM films of nobody, for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tests.support.films import chest_film

NAME, PATIENT_ID = "Doe^Jane", "MRN12345"


def stored12(signed: bool = False) -> NDArray[np.integer]:
    """All 4096 values of 12 bits."""
    values = np.arange(256 * 256).reshape(256, 256) % 4096
    return (values - 2048).astype(np.int16) if signed else values.astype(np.uint16)


def around(middle: int, width: int = 250, signed: bool = False) -> NDArray[np.integer]:
    """All 4096 values of 12 bits once, and most pixels about `middle`, so that a window there shows the film."""
    values = np.random.default_rng(middle).normal(middle, width, 65_536).round().clip(0, 4095).astype(np.int64)
    values[::16] = np.arange(4096)
    values = values.reshape(256, 256)
    return (values - 2048).astype(np.int16) if signed else values.astype(np.uint16)


def computed12() -> NDArray[np.uint16]:
    """A bright dome with a little texture, in whole numbers only, so that it is the same everywhere."""
    rows, columns = np.mgrid[:256, :224].astype(np.int64)
    dome = rows * (511 - rows) * columns * (447 - columns) // 800_000
    return ((dome + (rows * columns * 7919) % 13) % 4096).astype(np.uint16)


def smooth(bits: int, signed: bool = False, side: int = 256) -> NDArray[np.integer]:
    """Waves with noise over all of `bits`: what codecs are made for."""
    rows, columns = np.mgrid[:side, :side]
    waves = (np.sin(columns / 40) * np.cos(rows / 30) + 1) / 2 * (2**bits - 1)
    noise = np.random.default_rng(bits).normal(0, 2**bits / 200, waves.shape)
    values = np.clip(waves + noise, 0, 2**bits - 1).astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def film(stored: NDArray[np.integer] | None = None, **tags: object) -> Dataset:
    """A DX chest film, of 12 bits where `stored` has words; None for a tag leaves it out."""
    named = {"PatientName": NAME, "PatientID": PATIENT_ID}
    return chest_film(stored12() if stored is None else stored, **{**named, **tags})
