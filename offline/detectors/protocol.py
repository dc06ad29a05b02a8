"""The protocol of all detectors: their input, their fit, their score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.films import FilmsError
from ..gate.features import parted

Array = NDArray[np.float64]
BLOCK = 1024  # films scored at once, so that memory does not grow with their number


@dataclass(frozen=True)
class Observed:
    """The network's outputs for N films: the whole input of a detector.

    Features and logits are in one value because some detectors condition on the predicted finding. If the logits were a second,
    optional argument, each caller would have to know which detectors need them, and could pass rows of other films.

    Attributes
    ----------
    features, gate_features, logits
        As in ``Outputs``; may be memory-mapped. The logits are in the order of ``LABELS``.

    Raises
    ------
    ValueError
        The dtype or shape is wrong, the numbers of films differ, or a value is not finite.
    """

    features: NDArray[np.float32]
    gate_features: NDArray[np.float32]
    logits: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if values.ndim != 2 or values.dtype != np.float32:
                raise ValueError(
                    f"{name} must be float32 of two dimensions, not {values.dtype} of shape {values.shape}"
                )
            # The sum is finite if and only if every value is, and makes no array as large as the features.
            with np.errstate(invalid="ignore"):
                if not np.isfinite(values.sum(dtype=np.float64)):
                    raise ValueError(f"{name} must be finite")
            if len(values) != len(self.features):
                raise ValueError(
                    f"features of {len(self.features)} films and {name} of {len(values)}; must be of the same"
                )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def top_finding(self) -> NDArray[np.intp]:
        """Index of the finding with the highest predicted probability, shape (N,)."""
        top: NDArray[np.intp] = self.logits.argmax(axis=1)
        return top

    @staticmethod
    def stored(arrays: Mapping[str, NDArray[np.float32]], prefix: str = "") -> Observed:
        """Read a stage's arrays, which ``arrays`` made. Older stages hold both kinds of features in one array."""
        features, logits = arrays[f"{prefix}features"], arrays[f"{prefix}logits"]
        if f"{prefix}gate_features" in arrays:
            return Observed(features, arrays[f"{prefix}gate_features"], logits)
        return Observed(*parted(features), logits)

    def arrays(self, prefix: str = "") -> dict[str, NDArray[np.float32]]:
        """The arrays for a stage on disk."""
        return {f"{prefix}{name}": values for name, values in vars(self).items()}

    def take(self, index: NDArray[np.intp] | slice) -> Observed:
        """The films at these rows."""
        return Observed(self.features[index], self.gate_features[index], self.logits[index])


@dataclass(frozen=True)
class Fitted:
    """A fitted detector.

    Attributes
    ----------
    feature_count, finding_count : int
        d and L of the films it was fitted on.
    score_block : callable
        Scores at most ``BLOCK`` films; reached through ``score``, which checks first.
    """

    feature_count: int
    finding_count: int
    score_block: Callable[[Observed], Array]

    def score(self, observed: Observed) -> Array:
        """How typical each film is, shape (N,), float64; higher is more typical.

        The unit is the detector's own (nats for densities), so scores compare within one detector only.

        Raises
        ------
        ValueError
            Other numbers of features or findings than were fitted.
        """
        got = (observed.features.shape[1], observed.logits.shape[1])
        if got != (self.feature_count, self.finding_count):
            raise ValueError(
                f"films of {got[0]} features and {got[1]} findings; "
                f"the detector was fitted on {self.feature_count} and {self.finding_count}"
            )
        blocks = [observed.take(slice(start, start + BLOCK)) for start in range(0, len(observed), BLOCK)]
        scores = [np.asarray(self.score_block(block), dtype=np.float64) for block in blocks]
        return np.concatenate(scores) if scores else np.zeros(0)


class Detector(Protocol):
    """A frozen dataclass of options that fits a scorer.

    Fitting returns a new value, rather than changing the detector, so that nothing can be scored before it
    is fitted and one detector can be fitted on many subsamples.
    """

    @property
    def supervised(self) -> bool:
        """Whether fitting needs attacked films. A supervised detector has seen an attack, and is reported separately."""
        ...

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        """Fit on clean films; only supervised detectors use `attacked`.

        Raises
        ------
        FilmsError
            Too few films.
        ValueError
            A supervised detector without attacked films, or with ones of another shape.
        """
        ...


class Unsupervised:
    """A detector that is fitted on clean films alone."""

    @property
    def supervised(self) -> bool:
        return False


def fitted(clean: Observed, score_block: Callable[[Observed], Array]) -> Fitted:
    """A scorer for films like those that it was fitted on."""
    return Fitted(clean.features.shape[1], clean.logits.shape[1], score_block)


def require_films(observed: Observed, least: int, purpose: str) -> None:
    """Raise FilmsError where there are fewer than `least` films to fit on."""
    if len(observed) < least:
        raise FilmsError(f"{purpose} needs at least {least} films to fit on; there are {len(observed)}")


def subsample(observed: Observed, most: int, seed: int) -> Observed:
    """At most `most` films, drawn by `seed` without replacement, in their order."""
    if len(observed) <= most:
        return observed
    return observed.take(np.sort(np.random.default_rng(seed).permutation(len(observed))[:most]))


def as_float64(features: NDArray[np.floating]) -> Array:
    """Features in float64: all scores are computed in it; scikit-learn would otherwise stay in float32."""
    return np.asarray(features, dtype=np.float64)
