"""Attacks of an independent library on our network, through an adapter.

No library takes a multi-label loss in APGD, Square or DeepFool: all of them decide by the largest logit whether to go on with
an image. ``TwoClass`` therefore presents one finding as two classes, which loses nothing: see its identity. ``TopOrNot``
presents in the same way whether a finding leads.

The library is the Adversarial Robustness Toolbox (ART). It was chosen among these:

- ART 1.20: MIT; released in 2025 and maintained; adds only ``six`` to scikit-learn's dependencies; has APGD, Square, DeepFool,
  Carlini & Wagner, and the iterated attacks, with which ours can be compared.
  (Importing it writes a small ``.art`` folder into the home directory, or where ``ART_DATA_PATH`` says.)
- torchattacks 3.5.1: MIT; no release since 2024; pins ``requests~=2.25.1`` of 2021, with its old ``urllib3``. Good to
  compare with in an environment of its own (the tests use it if it is there), not to depend on.
- foolbox 3.3.4: MIT; no release since 2024; pulls in GitPython and requests; has neither APGD nor Square.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from app.pipeline.network import LogitsOnly

from .goals import Target
from .judging import AttackResult, Victim, judged
from .posting import posted_within, require_posted

LibraryAttack = Literal["APGD", "Square"]
BATCH = 16  # images at once in the library's loops


class LibraryMissing(ImportError):
    """The attack library is not installed."""


class TwoClass(nn.Module):
    """One finding of a multi-label network as two classes: 0, the goal is not reached; 1, it is.

    The logits are [-m, 0], with m the margin of ``Target.margin`` (logits past the edge, toward the goal).
    Cross-entropy of class 0 is then

        -log( e^-m / (e^-m + 1) ) = log(1 + e^m) = softplus(m),

    the binary cross-entropy of that finding's sigmoid, shifted by the edge. Downward with the edge at 0, m = -z, and it
    is ``top_finding_loss``, the paper's.

    Parameters
    ----------
    logits_of : Module
        (N, 1, H, W) in [0, 1] -> logits (N, L); see ``app.pipeline.network.LogitsOnly``.
    edge : float
        A logit.
    upward : bool
        As of ``Target``.
    """

    def __init__(self, logits_of: nn.Module, finding: int, edge: float = 0.0, upward: bool = False) -> None:
        super().__init__()
        self.logits_of = logits_of
        self.finding = finding
        self.edge = edge
        self.sign = -1.0 if upward else 1.0

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, H, W) in [0, 1] -> (N, 2)."""
        kept = self.sign * (self.logits_of(images)[:, self.finding] - self.edge)
        return torch.stack([kept, torch.zeros_like(kept)], 1)


class TopOrNot(nn.Module):
    """Whether one finding has the highest logit, as two classes: 0, it has; 1, another leads.

    The logits are [z_f - max of the others, 0]: the margin of Carlini & Wagner 2017 (f_6), and what the untargeted
    difference of logits is for classes that exclude each other.
    """

    def __init__(self, logits_of: nn.Module, finding: int) -> None:
        super().__init__()
        self.logits_of = logits_of
        self.finding = finding

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, H, W) in [0, 1] -> (N, 2)."""
        logits = self.logits_of(images)
        others = torch.cat([logits[:, : self.finding], logits[:, self.finding + 1 :]], 1)
        leads = logits[:, self.finding] - others.amax(1)
        return torch.stack([leads, torch.zeros_like(leads)], 1)


class Remembered(nn.Module):
    """A network that remembers recent images: Square asks three times about each image.

    It is for attacks without gradients.

    Parameters
    ----------
    logits_of : Module
        (N, 1, H, W) in [0, 1] -> logits (N, L).
    """

    def __init__(self, logits_of: nn.Module) -> None:
        super().__init__()
        self.logits_of = logits_of
        self.known: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, H, W) in [0, 1] -> logits (N, L), those of `logits_of`, without a graph."""
        keys = [hashlib.sha256(image.cpu().numpy().tobytes()).digest() for image in images]
        unknown = [place for place, key in enumerate(keys) if key not in self.known]
        if unknown:
            self.known.update(zip([keys[place] for place in unknown], self.logits_of(images[unknown]), strict=True))
        answers = torch.stack([self.known[key] for key in keys])
        for key in keys:  # moved to the end, so that the most recent images are forgotten last
            self.known[key] = self.known.pop(key)
        for key in list(self.known)[: -4 * BATCH]:
            del self.known[key]
        return answers


def apgd(
    victim: Victim,
    images: Tensor,
    target: Target,
    epsilon: float,
    *,
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
) -> AttackResult:
    """Auto-PGD (Croce & Hein, ICML 2020) on the cross-entropy of ``TwoClass``; steps of 2 epsilon at first.

    Its other loss, the difference of logits ratio, needs three classes or more.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]

    Raises
    ------
    LibraryMissing
    """
    make, logits_of = _apgd(epsilon, steps, restarts), LogitsOnly(victim.network)
    return _run(make, logits_of, victim, images, target, epsilon, steps * restarts, seed)


def square(
    victim: Victim, images: Tensor, target: Target, epsilon: float, *, queries: int = 1000, seed: int = 0
) -> AttackResult:
    """Square attack (Andriushchenko et al., ECCV 2020): random squares, no gradient. `steps` counts its queries.

    Raises
    ------
    LibraryMissing
    """
    logits_of = Remembered(LogitsOnly(victim.network))
    return _run(_square(epsilon, queries), logits_of, victim, images, target, epsilon, queries, seed)


def unseat(
    name: LibraryAttack, logits_of: nn.Module, images: Tensor, epsilon: float, effort: int, seed: int = 0
) -> Tensor:
    """APGD or Square without a goal: another finding than the clean image's top finding shall lead.

    Parameters
    ----------
    logits_of : Module
        (N, 1, H, W) in [0, 1] -> logits (N, L).
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    effort : int
        Steps of APGD, queries of Square.

    Returns
    -------
    Tensor, shape (N, 1, H, W), on the 8-bit grid
        Within `epsilon` of `images`.

    Raises
    ------
    LibraryMissing
    """
    with torch.no_grad():
        top = logits_of(images).argmax(1)
    make = _apgd(epsilon, effort, 1) if name == "APGD" else _square(epsilon, effort)
    asked = logits_of if name == "APGD" else Remembered(logits_of)
    groups = [(TopOrNot(asked, finding), (top == finding).nonzero()[:, 0]) for finding in top.unique().tolist()]
    return _attacked(make, groups, images, epsilon, seed)


def deepfool(victim: Victim, images: Tensor, target: Target, *, steps: int = 50, seed: int = 0) -> AttackResult:
    """DeepFool (Moosavi-Dezfooli et al., CVPR 2016): the nearest boundary in L2, with no budget (epsilon infinite).

    It stops just past the boundary, so that the 8-bit rounding moves some of its images back. The result includes this, since
    posted images are judged.

    Raises
    ------
    LibraryMissing
    """
    evasion = _evasion()

    def make(classifier: Any) -> Any:
        return evasion.DeepFool(classifier, max_iter=steps, nb_grads=2, batch_size=BATCH, verbose=False)

    return _run(make, LogitsOnly(victim.network), victim, images, target, math.inf, steps, seed)


def classifier_of(model: nn.Module, images: Tensor, classes: int = 2) -> Any:
    """ART's wrapper of a plain torch module, for images like `images`.

    Raises
    ------
    LibraryMissing
    """
    _evasion()
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model.eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )


def _apgd(epsilon: float, steps: int, restarts: int) -> Callable[[Any], Any]:
    return lambda classifier: _evasion().AutoProjectedGradientDescent(
        classifier,
        norm=np.inf,
        eps=epsilon,
        eps_step=2 * epsilon,
        max_iter=steps,
        nb_random_init=restarts,
        batch_size=BATCH,
        verbose=False,
    )


def _square(epsilon: float, queries: int) -> Callable[[Any], Any]:
    return lambda classifier: _evasion().SquareAttack(
        classifier, norm=np.inf, eps=epsilon, max_iter=queries, batch_size=BATCH, verbose=False
    )


def _run(
    make: Callable[[Any], Any],
    logits_of: nn.Module,
    victim: Victim,
    images: Tensor,
    target: Target,
    epsilon: float,
    steps: int,
    seed: int,
) -> AttackResult:
    """Attack the eligible images, in groups that share finding, edge and direction."""
    asked: dict[tuple[int, float, bool], list[int]] = {}
    questions = zip(target.finding.tolist(), target.edge.tolist(), target.upward.tolist(), strict=True)
    for place, question in enumerate(questions):
        if target.eligible[place]:
            asked.setdefault(question, []).append(place)
    groups = [
        (TwoClass(logits_of, *question), torch.tensor(asked[question], device=images.device))
        for question in sorted(asked)
    ]
    attacked = _attacked(make, groups, images, epsilon, seed)
    spent = torch.where(target.eligible, steps, 0)
    return judged(victim, images, attacked, target, epsilon, spent)


def _attacked(
    make: Callable[[Any], Any], groups: Sequence[tuple[nn.Module, Tensor]], images: Tensor, epsilon: float, seed: int
) -> Tensor:
    """Attack each group of images with its own two-class model, since a library's model handles one finding and edge only."""
    require_posted(images)
    attacked = images.clone()
    with numpy_seed(seed):
        for model, index in groups:
            found = make(classifier_of(model, images)).generate(
                images[index].cpu().numpy(), y=np.zeros(len(index), dtype=np.int64)
            )
            attacked[index] = posted_within(torch.from_numpy(found).to(images), images[index], epsilon)
    return attacked


def _evasion() -> Any:
    try:
        from art.attacks import evasion
    except ImportError as error:
        raise LibraryMissing(
            "this attack comes from the Adversarial Robustness Toolbox: pip install 'cxr-gate[attacks]'"
        ) from error
    return evasion


@contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, from which ART draws, and restore its state afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
