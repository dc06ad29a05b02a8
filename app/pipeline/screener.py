"""The whole pipeline on one device: tensors -> verdicts."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from .bundle import Bundle
from .errors import BundleError, NumericalError, UnsuitableImage
from .heatmap import class_activation_map
from .image import INPUT_SIDE
from .verdict import Verdict, judge

#: The golden check's tolerance. float32 convolutions differ between devices and versions by about 1e-6
#: relative in a feature; the whitening, whose condition number is some 1e4, makes that at most this much.
LOG_DENSITY_RTOL: Final = 1e-3
LOG_DENSITY_ATOL: Final = 0.5  # nats; clean films spread over hundreds
PROBABILITY_ATOL: Final = 1e-3


class Screener:
    """A bundle on a device, in float32.

    Parameters
    ----------
    bundle : Bundle
    device : torch.device
        Used as it is: if it fails, so does the call. There is no silent fall-back.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        # TF32 would move features by 1e-3, which the gate was not fitted for.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.network = bundle.network.to(device)

    def outputs(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Shape (N, 1, 224, 224), float32 in [0,1] -> features (N, 1024) and logits (N, 14), float32."""
        with torch.inference_mode():
            features, logits = self.network(images.to(self.device))
        return features.cpu().numpy(), logits.cpu().numpy()

    def screen(self, images: Tensor) -> list[Verdict | NumericalError | UnsuitableImage]:
        """Judge a batch; an image that cannot be judged gets its error, and harms no neighbour.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float32, in [0, 1]
        """
        features, logits = self.outputs(images)
        densities = self.bundle.gaussian.log_density(features)
        faults = self.bundle.orientation.faults(features, densities)
        threshold = self.bundle.manifest.gate.threshold
        results: list[Verdict | NumericalError | UnsuitableImage] = []
        for density, row, fault in zip(densities, logits, faults, strict=True):
            try:
                results.append(judge(float(density), row, threshold, fault))
            except (NumericalError, UnsuitableImage) as error:
                results.append(error)
        return results

    def explain(self, image: Tensor, finding: int) -> NDArray[np.float32]:
        """The class activation map of one image, shape (7, 7); see ``class_activation_map``."""
        return class_activation_map(self.network, image.to(self.device), finding)

    def warm_up(self, max_batch: int) -> None:
        """Run every batch size once: each allocates buffers of its own, which would else grow memory under load."""
        for size in range(1, max_batch + 1):
            self.outputs(torch.zeros(size, 1, INPUT_SIDE, INPUT_SIDE))

    def require_golden(self) -> None:
        """Reproduce the bundle's golden outputs on this device.

        Raises
        ------
        BundleError
            A log density or probability differs by more than the tolerance.
        """
        golden = self.bundle.golden
        features, logits = self.outputs(torch.from_numpy(golden.images).float() / 255)
        densities = self.bundle.gaussian.log_density(features)
        if not np.allclose(densities, golden.log_densities, rtol=LOG_DENSITY_RTOL, atol=LOG_DENSITY_ATOL):
            worst = float(np.abs(densities - golden.log_densities).max())
            raise BundleError(
                f"on {self.device} the golden log densities differ by up to {worst:.3g} nats: this network and gate "
                "were not fitted together, or this backend computes other features"
            )
        worst = float(np.abs(expit(logits.astype(np.float64)) - golden.probabilities).max())
        if not worst <= PROBABILITY_ATOL:
            raise BundleError(f"on {self.device} the golden probabilities differ by up to {worst:.3g}")


def choose_device(name: str) -> torch.device:
    """``auto`` takes the GPU if there is one; a device that was named and is absent is an error.

    Raises
    ------
    BundleError
        The named device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BundleError(f"device '{name}' was asked for, and no GPU can be used here; say cpu, or mend the driver")
    return torch.device(name)
