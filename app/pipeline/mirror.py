"""Fills the corners beyond slanted and round edges with the mirror image of the film within."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Pixels = NDArray[np.float32]


def block_means(pixels: Pixels, step: int) -> Pixels:
    """Means of blocks of step x step pixels; incomplete blocks at the far edges are left out."""
    if step == 1:
        return pixels
    rows, columns = pixels.shape[0] // step, pixels.shape[1] // step
    whole = pixels[: rows * step, : columns * step]
    # Whole lines are added first: numpy's mean over two axes takes eight times as long.
    lines = sum((whole[place::step] for place in range(1, step)), start=whole[::step])
    return np.asarray(sum((lines[:, place::step] for place in range(1, step)), start=lines[:, ::step]) / step**2)


def eroded(seen: NDArray[np.bool_], *, corners: bool) -> NDArray[np.bool_]:
    """The pixels that are seen together with their four neighbours, or all eight; pixels beyond the picture count as seen."""
    around = np.pad(seen, 1, constant_values=True)
    up_and_down = around[:-2] & around[1:-1] & around[2:]
    if corners:
        return np.asarray(up_and_down[:, :-2] & up_and_down[:, 1:-1] & up_and_down[:, 2:])
    return np.asarray(up_and_down[:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])


def mirrored(pixels: Pixels, seen: NDArray[np.bool_]) -> Pixels:
    """Each pixel that is not seen takes the value of the pixel equally far behind the nearest seen pixel, or "
    "of that pixel itself."""
    if seen.all() or not seen.any():
        return pixels
    row, column = np.divmod(np.flatnonzero(~seen), seen.shape[1])
    rim = np.column_stack(np.divmod(np.flatnonzero(seen & ~eroded(seen, corners=False)), seen.shape[1]))
    near_row, near_column = rim[cKDTree(rim).query(np.column_stack([row, column]))[1]].T
    behind_row = np.clip(2 * near_row - row, 0, pixels.shape[0] - 1)
    behind_column = np.clip(2 * near_column - column, 0, pixels.shape[1] - 1)
    usable = seen[behind_row, behind_column]
    filled = pixels.copy()
    filled[row, column] = np.where(usable, pixels[behind_row, behind_column], pixels[near_row, near_column])
    return filled
