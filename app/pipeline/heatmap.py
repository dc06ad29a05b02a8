"""Where in the film the evidence for a finding lies: its class activation map, beside that of typical clean films.

A class activation map alone is much the same on most films: evidence for Cardiomegaly lies over the heart whether it
is large or not. So the mean map of clean films without findings is subtracted; the rest is particular to this film.
One place of that map says little, and places at the edge of the film least, since the network pads there. So each
place is spread over its neighbours. Then the strongest place lies twice as often in the box that a radiologist drew
(``cxr-offline locate``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .network import ChestNetwork

#: Rows and columns of a map.
MAP_SHAPE: Final = (7, 7)
#: Deviation of the Gaussian that spreads a map, in places: 32 pixels of the network's input.
SPREAD: Final = 1.0


@dataclass(frozen=True)
class Heatmap:
    """The evidence for one finding on one film, by place.

    Attributes
    ----------
    shares : ndarray, shape (7, 7), float32
        Logits that each place adds to those of typical clean films. Their mean is the distance of the finding's
        logit over the typical one.
    rise : float or None
        How far the logit must lie over the typical one for the finding to be called present; None: it is not called.
    """

    shares: NDArray[np.float32]
    rise: float | None

    @property
    def localised(self) -> bool:
        """Whether some place speaks for the finding as strongly as a whole film on which it is called present.

        A finding that is not called has no such point: any place that speaks for it will do.
        """
        most = float(spread(self.shares).max())
        return most > 0 and (self.rise is None or most >= self.rise)

    @property
    def shown(self) -> NDArray[np.float32]:
        """The map for display: ``shares``, spread, where they speak for the finding; shape (7, 7), logits.

        All zero if nothing is localised: scaled to its strongest place, an empty map would look as sure as any other.
        """
        return np.clip(spread(self.shares), 0, None) * np.float32(self.localised)


def spread(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """A Gaussian of deviation ``SPREAD`` over a map, shape (7, 7) -> (7, 7); beyond the film there is nothing.

    A place that its neighbours do not support, as often at the edge, becomes weaker than one that they support.
    """
    far = np.arange(-8, 9)  # beyond this the Gaussian is below 1e-13
    weights = np.exp(-(far**2) / (2 * SPREAD**2))
    weights /= weights.sum()
    side = MAP_SHAPE[0]
    rows = np.array([[weights[8 + column - row] for column in range(side)] for row in range(side)])
    return np.asarray(rows @ shares @ rows.T, dtype=np.float32)


def class_activation_maps(network: ChestNetwork, image: Tensor) -> NDArray[np.float32]:
    """Each place's share of each finding's logit (Zhou et al., CVPR 2016).

    The logit is w . mean over places of y(place) + bias, so a place's share is w . y(place), and the shares' mean and
    the bias add up to the logit exactly. For a network that ends in a mean and one linear layer, Grad-CAM (Selvaraju et
    al., ICCV 2017, section 3.1) is the positive part of this map, up to a factor; no gradient is needed.

    Parameters
    ----------
    network : ChestNetwork
    image : Tensor, shape (1, 1, 224, 224), float32, in [0, 1]

    Returns
    -------
    ndarray, shape (L, 7, 7), float32
        Logits; positive where the film speaks for the finding, negative where it speaks against it.
    """
    with torch.inference_mode():
        normalised = (image - network.image_mean) / network.image_std
        maps = F.relu(network.features(normalised.contiguous(memory_format=torch.channels_last)))
        shares = torch.einsum("lk,kij->lij", network.classifier.weight, maps[0])
    return np.asarray(shares.cpu().numpy(), dtype=np.float32)
