"""A network and a film -> maps of one finding, each over the exposed field in the 224 x 224 pixels that the network sees.

    cam             class activation map (Zhou et al., CVPR 2016)
    relative        the same less the mean map of typical clean films
    grad-cam 3      of dense block 3 (Selvaraju et al., ICCV 2017)
    layercam 3, 2   of dense block 3, 2 (Jiang et al., TIP 2021)
    product 3       relative times layercam 3, each scaled to its strongest place

and each of them spread: a Gaussian of one place of the last layer. The served map is "relative, spread".
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from app.pipeline.heatmap import MAP_SHAPE, SPREAD, Heatmap
from app.pipeline.image import INPUT_SIDE
from app.pipeline.network import ChestNetwork

Map = NDArray[np.float32]
SERVED: Final = "relative, spread"
_BLOCKS: Final = ("denseblock2", "denseblock3")
#: Pixels of the network's input.
_SPREAD: Final = SPREAD * INPUT_SIDE / MAP_SHAPE[0]


def maps_of(network: ChestNetwork, image: Tensor, finding: int, typical: Map) -> dict[str, Map]:
    """Every map of one finding, shape (224, 224) each, by its name. Maps are 0 where nothing supports the finding.

    Parameters
    ----------
    image : Tensor, shape (1, 1, 224, 224), in [0, 1]
    typical : ndarray, shape (7, 7)
        Mean class activation map of clean films without findings.
    """
    shares, (second, third) = _passes(network, image, finding)
    relative = shares - typical
    plain = {
        "cam": enlarged(shares),
        "relative": enlarged(relative),
        "grad-cam 3": enlarged(grad_cam(*third)),
        "layercam 3": enlarged(layercam(*third)),
        "layercam 2": enlarged(layercam(*second)),
    }
    plain["product 3"] = _scaled(plain["relative"]) * _scaled(plain["layercam 3"])
    spread = {f"{name}, spread": _blurred(shown) for name, shown in plain.items()}
    spread["product 3, spread"] = _blurred(_scaled(plain["relative"])) * _blurred(_scaled(plain["layercam 3"]))
    spread[SERVED] = enlarged(Heatmap(relative, None).shown)  # as it is served, to the pixel
    return {**plain, **spread}


def grad_cam(maps: Tensor, gradient: Tensor) -> Map:
    """ReLU(sum over k of mean(gradient_k) maps_k): equations 1 and 2 of Selvaraju et al.; shapes (1, K, h, w) -> (h, w)."""
    return _array(F.relu((gradient.mean((2, 3), keepdim=True) * maps).sum(1)))


def layercam(maps: Tensor, gradient: Tensor) -> Map:
    """ReLU(sum over k of ReLU(gradient_k) maps_k), place by place: equations 5 and 6 of Jiang et al.; (1, K, h, w) -> (h, w)."""
    return _array(F.relu((F.relu(gradient) * maps).sum(1)))


def enlarged(shown: Map) -> Map:
    """Positive part, to the network's input size as a heatmap is enlarged when it is shown."""
    positive = Image.fromarray(np.clip(shown, 0, None).astype(np.float32))
    larger = positive.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(larger, dtype=np.float32), 0, None)


def _passes(network: ChestNetwork, image: Tensor, finding: int) -> tuple[Map, list[tuple[Tensor, Tensor]]]:
    """The finding's shares, shape (7, 7), and the maps of each of ``_BLOCKS`` with the logit's gradient."""
    with torch.enable_grad():
        hidden = (image - network.image_mean) / network.image_std
        kept: list[Tensor] = []
        for name, layer in network.features.named_children():
            hidden = layer(hidden)
            if name in _BLOCKS:
                # The layers before need no gradient; the second block's maps are a leaf, and the third's lead to it.
                hidden = hidden.detach().requires_grad_() if not kept else hidden
                kept.append(hidden)
        last = F.relu(hidden)
        logit = network.classifier(last.mean((2, 3)))[0, finding]
        gradients = torch.autograd.grad(logit, kept)
    shares = torch.einsum("k,kij->ij", network.classifier.weight[finding], last[0])
    return _array(shares[None]), list(zip((each.detach() for each in kept), gradients, strict=True))


def _array(maps: Tensor) -> Map:
    return np.asarray(maps[0].detach().cpu().numpy(), dtype=np.float32)


def _scaled(shown: Map) -> Map:
    most = float(shown.max())
    return shown / np.float32(most) if most > 0 else shown


def _blurred(shown: Map) -> Map:
    return np.asarray(gaussian_filter(shown, _SPREAD, mode="constant"), dtype=np.float32)
