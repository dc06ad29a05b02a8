"""Windows (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .tags import named

FloatArray = NDArray[np.float64]

#: Values of VOILUTFunction (0028,1056); LINEAR if it is absent.
FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


def window_fault(center: float, width: float, function: str) -> str | None:
    """Why a window cannot be applied; None if it can."""
    if not (math.isfinite(center) and math.isfinite(width)):
        return "it is not finite"
    if width < 1.0 if function == "LINEAR" else width <= 0.0:
        return f"{named('WindowWidth')} must be {'at least 1' if function == 'LINEAR' else 'over 0'}"
    return None


def apply_window(values: FloatArray, center: float, width: float, function: str) -> tuple[FloatArray, float]:
    """Window values.

    Parameters
    ----------
    values : ndarray, float64
        Output of the modality LUT.
    center, width : float
        WindowCenter (0028,1050) and WindowWidth (0028,1051), in which ``window_fault`` finds nothing.
    function : str
        One of ``FUNCTIONS``.

    Returns
    -------
    levels : ndarray, float64, in [0, full_scale]
    full_scale : float
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            exponent = np.clip(-4.0 * (values - center) / width, -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(exponent))), 1.0
    if function == "LINEAR_EXACT":
        return np.clip(values - (center - width / 2.0), 0.0, width), width
    if width == 1.0:
        return np.where(values > center - 0.5, 1.0, 0.0), 1.0
    lowest = center - 0.5 - (width - 1.0) / 2.0
    return np.clip(values - lowest, 0.0, width - 1.0), width - 1.0
