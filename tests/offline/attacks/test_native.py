"""Attacks at the film's own size see what the service sees."""

import pytest
import torch

from app.pipeline import to_tensor
from app.pipeline.gate import Gate
from offline.attacks import SearchOptions, Victim, at_native_size, selective
from offline.attacks.native import resized

from .toys import Convolutional, gaussian, posted


@pytest.mark.parametrize("side", [224, 225, 300, 512, 1024])
def test_the_resize_is_the_served_one_to_the_bit(side: int) -> None:
    images = posted(2, side, side)
    images[0, 0, : side // 2] = 1.0
    served = torch.cat([to_tensor(image[0].numpy().copy()) for image in images])
    torch.testing.assert_close(resized(images.requires_grad_(True)).detach(), served, rtol=0, atol=0)


def test_films_of_other_shapes_are_stretched_as_served() -> None:
    images = posted(1, 0, 400)[:, :, :, :250]
    torch.testing.assert_close(resized(images), to_tensor(images[0, 0].numpy().copy()), rtol=0, atol=0)


def test_an_attack_at_the_native_size() -> None:
    network = Convolutional()
    images = posted(2, 1, 256)
    features = network(resized(images)).features
    density = gaussian(features.mean(0), 1e-4 * torch.eye(6))
    threshold = float(density.log_density(features.numpy()).min()) - 100
    points = torch.sigmoid(network(resized(images)).logits).mean(0) + 3e-4  # a little over every finding
    victim = Victim.of(network, Gate(density, threshold), points)
    native = at_native_size(victim)
    target = native.choose("invent", images)
    result = selective(native, images, target, SearchOptions(4 / 255, 1 / 255, 20))
    assert result.images.shape == images.shape
    assert result.success[result.eligible].all()
    # What the service says of the posted film, one by one through its own preprocessing.
    for row in range(len(images)):
        served = network(to_tensor(result.images[row, 0].numpy().copy()))
        accepted = float(density.log_density(served.gate_features.numpy())[0]) >= threshold
        assert accepted == bool(result.accepted[row])
        assert bool(target.take(torch.tensor([row])).reached(served.logits)[0]) == bool(result.goal_reached[row])
