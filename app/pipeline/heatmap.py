"""Where in the film the evidence for a finding lies: its class activation map, beside that of typical clean films.

A class activation map alone is the same on most films: what speaks for Cardiomegaly lies over the heart whether it is large or
not. What differs from the mean map of clean films without findings is what this film adds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .network import ChestNetwork

#: Rows and columns of a map.
MAP_SHAPE: Final = (7, 7)


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
    ndarray, shape (14, 7, 7), float32
        Logits; positive where the film speaks for the finding, negative where it speaks against it.
    """
    with torch.inference_mode():
        normalised = (image - network.image_mean) / network.image_std
        maps = F.relu(network.features(normalised.contiguous(memory_format=torch.channels_last)))
        shares = torch.einsum("lk,kij->lij", network.classifier.weight, maps[0])
    return np.asarray(shares.cpu().numpy(), dtype=np.float32)
