"""Transfer attacks: made on a substitute, posted to the service."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from .attacks import attack, paper_attacks
from .attacks.posting import posted_within, require_posted
from .distil import DISTILLATION_RECORD
from .films import FilmsError
from .substitute import Trainable, build
from .train import RECORD, WEIGHTS


class _Logits(nn.Module):
    """A substitute as the attacks expect a network: [0,1] pixels in, logits out."""

    def __init__(self, substitute: nn.Module) -> None:
        super().__init__()
        self.substitute = substitute

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.substitute(images)[1]
        return logits


def load_substitute(folder: Path) -> Trainable:
    """The network that ``distil`` or ``train`` wrote into `folder`, of whichever architecture, frozen.

    Raises
    ------
    FilmsError
        There is none.
    """
    records = [folder / name for name in (DISTILLATION_RECORD, RECORD) if (folder / name).is_file()]
    if not records or not (folder / WEIGHTS).is_file():
        raise FilmsError(
            f"{folder} holds no substitute; run 'cxr-offline distil --run RUN --output {folder}' "
            f"or 'cxr-offline train --arch resnet50 --output {folder}' first"
        )
    network = build(json.loads(records[0].read_text())["options"].get("arch", "densenet121"))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FilmsError(f"{folder / WEIGHTS} does not fit {records[0].name}: {str(error)[:300]}") from error
    return network.eval().requires_grad_(False)


def transfer(substitute: nn.Module, images: Tensor, epsilon: float, steps: int, seed: int) -> dict[str, Tensor]:
    """The paper's four attacks with the substitute's gradients alone (Li & Zhu 2020, black box, epsilon .05).

    The loss is the paper's, of the finding that the substitute has highest on the clean image: the attacker
    need not ask the service anything more.

    Parameters
    ----------
    substitute : Module
        (N, 1, 224, 224) in [0,1] -> (features, logits (N, 14)), on the device of `images`.
    images : Tensor, shape (N, 1, 224, 224), in [0, 1], on the 8-bit grid
    epsilon : float
        L-infinity budget in pixel units of [0, 1].
    steps : int
        Of BIM, PGD and MIM.
    seed : int
        Of PGD's random start.

    Returns
    -------
    dict
        FGSM, BIM, PGD and MIM -> what is posted: on the 8-bit grid of [0, 1], within `epsilon`, same shape.

    Raises
    ------
    ValueError
        Images that are not 8-bit.
    """
    require_posted(images)
    logits_of = _Logits(substitute)
    return {
        name: posted_within(attack(logits_of, images, options, seed=seed), images, epsilon)
        for name, options in paper_attacks(epsilon, steps).items()
    }
