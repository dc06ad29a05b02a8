"""Every detector on the same films: one table, and a learning curve. Pure functions; nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..data.films import FilmsError
from ..gate.threshold import Threshold, held_out_threshold
from . import DETECTORS, Factory
from .measures import (
    FALSE_REJECTION_RATES,
    Array,
    DetectionAt,
    Estimate,
    FindingAuroc,
    Rejected,
    accuracy,
    bootstrap_weights,
    detection_at,
    detection_auroc,
    estimate,
    f1,
    weighted_auroc,
    weighted_detection_auroc,
    weighted_rates,
)
from .protocol import Detector, Observed

CURVE_DETECTORS = ("mgm-lambda", "pca-mgm")


@dataclass(frozen=True)
class Material:
    """Films to compare detectors on.

    Attacked and clean films must have the same rounding, size and file format. Otherwise a detector may detect that difference
    instead of the attack.

    Attributes
    ----------
    train, val, test : Observed
        Clean films for fitting, for thresholds and for the report; each patient is in one split only.
    patients : ndarray, shape (N,)
        The patient of each test film.
    targets : ndarray, shape (N, L), 0 or 1
        The findings of each test film.
    attacked : mapping of attack to Observed
        The test films attacked, each N films in the order of `test`.
    attacked_train : mapping of attack to Observed
        Fitting films attacked, for supervised detectors: each is fitted once on every attack here.

    Raises
    ------
    ValueError
        The numbers of films do not match, or there are no test films.
    """

    train: Observed
    val: Observed
    test: Observed
    patients: NDArray[np.generic]
    targets: NDArray[np.generic]
    attacked: Mapping[str, Observed]
    attacked_train: Mapping[str, Observed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.test)
        if not n:
            raise ValueError("there are no test films")
        if self.patients.shape != (n,) or self.targets.shape != self.test.logits.shape:
            raise ValueError(
                f"{n} test films, patients of shape {self.patients.shape} and targets of shape {self.targets.shape}"
            )
        for name, films in self.attacked.items():
            if films.features.shape != self.test.features.shape or films.logits.shape != self.test.logits.shape:
                raise ValueError(f"attack {name} has {len(films)} films; it must have each of the {n} test films")


@dataclass(frozen=True)
class AttackMeasures:
    """A detector on one attack; positives are attacked films, with an equal number of clean films.

    ``passed_auroc`` is the network's, over all clean and attacked films that the gate lets through. ``coverage`` is their
    share. ``seen``: the detector was fitted on the same attack.
    """

    n: int
    detected: int
    seen: bool
    detection_rate: Estimate
    accuracy: Estimate
    f1: Estimate
    detection_auroc: Estimate
    detection_at: tuple[DetectionAt, ...]
    passed_auroc: FindingAuroc
    passed: int
    coverage: Estimate


@dataclass(frozen=True)
class DetectorMeasures:
    """A detector's row.

    ``threshold`` comes from held-out films at ``target``. ``clean_passed_auroc`` is the network's, over the clean test films that
    pass. ``trained_on`` is the attack on which a supervised detector was fitted.
    """

    detector: str
    supervised: bool
    trained_on: str | None
    target: float
    threshold: Threshold
    fitting_films: int
    calibration_films: int
    test_films: int
    test_patients: int
    false_rejections: int
    false_rejection_rate: Estimate
    clean_passed_auroc: FindingAuroc
    clean_coverage: Estimate
    attacks: dict[str, AttackMeasures]


@dataclass(frozen=True)
class CurvePoint:
    """A detector fitted on ``n`` films drawn by ``seed``; thresholds are from all held-out films."""

    detector: str
    n: int
    seed: int
    false_rejection_rate: float
    detection_rate: dict[str, float]


def compare(
    material: Material,
    detectors: Mapping[str, Factory] = DETECTORS,
    *,
    target: float = 0.05,
    seed: int = 0,
    repeats: int = 1000,
) -> Iterator[DetectorMeasures]:
    """Fit, calibrate and measure each detector. Yields each finished row, for a progress bar or a file.

    A supervised detector has a row for each attack of ``attacked_train``, and none if that is empty.

    Parameters
    ----------
    target : float
        False-rejection rate that sets the thresholds.
    seed : int
        Seed of the detectors and of the bootstrap.
    repeats : int
        Bootstrap draws of the test patients.

    Raises
    ------
    FilmsError
        There are too few films to fit on, or too few held-out films for the target.
    """
    weights = bootstrap_weights(material.patients, repeats, seed)
    for name, factory in detectors.items():
        detector = factory(seed)
        for trained_on in list(material.attacked_train) if detector.supervised else [None]:
            yield _row(material, name, detector, trained_on, target, weights)


def without_gate(
    material: Material, *, seed: int = 0, repeats: int = 1000
) -> tuple[FindingAuroc, dict[str, FindingAuroc]]:
    """The network's weighted AUROC with no defence: on clean films, and on clean with attacked films of each attack."""
    everyone = np.zeros(len(material.test), dtype=np.bool_)
    weights = bootstrap_weights(material.patients, repeats, seed)
    return (
        weighted_auroc(material.targets, material.test.logits, weights),
        {
            name: _passed_auroc(material, films, everyone, everyone, weights)
            for name, films in material.attacked.items()
        },
    )


def learning_curve(
    material: Material,
    sizes: Sequence[int],
    *,
    detectors: Mapping[str, Factory] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    target: float = 0.05,
) -> Iterator[CurvePoint]:
    """Detection and false rejection against the number of fitting films.

    Films of one seed are nested: the first 100 are among the first 200, so that a step along the curve is not due to another
    random draw.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of fitting films, each at most those of ``train``.
    detectors : mapping, optional
        Unsupervised detectors; by default MGM, and PCA before MGM.

    Raises
    ------
    FilmsError
        A size exceeds the number of films, or there are too few films for a detector or the target.
    """
    chosen = {name: DETECTORS[name] for name in CURVE_DETECTORS} if detectors is None else detectors
    for size in sizes:
        if not 1 <= size <= len(material.train):
            raise FilmsError(f"a learning curve to {size} films, and there are {len(material.train)} to fit on")
    for name, factory in chosen.items():
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(material.train))
            for size in sizes:
                scorer = factory(seed).fit(material.train.take(order[:size]))
                threshold = _threshold(scorer.score(material.val), target).value
                yield CurvePoint(
                    name,
                    size,
                    seed,
                    float((scorer.score(material.test) < threshold).mean()),
                    {
                        attack: float((scorer.score(films) < threshold).mean())
                        for attack, films in material.attacked.items()
                    },
                )


def _row(
    material: Material, name: str, detector: Detector, trained_on: str | None, target: float, weights: Array
) -> DetectorMeasures:
    scorer = detector.fit(material.train, None if trained_on is None else material.attacked_train[trained_on])
    validation, clean = scorer.score(material.val), scorer.score(material.test)
    threshold = _threshold(validation, target)
    rejected = clean < threshold.value
    refused = weighted_rates(rejected, weights)
    attacks = {}
    for attack, films in material.attacked.items():
        scores = scorer.score(films)
        caught = scores < threshold.value
        rates = weighted_rates(caught, weights)
        caught_share, rejected_share = float(caught.mean()), float(rejected.mean())
        passed = int((~rejected).sum() + (~caught).sum())
        attacks[attack] = AttackMeasures(
            n=len(films),
            detected=int(caught.sum()),
            seen=attack == trained_on,
            detection_rate=estimate(caught_share, rates),
            accuracy=estimate(accuracy(rejected_share, caught_share), accuracy(refused, rates)),
            f1=estimate(f1(rejected_share, caught_share), f1(refused, rates)),
            detection_auroc=estimate(detection_auroc(clean, scores), weighted_detection_auroc(clean, scores, weights)),
            detection_at=tuple(
                detection_at(validation, clean, scores, rate, weights) for rate in FALSE_REJECTION_RATES
            ),
            passed_auroc=_passed_auroc(material, films, rejected, caught, weights),
            passed=passed,
            # Clean and attacked films are equal in number, in each draw too.
            coverage=estimate(passed / (len(clean) + len(films)), 1 - (refused + rates) / 2),
        )
    return DetectorMeasures(
        detector=name,
        supervised=detector.supervised,
        trained_on=trained_on,
        target=target,
        threshold=threshold,
        fitting_films=len(material.train),
        calibration_films=len(validation),
        test_films=len(clean),
        test_patients=len(np.unique(material.patients)),
        false_rejections=int(rejected.sum()),
        false_rejection_rate=estimate(float(rejected.mean()), refused),
        clean_passed_auroc=weighted_auroc(
            material.targets[~rejected], material.test.logits[~rejected], weights[:, ~rejected]
        ),
        clean_coverage=estimate(float((~rejected).mean()), 1 - refused),
        attacks=attacks,
    )


def _passed_auroc(
    material: Material, attacked: Observed, rejected: Rejected, caught: Rejected, weights: Array
) -> FindingAuroc:
    targets = np.concatenate([material.targets[~rejected], material.targets[~caught]])
    scores = np.concatenate([material.test.logits[~rejected], attacked.logits[~caught]])
    return weighted_auroc(targets, scores, np.concatenate([weights[:, ~rejected], weights[:, ~caught]], axis=1))


def _threshold(scores: Array, target: float) -> Threshold:
    try:
        return held_out_threshold(scores, target)
    except ValueError as error:
        raise FilmsError(str(error)) from error
