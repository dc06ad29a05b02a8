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
    """What the gate says of one image.

    Attributes
    ----------
    accepted : bool
    log_density : float
        Nats. Never shown to a caller: an exact score is an oracle for an attacker.
    probabilities : ndarray, shape (L,), float64, in [0, 1], or None
        Calibrated. None where the image was rejected, so that nobody can read one by mistake.
    """

    accepted: bool
    log_density: float
    probabilities: NDArray[np.float64] | None


def set_gate_aside(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probabilities, whatever the gate says: the one door past it.

    It is for a film of which an authorised person has said, with a reason that is in the record, that it is clean; nothing
    that a sender can ask for leads here.

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
    """Reject if log p(y) < threshold (Li & Zhu 2020), else give the probabilities.

    Parameters
    ----------
    log_odds : ndarray, shape (L,), float64
        Calibrated.
    fault : str or None
        What is wrong with the film's orientation, as of ``Orientation.faults``.
    shown : str or None
        What there is to say against its being a frontal chest film, as of ``Content.faults``.

    Raises
    ------
    NumericalError
        A score or log odds that are not finite; such an image is neither accepted nor rejected.
    UnsuitableImage
        There is a fault: a sender can mend that, which is worth more to know than that the gate rejects it too. A fault of
        content goes first: how something hangs that is no chest film is of no use to anybody.
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
