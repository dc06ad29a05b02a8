"""Blocks between the dense blocks of a network. A new block changes nothing, since its last weights start at zero.

A network that was trained without the blocks therefore answers as before; hardening then learns how much they change.
"""

from __future__ import annotations

from typing import Final, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
Filter = Literal["mean", "median"]

CENTRES: Final = 64
#: Dimensions in which distances to centres are measured.
RANK: Final = 32
#: A wider map is compared with a copy pooled to half its side (the subsampling of Wang et al., CVPR 2018, section 3.3): at a
#: side of 56 all pairs of places would cost more than the whole network.
WIDEST: Final = 28


class NonLocalContext(nn.Module):
    """Each place sees all others, and each channel the whole map (He et al., AAAI 2019, non-local context encoder).

    ``z = x + W attend(x)``, then ``z * 2 sigmoid(V mean(z))``. He et al. weigh channels by a learned dictionary of the map; this
    block weighs them by the map's mean (squeeze and excitation: Hu et al., CVPR 2018). W and V start at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.query, self.key, self.value = (nn.Conv2d(channels, half, 1) for _ in range(3))
        self.out = _zero(nn.Conv2d(half, channels, 1))
        self.gate = _zero(nn.Linear(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> the same."""
        coarse = pooled(maps)
        maps = maps + self.out(attend(self.query(maps), self.key(coarse), self.value(coarse)))
        weights = 2 * torch.sigmoid(self.gate(maps.mean((2, 3))))
        weighed: Tensor = maps * weights[:, :, None, None]
        return weighed


class Denoising(nn.Module):
    """A filtered map through a 1 x 1 convolution, added to the map (Xie et al., CVPR 2019, section 4 and figure 3).

    Xie et al. normalise after the convolution, with a scale that starts at zero. Hardening does not change batch statistics, so
    that a normalisation would only be a scale like the convolution's weights. These weights start at zero instead.

    Parameters
    ----------
    kind : "mean" or "median"
        The filter: a mean over all places weighed by likeness, or the median of 3 x 3 places.
    """

    def __init__(self, channels: int, kind: Filter) -> None:
        super().__init__()
        self.kind = kind
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> the same."""
        filtered = median(maps) if self.kind == "median" else non_local_mean(maps)
        added: Tensor = self.out(filtered)
        return maps + added


class RadialBasisMapping(nn.Module):
    """Radial basis functions of each place's features, with learned centres and distance (Taghanaki et al., CVPR 2019).

    ``r_k = exp(-|A x - c_k|^2 / 2 w_k^2)``: a Mahalanobis-like distance of A^T A. Taghanaki et al. append the r_k to the map as
    further channels. A layer that reads both is the sum of a layer that reads the map and a layer that reads the r_k. This block
    is the second one: ``x + W r``. The layers after it keep their width. W starts at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.distance = nn.Conv2d(channels, RANK, 1, bias=False)
        self.centres = nn.Parameter(torch.randn(CENTRES, RANK))
        self.log_widths = nn.Parameter(torch.zeros(CENTRES))
        self.out = _zero(nn.Conv2d(CENTRES, channels, 1))

    def basis(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> (N, CENTRES, H, W), in [0, 1], in float32: differences of large squares need its precision."""
        with torch.autocast(maps.device.type, enabled=False):
            near = F.conv2d(maps.float(), self.distance.weight)
            inner = F.conv2d(near, self.centres[:, :, None, None])
            squares = self.centres.square().sum(1)[:, None, None]
            squared = (near.square().sum(1, keepdim=True) - 2 * inner + squares).clamp_min(0)
            return torch.exp(-squared / (2 * torch.exp(2 * self.log_widths)[:, None, None]))

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> the same."""
        added: Tensor = self.out(self.basis(maps).to(maps))
        return maps + added

    @torch.no_grad()
    def start_at(self, maps: Tensor) -> None:
        """Put centres on places of films, and set widths to their median distance: a centre far from all films learns nothing.

        Parameters
        ----------
        maps : Tensor, shape (N, C, H, W)
        """
        places = F.conv2d(maps, self.distance.weight).movedim(1, -1).flatten(0, 2)
        drawn = torch.randint(len(places), (CENTRES,), generator=torch.Generator().manual_seed(0))
        self.centres.copy_(places[drawn.to(places.device)])
        self.log_widths.fill_(torch.pdist(self.centres).median().clamp_min(1e-6).log())


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The mean of all values at each place, weighed by softmax(query . key / sqrt(d)).

    Parameters
    ----------
    queries : Tensor, shape (N, d, H, W)
    keys : Tensor, shape (N, d, h, w)
    values : Tensor, shape (N, c, h, w)

    Returns
    -------
    Tensor, shape (N, c, H, W)
    """
    # With a dimension for one head: for four-dimensional tensors torch does not store the large array of all pairs' weights.
    query, key, value = (each.flatten(2).transpose(1, 2)[:, None] for each in (queries, keys, values))
    found = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2)
    maps = found.reshape(*found.shape[:2], *queries.shape[2:])
    return maps.contiguous(memory_format=torch.channels_last)


def non_local_mean(maps: Tensor) -> Tensor:
    """A mean of all places weighed by likeness, without embeddings, shape (N, C, H, W) -> the same (Xie et al., section 4.1)."""
    coarse = pooled(maps)
    return attend(maps, coarse, coarse)


def median(maps: Tensor) -> Tensor:
    """The median of 3 x 3 places, edges repeated, shape (N, C, H, W) -> the same."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    height, width = maps.shape[2:]
    near = [padded[:, :, row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return torch.stack(near).median(0).values


def pooled(maps: Tensor) -> Tensor:
    """Maps wider than ``WIDEST`` at half their side (the largest of 2 x 2 places); other maps unchanged."""
    return F.max_pool2d(maps, 2) if maps.shape[-1] > WIDEST else maps


def _zero(layer: Layer) -> Layer:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
