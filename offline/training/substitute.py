"""An attacker's own network: torchvision's ResNet-50 behind the contract of ``ChestNetwork``."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet121_Weights, ResNet50_Weights, resnet50

from app.pipeline.labels import LABELS
from app.pipeline.network import IMAGENET_MEAN, IMAGENET_STD, ChestNetwork
from app.pipeline.outputs import Outputs

from ..data.films import FilmsError

Arch = Literal["densenet121", "resnet50"]
ARCHS: Final[tuple[Arch, ...]] = get_args(Arch)
SUBSTITUTE_FEATURE_COUNT: Final = 2048
_STAGES: Final = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class SubstituteNetwork(nn.Module):
    """ResNet-50 (He et al., CVPR 2016) on grey images in [0,1], the black-box substitute of Li & Zhu 2020.

    The network holds mean and standard deviation, as ``ChestNetwork`` does, so that an epsilon has the same unit in both.

    Parameters
    ----------
    label_count : int
        Number of logits.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, label_count: int) -> None:
        super().__init__()
        whole = resnet50(weights=None)
        self.features = nn.Sequential(OrderedDict((name, getattr(whole, name)) for name in _STAGES))
        self.classifier = nn.Linear(SUBSTITUTE_FEATURE_COUNT, label_count)
        self.register_buffer("image_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        # Convolutions on the CPU are about twice as fast when channels are innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Compute features and logits.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float, in [0, 1]

        Returns
        -------
        Outputs
            Features, shape (N, 2048): global average of the last feature map, which ends in a ReLU.
        """
        normalised = (images - self.image_mean) / self.image_std  # broadcasts 1 -> 3 channels
        maps = self.features(normalised.contiguous(memory_format=torch.channels_last))
        features = F.adaptive_avg_pool2d(maps, 1).flatten(1)
        return Outputs(features, features, self.classifier(features))


#: The networks that ``train`` makes. Both have ``features`` (a module) and ``classifier``, and return ``Outputs``.
Trainable = ChestNetwork | SubstituteNetwork

_TITLES: Final[dict[Arch, str]] = {"densenet121": "DenseNet-121", "resnet50": "ResNet-50"}


def build(arch: Arch) -> Trainable:
    """A network with random weights and one logit for each finding."""
    return ChestNetwork(len(LABELS)) if arch == "densenet121" else SubstituteNetwork(len(LABELS))


def initial_network(weights: str, arch: Arch = "densenet121") -> Trainable:
    """A network whose backbone comes from a safetensors file, from torchvision by name, or is random.

    Parameters
    ----------
    weights : str
        A local safetensors file with torchvision's names, the name of torchvision weights
        (``IMAGENET1K_V1``, downloaded), or ``none``.

    Raises
    ------
    FilmsError
        A file whose tensors are not those of the architecture, or an unknown name.
    """
    network = build(arch)
    if weights == "none":
        return network
    tensors = load_file(weights) if _is_file(weights) else _downloaded(weights, arch)
    if arch == "densenet121":
        prefix = "features."
        backbone = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    else:  # torchvision's ResNet has no such prefix, and its classifier is called fc
        backbone = {name: value for name, value in tensors.items() if not name.startswith("fc.")}
    try:
        network.features.load_state_dict(backbone)
    except RuntimeError as error:
        raise FilmsError(f"{weights} does not hold a {_TITLES[arch]} backbone: {str(error)[:300]}") from error
    return network


def _is_file(weights: str) -> bool:
    if not weights.endswith(".safetensors"):
        return False
    if not Path(weights).is_file():
        raise FilmsError(f"initial weights {weights} do not exist")
    return True


def _downloaded(weights: str, arch: Arch) -> dict[str, Tensor]:
    known = DenseNet121_Weights if arch == "densenet121" else ResNet50_Weights
    if weights not in known.__members__:
        names = ", ".join(known.__members__)
        raise FilmsError(f"unknown weights '{weights}': a .safetensors file, none, or one of {names}")
    tensors: dict[str, Tensor] = known[weights].get_state_dict(progress=True)
    return tensors
