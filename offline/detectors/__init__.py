"""Detectors of attacked films with one protocol: ``fit(clean)`` returns a scorer; ``score(films)`` is higher for typical ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from .boundary import Forest, OneClassMachine, SupervisedRegression
from .gaussian import Given, MultivariateGaussian, PrincipalGaussian, RelativeMahalanobis
from .mixture import ConditionalMixtures, SeveralModes
from .neighbours import KernelDensity, LocalIntrinsicDimensionality
from .protocol import Detector, Fitted, Observed

Factory = Callable[[int], Detector]

#: Row name of a bundle's own gate, if it is not one of these detectors.
SERVED: Final = "served"
#: Name -> seed -> detector with its default options, in the order of the report. Deterministic detectors ignore the seed.
DETECTORS: Final[Mapping[str, Factory]] = MappingProxyType(
    {
        "mgm-lambda": lambda seed: MultivariateGaussian("lambda"),
        "mgm-ledoit-wolf": lambda seed: MultivariateGaussian("ledoit-wolf"),
        "mgm-oas": lambda seed: MultivariateGaussian("oas"),
        "pca-mgm": lambda seed: PrincipalGaussian(),
        "isolation-forest": lambda seed: Forest(seed=seed),
        "one-class-svm": lambda seed: OneClassMachine(seed=seed),
        "relative-mahalanobis": lambda seed: RelativeMahalanobis(),
        "gaussian-mixture": lambda seed: SeveralModes(seed=seed),
        "conditional-mixtures": lambda seed: ConditionalMixtures(seed=seed),
        "kernel-density": lambda seed: KernelDensity(seed=seed),
        "lid": lambda seed: LocalIntrinsicDimensionality(seed=seed),
        "logistic-regression": lambda seed: SupervisedRegression(),
    }
)

__all__ = [
    "DETECTORS",
    "SERVED",
    "ConditionalMixtures",
    "Detector",
    "Factory",
    "Fitted",
    "Forest",
    "Given",
    "KernelDensity",
    "LocalIntrinsicDimensionality",
    "MultivariateGaussian",
    "Observed",
    "OneClassMachine",
    "PrincipalGaussian",
    "RelativeMahalanobis",
    "SeveralModes",
    "SupervisedRegression",
]
