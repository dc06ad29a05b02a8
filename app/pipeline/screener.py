"""The whole pipeline on one backend: tensors -> verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from .backends import Backend
from .bundle import Bundle
from .errors import BundleError, NumericalError, UnsuitableImage
from .heatmap import Heatmap, class_activation_maps
from .image import INPUT_SIDE
from .outputs import Outputs
from .verdict import Verdict, judge, set_gate_aside

#: The golden check's tolerance. Backends of float32 lie far inside it, and lower precisions outside: docs/engine.md.
LOG_DENSITY_RTOL: Final = 1e-3
LOG_DENSITY_ATOL: Final = 0.5  # nats; clean films spread over hundreds
SIGMOID_ATOL: Final = 1e-3


@dataclass(frozen=True)
class GoldenDifference:
    """How far a backend is from the bundle's golden outputs, absolutely.

    Attributes
    ----------
    log_densities : ndarray, shape (K,), float64
        Nats.
    sigmoids : ndarray, shape (K, L), float64
        Sigmoids of the logits before calibration: the small calibrated probabilities of a rare finding would hide a difference.
    """

    log_densities: NDArray[np.float64]
    sigmoids: NDArray[np.float64]


class Screener:
    """A bundle on a backend.

    Parameters
    ----------
    bundle : Bundle
    backend : Backend
        A backend of the bundle's network. If it fails, the call fails: there is no silent fall-back.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.backend = backend
        self.device = backend.device
        self.most_at_once = backend.most_at_once

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """Shape (N, 1, 224, 224), float32 in [0,1] -> the network's outputs."""
        return self.backend.outputs(images)

    def screen(self, images: Tensor) -> list[Verdict | NumericalError | UnsuitableImage]:
        """Judge a batch; an image that cannot be judged gets its error, and harms no neighbour.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float32, in [0, 1]
        """
        threshold = self.bundle.gate.threshold
        results: list[Verdict | NumericalError | UnsuitableImage] = []
        for density, log_odds, fault, shown in self._measured(images):
            try:
                results.append(judge(density, log_odds, threshold, fault, shown))
            except (NumericalError, UnsuitableImage) as error:
                results.append(error)
        return results

    def _measured(self, images: Tensor) -> Iterator[tuple[float, NDArray[np.float64], str | None, str | None]]:
        """The values that decide on each image: log density, calibrated log odds (L,), faults of orientation and of content."""
        outputs = self.outputs(images)
        with np.errstate(invalid="ignore"):  # ``judge`` reports numbers that are not finite
            densities = self.bundle.gate.log_density(outputs.gate_features)
            # Not every backend passes a NaN on: a maximum may drop it.
            densities[~torch.isfinite(images).flatten(1).all(1).numpy()] = np.nan
            faults = self.bundle.orientation.faults(outputs.features, densities)
            contents = self.bundle.content.faults(images.numpy(), faults)
        return zip(map(float, densities), self.bundle.calls.log_odds(outputs.logits), faults, contents, strict=True)

    def explain(self, image: Tensor, finding: int) -> Heatmap:
        """The heatmap of one finding on one image; computed by torch on any backend."""
        typical = self.bundle.typical_maps[finding]
        shares = class_activation_maps(self.backend.network, image.to(self.device))[finding]
        typical_logit = float(typical.mean()) + float(self.bundle.network.classifier.bias[finding])
        from_logit = self.bundle.calls.present_logit(finding)
        return Heatmap(
            np.asarray(shares - typical, dtype=np.float32), None if from_logit is None else from_logit - typical_logit
        )

    def set_gate_aside(self, image: Tensor) -> NDArray[np.float64]:
        """Probabilities (L,) of one image that an authorised person released, whatever the gate says of it.

        See ``verdict.set_gate_aside``.

        Raises
        ------
        NumericalError, UnsuitableImage
            The image cannot be judged, whatever the gate says.
        """
        ((density, log_odds, fault, shown),) = self._measured(image)
        judge(density, log_odds, self.bundle.gate.threshold, fault, shown)
        return set_gate_aside(log_odds)

    def warm_up(self, max_batch: int) -> None:
        """Run every batch size once: each allocates buffers of its own, and memory would otherwise grow under load."""
        for size in range(1, max_batch + 1):
            self.outputs(torch.zeros(size, 1, INPUT_SIDE, INPUT_SIDE))

    def golden_difference(self) -> GoldenDifference:
        """Compute the bundle's golden images anew, and compare."""
        golden = self.bundle.golden
        outputs = self.outputs(torch.from_numpy(golden.images).float() / 255)
        return GoldenDifference(
            np.abs(self.bundle.gate.log_density(outputs.gate_features) - golden.log_densities),
            np.abs(expit(outputs.logits.astype(np.float64)) - golden.sigmoids),
        )

    def require_golden(self) -> None:
        """Reproduce the bundle's golden outputs on this backend.

        Raises
        ------
        BundleError
            A log density or probability differs by more than the tolerance.
        """
        difference, on = self.golden_difference(), f"with {self.backend.description}"
        tolerance = LOG_DENSITY_ATOL + LOG_DENSITY_RTOL * np.abs(self.bundle.golden.log_densities)
        if not (difference.log_densities <= tolerance).all():
            raise BundleError(
                f"{on} the golden log densities differ by up to {difference.log_densities.max():.3g} nats: this network "
                "and gate were not fitted together, or this backend computes other features"
            )
        if not (difference.sigmoids <= SIGMOID_ATOL).all():
            raise BundleError(f"{on} the golden outputs differ by up to {difference.sigmoids.max():.3g}")
