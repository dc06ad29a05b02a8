"""The substitute keeps the served network's contract, train makes it, and attacks on it are what is posted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet50

from app.pipeline import LABELS
from app.pipeline.network import IMAGENET_MEAN, IMAGENET_STD, LogitsOnly
from app.pipeline.outputs import Outputs
from offline.attacks import paper_attacks
from offline.attacks.blackbox import load_substitute
from offline.data.films import FilmsError
from offline.evaluation.uninformed import attack_all
from offline.run import Run
from offline.training.substitute import SubstituteNetwork, initial_network
from offline.training.train import TrainOptions, train

from .small import noise_films

OPTIONS = TrainOptions(epochs=1, batch_size=2, workers=0, arch="resnet50")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = Run(tmp_path_factory.mktemp("run"))
    train(noise_films(output.folder, {"train": 2, "val": 1}), "none", output, OPTIONS, "cpu")
    return output


def test_features_are_torchvisions() -> None:
    whole = resnet50(weights=None, num_classes=len(LABELS)).eval()
    network = SubstituteNetwork(len(LABELS)).eval()
    network.features.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")})
    network.classifier.load_state_dict(whole.fc.state_dict())
    images = torch.rand(2, 1, 224, 224)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        features, _, logits = network(images)
        torch.testing.assert_close(logits, whole((images - mean) / std), rtol=1e-3, atol=1e-4)
    assert features.shape == (2, 2048)
    assert features.min() >= 0


def test_train_records_the_arch_and_it_is_identity(trained: Run) -> None:
    assert trained.training.read()["options"]["arch"] == "resnet50"
    substitute = load_substitute(trained)
    assert isinstance(substitute.network, SubstituteNetwork)
    assert substitute.about["learned_from"] == "labels"
    assert substitute.about["films"] > 0
    films = noise_films(trained.folder, {"train": 2, "val": 1})
    with pytest.raises(FilmsError, match="other options or data"):
        train(films, "none", trained, TrainOptions(epochs=1, batch_size=2, workers=0), "cpu")


def test_a_substitute_is_not_served(trained: Run) -> None:
    with pytest.raises(FilmsError, match="holds a resnet50; only a densenet121"):
        trained.network()


def test_a_run_from_before_there_was_a_choice_resumes(tmp_path: Path) -> None:
    films, run = noise_films(tmp_path, {"train": 2, "val": 1}), Run(tmp_path)
    options = TrainOptions(epochs=1, batch_size=2, workers=0)
    train(films, "none", run, options, "cpu")
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    del checkpoint["identity"]["options"]["arch"]
    torch.save(checkpoint, run.checkpoint)
    before = run.tensors()
    train(films, "none", run, options, "cpu")  # nothing is left to do, and it is not refused
    torch.testing.assert_close(run.tensors(), before, rtol=0, atol=0)
    record = run.training.read()
    del record["options"]["arch"]
    run.training.write(record)
    run.network()
    load_substitute(run)


def test_initial_weights_with_torchvisions_names(tmp_path: Path) -> None:
    source, path = resnet50(weights=None), tmp_path / "resnet.safetensors"
    save_file({name: value.contiguous() for name, value in source.state_dict().items()}, path)
    loaded = initial_network(str(path), "resnet50").features.state_dict()
    for name, value in loaded.items():
        torch.testing.assert_close(value, source.state_dict()[name], rtol=0, atol=0)
    with pytest.raises(FilmsError, match="does not hold a DenseNet-121"):
        initial_network(str(path), "densenet121")
    save_file({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(FilmsError, match="does not hold a ResNet-50"):
        initial_network(str(path), "resnet50")
    with pytest.raises(FilmsError, match="unknown weights 'IMAGENET'"):
        initial_network("IMAGENET", "resnet50")


class Linear(nn.Module):
    """One finding by the first half of the pixels' weights, and one that is always lower."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(0)), requires_grad=False)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        features = images.flatten(1)
        top = features @ self.weights
        return Outputs(features, features, torch.stack([top, top - 100], 1))


def test_transfer_finds_the_optimum_of_a_linear_substitute() -> None:
    levels = np.random.default_rng(1).integers(40, 200, (3, 1, 8, 8), dtype=np.uint8)
    # 12 levels are the most that .05 of 255 holds, rounded too; each pixel moves by them against its weight.
    optimum = levels - 12 * Linear().weights.sign().view(1, 1, 8, 8).numpy()
    for name, options in paper_attacks(0.05, steps=10).items():
        attacked = attack_all(LogitsOnly(Linear()), levels, torch.device("cpu"), name, options)
        np.testing.assert_array_equal(attacked, optimum, err_msg=name)


def test_transfer_is_the_same_for_the_same_seed() -> None:
    logits = LogitsOnly(SubstituteNetwork(len(LABELS)).eval().requires_grad_(False))
    levels = np.random.default_rng(0).integers(0, 256, (1, 1, 224, 224), dtype=np.uint8)
    options = paper_attacks(0.05, steps=1)["PGD"]
    first, again = (attack_all(logits, levels, torch.device("cpu"), "PGD", options) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - levels).max() <= 12


def test_a_folder_without_a_substitute(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="holds no substitute"):
        load_substitute(Run(tmp_path))
