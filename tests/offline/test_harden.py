"""Hardening: its attacks keep their budget, its loss counts what attacks move, and a network trained with it moves less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from app.pipeline.outputs import Outputs
from offline.data.augmentation import exposure
from offline.data.films import FilmsError
from offline.run import Run
from offline.training.harden import NOISE, Hardening, HardenOptions, harden
from offline.training.teachers import Together, teacher_of

from .small import noise_films, random_run

ROOT = Path(__file__).resolve().parents[2]
LABELS = 3
EPSILON = 4 / 255


class Linear(nn.Module):
    """A network of one layer, whose strongest attack is known."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.classifier = nn.Linear(64, LABELS)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.randn(LABELS, 64, generator=generator))

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        features = images.flatten(1)
        return Outputs(features, features, self.classifier(features))


def films(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1


def hardening(**options: object) -> Hardening:
    chosen = HardenOptions(**{"epsilon": EPSILON, "precision": "float32", **options})  # type: ignore[arg-type]
    return Hardening(Linear(), torch.ones(LABELS), chosen)


@pytest.mark.parametrize(("steps", "furthest"), [(1, (1 + NOISE) * EPSILON), (3, EPSILON)])
def test_attacks_keep_their_budget(steps: int, furthest: float) -> None:
    images = films(20)
    attacked = hardening(steps=steps).attacked(Linear(), images, EPSILON)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert EPSILON / 2 < (attacked - images).abs().max() <= furthest + 1e-6
    assert not attacked.requires_grad


def test_an_attack_of_several_steps_moves_a_linear_network_as_far_as_can_be() -> None:
    torch.manual_seed(0)
    images, network = films(200), Linear()
    made = hardening(steps=3)
    made._directions = lambda count: torch.tensor([[1.0, 0, 0]]).repeat(count, 1)  # type: ignore[method-assign]
    moved = (network(made.attacked(network, images, EPSILON)).logits - network(images).logits)[:, 0]
    most = EPSILON * network.classifier.weight[0].abs().sum()
    assert (moved > 0.97 * most).all()
    assert (moved <= most * 1.0001).all()


def test_the_loss_is_that_of_the_labels_where_nothing_moves() -> None:
    network = Linear()
    nn.init.zeros_(network.classifier.weight)
    targets = torch.ones(5, LABELS)
    expected = nn.functional.binary_cross_entropy_with_logits(network(films(5)).logits, targets)
    assert torch.isclose(hardening(likeness=0.0).loss(network, films(5), targets, 1.0), expected)


def test_a_network_trained_with_it_moves_less_under_attack() -> None:
    torch.manual_seed(0)
    images, targets = films(64), (torch.rand(64, LABELS) < 0.5).float()
    made = hardening(consistency=30.0, likeness=0.0)
    network = Linear()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    before = network.classifier.weight.abs().sum()
    for step in range(200):
        optimizer.zero_grad()
        made.loss(network, images, targets, step / 200).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert network.classifier.weight.abs().sum() < before / 2


def test_exposure_gives_films() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        film = exposure(films(1)[0])
        assert film.shape == (1, 8, 8)
        assert 0 <= film.min() < film.max() <= 1


@pytest.mark.parametrize("options", [{"epsilon": 0.0}, {"steps": 0}])
def test_options_that_make_no_attack(options: dict[str, float]) -> None:
    with pytest.raises(FilmsError, match="--epsilon must be over 0"):
        HardenOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ramp", "done", "share"), [(0.25, 0.125, 0.5), (0.25, 0.5, 1), (1.0, 0.125, 0.125), (1.0, 1.0, 1), (0.0, 0.001, 1)]
)
def test_the_budget_grows_over_the_ramp(
    monkeypatch: pytest.MonkeyPatch, ramp: float, done: float, share: float
) -> None:
    budgets = []
    made = hardening(ramp=ramp)

    def attacked(network: nn.Module, images: Tensor, epsilon: float) -> Tensor:
        budgets.append(epsilon)
        return images

    monkeypatch.setattr(made, "attacked", attacked)
    made.loss(Linear(), films(1), torch.zeros(1, LABELS), done)
    assert budgets == [pytest.approx(EPSILON * share)]


@pytest.mark.parametrize("ramp", [-0.1, 1.1, float("nan")])
def test_a_ramp_is_a_share(ramp: float) -> None:
    with pytest.raises(FilmsError, match="is not a share of the training"):
        HardenOptions(ramp=ramp)


def test_a_film_shall_be_like_the_mean_answer_of_several_teachers() -> None:
    teachers = [Linear(seed) for seed in (1, 2, 3)]
    network, images, targets = Linear(0), films(4), torch.zeros(4, LABELS)
    deviations = torch.tensor([0.5, 1, 2])

    def loss(likeness: float) -> Tensor:
        options = HardenOptions(epsilon=EPSILON, precision="float32", consistency=0.0, likeness=likeness)
        return Hardening(Together(teachers), deviations, options).loss(network, images, targets, 1.0)

    wanted = sum(images.flatten(1) @ one.classifier.weight.T + one.classifier.bias for one in teachers) / 3
    expected = 0.7 * ((network(images).logits - wanted) / deviations).square().mean()
    torch.testing.assert_close(loss(0.7) - loss(0), expected)


def test_a_run_is_its_own_teacher_unless_another_is_named(tmp_path: Path) -> None:
    run, other = random_run(tmp_path / "run", 1), random_run(tmp_path / "other", 2)
    made = noise_films(tmp_path, {"train": 2, "val": 2})
    options = HardenOptions(epochs=1, batch_size=2, precision="float32", workers=0)

    def hardened(name: str, *teachers: Run) -> tuple[bytes, str]:
        output = Run(tmp_path / name)
        weights = harden(run, made, output, options, torch.device("cpu"), teachers)
        return weights.read_bytes(), output.training.read()["initial_weights"]

    weights, said = hardened("alone")
    assert "taught" not in said
    same, said = hardened("by-itself", run)
    assert weights == same
    assert said.count("taught by network ") == 1
    both, said = hardened("by-both", run, other)
    assert both != weights
    assert said.count("taught by networks ") == 1
    with pytest.raises(FilmsError, match="other options or data"):
        harden(run, made, Run(tmp_path / "alone"), options, torch.device("cpu"), [run, other])


def test_runs_from_before_there_was_a_choice_have_the_usual_ramp() -> None:
    kept = Run(ROOT / "artifacts" / "hardened").training.read()
    assert HardenOptions().record() == kept["options"]
    assert HardenOptions(ramp=1.0).record() == {**kept["options"], "ramp": 1.0}


def test_one_teacher_is_its_network_and_without_a_network_there_is_none(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", 1)
    assert not isinstance(teacher_of([run]), Together)
    assert isinstance(teacher_of([run, run]), Together)
    with pytest.raises(FilmsError, match="is not there"):
        teacher_of([run, Run(tmp_path / "nowhere")])
