"""(log density, calibrated log odds, faults of content and orientation) -> Verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from .errors import NumericalError, UnsuitableImage

SCORED: Final = "only frontal chest films, PA or AP, are scored"


@dataclass(frozen=True)
class Verdict:
    """The gate's decision on one image.

    Attributes
    ----------
    accepted : bool
    log_density : float
        Nats. No caller sees it: an exact score is an oracle for an attacker.
    probabilities : ndarray, shape (L,), float64, in [0, 1], or None
        Calibrated. None if the image was rejected, so that nobody can read one by mistake.
    """

    accepted: bool
    log_density: float
    probabilities: NDArray[np.float64] | None


def set_gate_aside(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities, whatever the gate says: the one door past it.

    It is for a film that an authorised person has released as clean, with a reason in the record. No request of a
    sender leads here.

    Parameters
    ----------
    log_odds : ndarray, shape (L,), float64
        Calibrated.

    Returns
    -------
    ndarray, shape (L,), float64, in [0, 1]

    Raises
    ------
    NumericalError
        One that is not finite.
    """
    if not np.isfinite(log_odds).all():
        raise NumericalError("the network returned a number that is not finite; the image has no probabilities")
    return np.asarray(expit(log_odds))


def judge(
    log_density: float,
    log_odds: NDArray[np.float64],
    threshold: float,
    fault: str | None = None,
    shown: str | None = None,
) -> Verdict:
    """Reject if log p(y) < threshold (Li & Zhu 2020); otherwise give the probabilities.

    Parameters
    ----------
    log_odds : ndarray, shape (L,), float64
        Calibrated.
    fault : str or None
        The fault of the film's orientation, from ``Orientation.faults``.
    shown : str or None
        Why it is no frontal chest film, from ``Content.faults``.

    Raises
    ------
    NumericalError
        A score or log odds that are not finite; such an image is neither accepted nor rejected.
    UnsuitableImage
        There is a fault. The sender can repair it, so this is more useful than the gate's rejection. A fault of
        content comes first: the orientation of something that is no chest film is of no use.
    """
    if not (np.isfinite(log_density) and np.isfinite(log_odds).all()):
        raise NumericalError("the network or the gate returned a number that is not finite; the image was not judged")
    if shown is not None:
        raise UnsuitableImage(f"by its pixels this {shown}; {SCORED}")
    if fault is not None:
        raise UnsuitableImage(
            f"by its pixels this looks like a film that is {fault}; send it as it is hung for reading, head up and bone bright"
        )
    if log_density < threshold:
        return Verdict(False, log_density, None)
    return Verdict(True, log_density, np.asarray(expit(log_odds)))
