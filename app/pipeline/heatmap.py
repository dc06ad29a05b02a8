"""Where in the film the evidence for a finding lies: the class activation map."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .network import ChestNetwork


def class_activation_map(network: ChestNetwork, image: Tensor, finding: int) -> NDArray[np.float32]:
    """Each place's share of a finding's logit (Zhou et al., CVPR 2016).

    The logit is w . mean over places of y(place) + bias, so a place's share is w . y(place), and the shares' mean and
    the bias add up to the logit exactly. For a network that ends in a mean and one linear layer, Grad-CAM (Selvaraju et
    al., ICCV 2017, section 3.1) is the positive part of this map, up to a factor; no gradient is needed.

    Parameters
    ----------
    network : ChestNetwork
    image : Tensor, shape (1, 1, 224, 224), float32, in [0, 1]
    finding : int
        Row of the classifier.

    Returns
    -------
    ndarray, shape (7, 7), float32
        Logits; positive where the film speaks for the finding, negative where it speaks against it.
    """
    with torch.inference_mode():
        normalised = (image - network.image_mean) / network.image_std
        maps = F.relu(network.features(normalised.contiguous(memory_format=torch.channels_last)))
        shares = torch.einsum("k,kij->ij", network.classifier.weight[finding], maps[0])
    return np.asarray(shares.cpu().numpy(), dtype=np.float32)
