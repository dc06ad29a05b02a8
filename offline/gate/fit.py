"""Fit the gate: features -> mean, covariance, Cholesky factor -> threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from app.pipeline.gate import DEFAULT_KIND, DENSITIES, Density, Gate, kind_of
from app.pipeline.gaussian import Gaussian
from app.pipeline.network import ChestNetwork

from ..data.films import SPLITS, Film, FilmsError, of_split
from ..options import option
from ..run import Run
from .content import ContentOptions, fit_content
from .features import (
    UNCHANGED,
    Shard,
    Variant,
    extract,
    harmless_variant,
    measured,
    reuse_or_extract,
    saved_moments,
)
from .moments import Moments, ledoit_wolf_shrinkage, oas_shrinkage, shrink_by_lambda, shrink_towards_identity
from .orientation import fit_orientation
from .threshold import Threshold, held_out_threshold, training_threshold

Covariance = Literal["lambda", "ledoit-wolf", "oas"]
Rule = Literal["held-out", "training"]
BLOCK = 1024  # rows of features held in memory at once

#: Unit of a feature that never varies, as a share of the root-mean-square deviation.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class FitOptions:
    """How the covariance is conditioned, and where the threshold comes from.

    Attributes
    ----------
    variants : int
        Number of harmlessly changed copies of each training film (``harmless.drawn``) in the fit; 0, as in the paper, fits on
        the unchanged films alone. The threshold always comes from unchanged films.
    variant_weight : float
        Weight of each copy; its film has weight 1. A small weight lets harmless changes pass. A larger one also lets attacks
        pass that look like them.
    scaled : bool
        Divide features by their deviations (``scales``) before the covariance is shrunk. The paper does not; a gate's network
        needs it, since its channels differ a hundredfold.
    kind : str
        Kind of density, a key of ``FITS``.
    """

    covariance: Covariance = option(
        "lambda", "how the covariance is conditioned", choices=("lambda", "ledoit-wolf", "oas")
    )
    ridge: float = option(1e-2, "of S + lambda I", flag="--lambda")
    rule: Rule = option(
        "held-out",
        "held-out: conformal quantile of val films. training: the paper's rule, far too strict when n is near 1024",
        flag="--threshold-rule",
        choices=("held-out", "training"),
    )
    target: float = option(0.05, "false-rejection rate")
    variants: int = option(
        0,
        "fit on so many copies of each training film too, under harmless changes (noise, gamma, JPEG, small turns), so "
        "that these are not refused; 0 is the paper's gate",
    )
    variant_weight: float = option(
        1.0,
        "what each of these copies counts as, beside its film's 1: with more, attacks that look like noise pass",
    )
    scaled: bool = option(
        False,
        "put features into units of their deviations before --lambda is added, as those of a gate's network need",
    )
    kind: str = DEFAULT_KIND

    def record(self) -> dict[str, Any]:
        """The options for a run's record, which identify the run. The default kind is left out, as in older runs."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("kind", DEFAULT_KIND)}


@dataclass(frozen=True)
class FittedGate:
    """A density, its threshold, and the name of its shrinkage."""

    density: Density
    threshold: Threshold
    n: int
    shrinkage: str
    calibration_scores: NDArray[np.float64]

    @property
    def gate(self) -> Gate:
        """The gate as it is served."""
        return Gate(self.density, self.threshold.value)


def fit_gaussian(
    features: NDArray[np.float32],
    options: FitOptions,
    moments: Moments | None = None,
    changed: Sequence[NDArray[np.float32]] = (),
) -> tuple[Gaussian, str]:
    """Mean, shrunk covariance and Cholesky factor of features, shape (N, d), read in blocks.

    Moments from the extraction, over films and changed copies, save a pass over the features.

    Parameters
    ----------
    changed : sequence of ndarray, shape (N, d)
        Features of the same films under harmless changes.
    """
    if moments is None:
        copies = [moments_of(one).weighted(options.variant_weight) for one in changed]
        moments = reduce(Moments.merge, copies, moments_of(features))
    scale = scales(moments) if options.scaled else np.ones_like(moments.mean)
    moments = Moments(moments.n, moments.mean / scale, moments.scatter / np.outer(scale, scale))
    if options.covariance == "lambda":
        covariance, word = shrink_by_lambda(moments.covariance, options.ridge), f"lambda={options.ridge:g}"
    elif options.covariance == "oas":
        weight = oas_shrinkage(moments)
        covariance, word = shrink_towards_identity(moments.covariance, weight), f"oas={weight:.6g}"
    else:
        fourth = sum(
            weight * float((((block.astype(np.float64) / scale - moments.mean) ** 2).sum(axis=1) ** 2).sum())
            for one, weight in ((features, 1.0), *((copy, options.variant_weight) for copy in changed))
            for block in blocks_of(one)
        )
        weight = ledoit_wolf_shrinkage(moments, fourth)
        covariance, word = shrink_towards_identity(moments.covariance, weight), f"ledoit-wolf={weight:.6g}"
    if options.scaled:
        word = f"scaled {word}"
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise FilmsError(
            "the covariance is not positive definite: fit on more films, or with a larger --lambda"
        ) from error
    return Gaussian(scale * moments.mean, np.ascontiguousarray(scale[:, None] * factor, dtype=np.float64)), word


def scales(moments: Moments) -> NDArray[np.float64]:
    """Units of features, shape (d,): their standard deviations.

    A tenth of the root-mean-square deviation is added in quadrature. Without it the unit of a channel that hardly ever fires
    would be so small that every value looks unusual.
    """
    variances = np.diag(moments.covariance)
    return np.asarray(np.sqrt(variances + LEAST_SHARE**2 * variances.mean()))


#: The function that fits each kind of density; arguments and results are those of ``fit_gaussian``.
FITS: Final[dict[str, Callable[..., tuple[Density, str]]]] = {"mgm": fit_gaussian}


def fit_gate(
    train_features: NDArray[np.float32],
    val_features: NDArray[np.float32],
    options: FitOptions,
    moments: Moments | None = None,
    changed: Sequence[NDArray[np.float32]] = (),
) -> FittedGate:
    """Fit on training features, and set the threshold by the options' rule; `changed` is as in ``fit_gaussian``.

    Raises
    ------
    FilmsError
        There are too few held-out films for the target.
    """
    density, word = FITS[options.kind](train_features, options, moments, changed)
    calibration = np.sort(density.log_density(val_features))
    try:
        threshold = (
            held_out_threshold(calibration, options.target)
            if options.rule == "held-out"
            else training_threshold(density.log_density(train_features), options.target)
        )
    except ValueError as error:
        raise FilmsError(str(error)) from error
    return FittedGate(density, threshold, len(train_features), word, calibration)


def training_rule_warning(gate: FittedGate) -> str:
    """A warning that says how many held-out films the paper's rule rejects."""
    rejected = float((gate.calibration_scores < gate.threshold.value).mean())
    d = gate.density.feature_count
    return (
        f"WARNING: with the threshold from the {gate.n} training images (d = {d}) the gate rejects {rejected:.0%} of the "
        f"held-out clean films, since the gate has seen the training images. Use --threshold-rule held-out to serve."
    )


def moments_of(features: NDArray[np.float32]) -> Moments:
    """Moments of features, shape (N, d), block by block."""
    if not len(features):
        raise FilmsError("there are no features to fit on")
    return reduce(Moments.merge, map(Moments.of, blocks_of(features)))


def blocks_of(features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Views of at most ``BLOCK`` rows each."""
    return [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]


def fit(
    run: Run,
    films: list[Film],
    options: FitOptions,
    device: torch.device,
    workers: int,
    content: ContentOptions | None = None,
) -> FittedGate:
    """Fit the gate, the model of orientation and the check of content on films of every split; write all into `run`."""
    network = run.network()
    gate = gate_of(network, run, films, options, device, workers)
    save_gate(run, gate, options)
    fit_orientation(run, network, gate.gate, films, device, workers)
    fit_content(run, films, workers, content)
    return gate


def gate_of(
    network: ChestNetwork, run: Run, films: list[Film], options: FitOptions, device: torch.device, workers: int
) -> FittedGate:
    """Fit a network's gate on the features of the train and val splits; write the features of every split into `run`.

    Stored features of this network and these films are reused, and their shards merged.
    """

    def extracted(name: str, of: list[Film], variant: Variant = UNCHANGED) -> tuple[NDArray[np.float32], Moments]:
        one = reuse_or_extract(network, of, run, name, device, workers, variant)
        return one.gate_features, saved_moments(run, name)

    parts = {split: extracted(split, of_split(films, split)) for split in SPLITS}
    train, moments = parts["train"]
    changed = []
    for number in range(1, options.variants + 1):
        copies, copies_moments = extracted(
            f"train-changed-{number}", of_split(films, "train"), harmless_variant(number)
        )
        changed.append(copies)
        moments = moments.merge(copies_moments.weighted(options.variant_weight))
    return fit_gate(train, parts["val"][0], options, moments, changed)


def extract_shard(run: Run, films: list[Film], shard: Shard, device: torch.device, workers: int) -> tuple[int, float]:
    """Extract one shard of every split into `run`; returns its number of films, and its seconds."""
    network = run.network()
    parts = []
    for split in SPLITS:
        extract(network, of_split(films, split), run, split, device, workers, shard)
        parts.append(measured(shard.files(run.features(split))))
    return sum(count for count, _ in parts), sum(seconds for _, seconds in parts)


def save_gate(run: Run, gate: FittedGate, options: FitOptions) -> None:
    """Write the fitted gate into a run's folder."""
    run.density(DENSITIES[kind_of(gate.density)].file).write(
        {**gate.density.arrays, "calibration_scores": gate.calibration_scores}
    )
    run.fit.write(
        {
            "n": gate.n,
            "shrinkage": gate.shrinkage,
            "threshold": gate.threshold.value,
            "bound": gate.threshold.bound,
            "options": options.record(),
        }
    )


def load_gate(run: Run) -> tuple[FittedGate, FitOptions]:
    """Read what ``save_gate`` wrote.

    Raises
    ------
    FilmsError
        The run has not been fitted.
    """
    record = run.fit.read()
    options = FitOptions(**record["options"])
    kind = DENSITIES[options.kind]
    arrays = run.density(kind.file).read()
    scores = arrays.pop("calibration_scores")
    threshold = Threshold(record["threshold"], record["bound"])
    return FittedGate(kind.of(**arrays), threshold, record["n"], record["shrinkage"], scores), options
