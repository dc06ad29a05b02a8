"""Independent libraries on our network: the same question, and for the iterated attacks the same answer."""

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.pipeline.gate import Gate
from offline.attacks import AttackOptions, Target, Victim, attack, paper_attacks, top_finding_loss
from offline.attacks.libraries import (
    BATCH,
    LibraryAttack,
    LibraryMissing,
    Remembered,
    TopOrNot,
    TwoClass,
    apgd,
    classifier_of,
    deepfool,
    square,
    unseat,
)
from offline.attacks.linf import runner_up_loss
from offline.attacks.posting import require_posted

from .toys import Convolutional, apart, gaussian, posted

EPSILON = 8 / 255
OPTIONS = {
    name: AttackOptions(one.epsilon, one.step_size, one.steps, random_start=False, decay=one.decay)
    for name, one in paper_attacks(EPSILON, steps=7).items()
}
names = pytest.mark.parametrize("name", OPTIONS)


class Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images).logits
        return logits


class Centred(nn.Module):
    """Logits less their mean over some images."""

    def __init__(self, logits_of: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.logits_of = logits_of
        self.mean = logits_of(images).mean(0).detach()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.logits_of(images) - self.mean
        return logits


@pytest.fixture(scope="module")
def logits_of() -> nn.Module:
    network = Convolutional()
    network.requires_grad_(True)  # torchattacks reads the device off a parameter
    return Logits(network).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return posted(8, 11)


def by_finding(logits_of: nn.Module, images: Tensor) -> list[tuple[int, Tensor]]:
    """The top findings, and which images have each."""
    with torch.no_grad():
        top = logits_of(images).argmax(1)
    return [(finding, (top == finding).nonzero()[:, 0]) for finding in sorted(set(top.tolist()))]


@pytest.mark.parametrize("point", [0.1, 0.5, 0.8])
def test_cross_entropy_of_two_classes_is_binary_cross_entropy(
    logits_of: nn.Module, images: Tensor, point: float
) -> None:
    edge = float(torch.logit(torch.tensor(point)))
    two = TwoClass(logits_of, 1, edge)(images)
    z = logits_of(images)[:, 1] - edge
    zeros = torch.zeros(len(images), dtype=torch.int64)
    torch.testing.assert_close(F.cross_entropy(two, zeros), F.binary_cross_entropy_with_logits(z, torch.ones_like(z)))
    opposite = TwoClass(logits_of, 1, edge, upward=True)(images)
    torch.testing.assert_close(
        F.cross_entropy(opposite, zeros), F.binary_cross_entropy_with_logits(z, torch.zeros_like(z))
    )
    if point == 0.5:
        ours = top_finding_loss(logits_of(images), torch.ones(len(images), dtype=torch.int64))
        torch.testing.assert_close(F.cross_entropy(two, zeros, reduction="sum"), ours)


@names
def test_agrees_with_torchattacks(logits_of: nn.Module, images: Tensor, name: str) -> None:
    torchattacks: Any = pytest.importorskip(
        "torchattacks",
        reason="torchattacks pins a requests of 2021, so it is not in the dev extra",
        exc_type=ImportError,
    )
    options = OPTIONS[name]
    ours = attack(logits_of, images, options)
    for finding, index in by_finding(logits_of, images):
        model = TwoClass(logits_of, finding)
        theirs = {
            "FGSM": lambda m: torchattacks.FGSM(m, eps=EPSILON),
            "BIM": lambda m: torchattacks.BIM(m, eps=EPSILON, alpha=EPSILON / 4, steps=7),
            "PGD": lambda m: torchattacks.PGD(m, eps=EPSILON, alpha=EPSILON / 4, steps=7, random_start=False),
            "MIM": lambda m: torchattacks.MIFGSM(m, eps=EPSILON, alpha=EPSILON / 4, steps=7, decay=1.0),
        }[name](model)
        found = theirs(images[index], torch.zeros(len(index), dtype=torch.int64))
        torch.testing.assert_close(ours[index], found, rtol=0, atol=1e-6)


@names
def test_agrees_with_art(logits_of: nn.Module, images: Tensor, name: str) -> None:
    evasion: Any = pytest.importorskip("art.attacks.evasion", reason="needs the attacks extra", exc_type=ImportError)
    ours = attack(logits_of, images, OPTIONS[name])
    for finding, index in by_finding(logits_of, images):
        classifier = classifier_of(TwoClass(logits_of, finding), images)
        common = {"eps": EPSILON, "eps_step": EPSILON / 4, "max_iter": 7, "verbose": False}
        theirs = {
            "FGSM": lambda c: evasion.FastGradientMethod(c, eps=EPSILON),
            "BIM": lambda c: evasion.BasicIterativeMethod(c, **common),  # noqa: B023
            "PGD": lambda c: evasion.ProjectedGradientDescent(c, **common),  # noqa: B023
            "MIM": lambda c: evasion.MomentumIterativeMethod(c, decay=1.0, **common),  # noqa: B023
        }[name](classifier)
        found = theirs.generate(images[index].numpy(), y=np.zeros(len(index), dtype=np.int64))
        torch.testing.assert_close(ours[index], torch.from_numpy(found), rtol=0, atol=1e-6)


def linear_optimum_reaches(victim: Victim, films: Tensor, target: Target, epsilon: float) -> Tensor:
    """Whether the best image of the ball reaches the goal, on a linear network."""
    way = victim.network.logits.detach()[target.finding].sign()[:, None] * (1 if target.goal == "invent" else -1)
    optimum = (films + way * min(epsilon, 1.0)).clamp(0, 1)
    return target.reached(victim.network(optimum).logits) & target.eligible


@pytest.mark.parametrize("goal", ["hide", "invent"])
@pytest.mark.parametrize("name", ["apgd", "square", "deepfool"])
def test_theirs_reach_our_goals(name: str, goal: Any) -> None:
    pytest.importorskip("art", reason="needs the attacks extra", exc_type=ImportError)
    victim, films = apart()
    target = victim.choose(goal, films)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    if name == "deepfool":
        result = deepfool(victim, films, target)
        assert result.epsilon == float("inf")
    elif name == "apgd":
        result = apgd(victim, films, target, 8 / 255, steps=20)
    else:
        result = square(victim, films, target, 80 / 255, queries=200)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    possible = linear_optimum_reaches(victim, films, target, result.epsilon)
    assert possible.any()
    if name == "apgd":
        assert result.goal_reached.tolist() == possible.tolist()
    else:  # Square draws at random, and rounding to 8 bits takes some of DeepFool's back over the boundary
        assert not (result.goal_reached & ~possible).any()
        assert result.goal_reached.sum() >= possible.sum() / 2


def test_top_or_not_asks_whether_another_finding_leads(logits_of: nn.Module, images: Tensor) -> None:
    logits = logits_of(images)
    for finding in range(logits.shape[1]):
        two = TopOrNot(logits_of, finding)(images)
        assert (two.argmax(1) == 0).tolist() == (logits.argmax(1) == finding).tolist()
        top = torch.full((len(images),), finding)
        torch.testing.assert_close(-(two[:, 0] - two[:, 1]).sum(), runner_up_loss(logits, top))


@pytest.mark.parametrize(("name", "effort"), [("APGD", 20), ("Square", 200)])
def test_unseat_brings_another_finding_to_the_top(
    logits_of: nn.Module, images: Tensor, name: LibraryAttack, effort: int
) -> None:
    pytest.importorskip("art", reason="needs the attacks extra", exc_type=ImportError)
    near = Centred(logits_of, images)  # the toy's own findings lie too far apart for any small change
    found = unseat(name, near, images, EPSILON, effort)
    require_posted(found)
    assert (found - images).abs().max() <= EPSILON + 1e-6
    assert (near(found).argmax(1) != near(images).argmax(1)).float().mean() >= 0.5
    torch.testing.assert_close(unseat(name, near, images, EPSILON, effort), found, rtol=0, atol=0)


def test_what_is_remembered_is_what_the_network_says_and_is_asked_once(logits_of: nn.Module, images: Tensor) -> None:
    asked: list[int] = []

    class Counting(nn.Module):
        def forward(self, some: Tensor) -> Tensor:
            asked.append(len(some))
            return logits_of(some)  # type: ignore[no-any-return]

    remembered = Remembered(Counting())
    first, twice = images[:2], torch.cat([images[1:3], images[1:2]])
    with torch.no_grad():
        torch.testing.assert_close(remembered(first), logits_of(first))
        torch.testing.assert_close(remembered(twice), logits_of(twice))
        torch.testing.assert_close(remembered(images[:3]), logits_of(images[:3]))
    assert asked == [2, 1]


def test_what_is_remembered_is_bounded(logits_of: nn.Module, images: Tensor) -> None:
    remembered = Remembered(logits_of)
    many = torch.rand(5 * BATCH, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    for image in many:
        with torch.no_grad():
            torch.testing.assert_close(remembered(image[None]), logits_of(image[None]))
    assert len(remembered.known) == 4 * BATCH


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_art(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "art":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_art)
    victim, films = apart()
    with pytest.raises(LibraryMissing, match=r"cxr-gate\[attacks\]"):
        apgd(victim, films, victim.choose("hide", films), EPSILON)


def test_a_convolutional_victim_under_apgd(images: Tensor) -> None:
    pytest.importorskip("art", reason="needs the attacks extra", exc_type=ImportError)
    network = Convolutional()
    outputs = network(images)
    points = torch.sigmoid(outputs.logits).mean(0)
    gate = Gate(gaussian(outputs.features.mean(0), torch.eye(6)), -1e9)
    victim = Victim.of(network, gate, points)
    target = victim.choose("hide", images)
    assert apgd(victim, images, target, 32 / 255, steps=20).success[target.eligible].all()
