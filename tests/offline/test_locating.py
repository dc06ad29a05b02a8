"""Maps against closed forms, boxes and measures against figures worked out by hand, and the command on films of noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.pipeline import LABELS, ChestNetwork
from app.pipeline.exposed_field import ExposedField
from app.pipeline.heatmap import class_activation_maps, spread
from app.pipeline.network import LogitsOnly
from app.results.heatmap import warmth
from offline.cli import main
from offline.data.films import Film, FilmsError
from offline.locating.boxes import Box, read_boxes
from offline.locating.locate import ANOTHER_FILM, BEST_POINT, MEAN_BOX, POINTS, Located, _baselines
from offline.locating.maps import SERVED, enlarged, grad_cam, layercam, maps_of
from offline.locating.measures import hits, on_original, outside_the_chest, overlap, strongest
from offline.locating.words import table
from tests.offline.small import noise_films
from tests.support.bundles import ACCEPT_EVERYTHING, random_network, write_random_bundle

ROOT = Path(__file__).resolve().parents[2]
WHOLE = ExposedField.whole(512, 512)
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def film(name: str = "a.png", patient: str = "1", split: str = "train") -> Film:
    return Film(Path(name), patient, split, (0,) * len(LABELS), ("No Finding",), "PA", "F", 50)  # type: ignore[arg-type]


def box(left: float, top: float, right: float, bottom: float, patient: str = "1", finding: int = 0) -> Box:
    return Box(film(patient=patient), finding, left, top, right, bottom)


def warm_at(row: int, column: int) -> np.ndarray:
    shown = np.zeros((224, 224), np.float32)
    shown[row, column] = 1
    return shown


# Maps.


@pytest.fixture(scope="module")
def network() -> ChestNetwork:
    return random_network(3).requires_grad_(False)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))


def test_on_the_last_layer_both_have_a_closed_form(network: ChestNetwork, image: torch.Tensor) -> None:
    """There the gradient is w / 49 everywhere: Grad-CAM is the positive part of the class activation map, and LayerCAM leaves
    out the channels whose weight is negative."""
    maps = F.relu(network.features((image - network.image_mean) / network.image_std))
    leaf = maps.detach().requires_grad_()
    network.classifier(leaf.mean((2, 3)))[0, 4].backward()
    assert leaf.grad is not None
    weights, values = network.classifier.weight[4].numpy(), maps[0].numpy()
    cam = np.maximum(np.tensordot(weights, values, 1), 0) / 49
    np.testing.assert_allclose(grad_cam(leaf.detach(), leaf.grad), cam, atol=1e-6)
    np.testing.assert_allclose(
        layercam(leaf.detach(), leaf.grad), np.tensordot(np.maximum(weights, 0), values, 1) / 49, rtol=1e-4, atol=1e-6
    )


def test_grad_cam_is_captums(network: ChestNetwork, image: torch.Tensor) -> None:
    attr = pytest.importorskip(
        "captum.attr", reason="captum is absent: pip install --no-deps captum (compared with 0.9.0)"
    )
    given = image.clone().requires_grad_()
    theirs = attr.LayerGradCam(LogitsOnly(network), network.features.denseblock3).attribute(
        given, target=6, relu_attributions=True
    )
    ours = maps_of(network, image, 6, np.zeros((7, 7), np.float32))["grad-cam 3"]
    np.testing.assert_allclose(ours, enlarged(theirs[0, 0].detach().numpy()), rtol=1e-5, atol=1e-7)


def test_the_gradient_of_an_earlier_block_is_the_slope_of_the_logit(network: ChestNetwork, image: torch.Tensor) -> None:
    """Of a network whose later layers are linear in what block 3 gives: found by moving each place, without autograd."""

    class Linear(ChestNetwork):
        def __init__(self) -> None:
            super().__init__(len(LABELS))
            generator = torch.Generator().manual_seed(5)
            first, last = torch.nn.Conv2d(3, 6, 16, stride=16), torch.nn.Conv2d(6, 1024, 2, stride=2)
            for layer in (first, last):
                torch.nn.init.normal_(layer.weight, 0, 0.1, generator=generator)
                torch.nn.init.constant_(layer.bias, 20.0 if layer is last else 0.0)  # so that the last ReLU is open
            layers = {"denseblock2": first, "denseblock3": torch.nn.Identity(), "denseblock4": last}
            self.features = torch.nn.Sequential()
            for name, layer in layers.items():
                self.features.add_module(name, layer)

    linear = Linear().eval().requires_grad_(False)
    typical = np.zeros((7, 7), np.float32)
    found = maps_of(linear, image, 2, typical)
    hidden = linear.features[0]((image - linear.image_mean) / linear.image_std)
    slopes = torch.zeros_like(hidden)
    for channel in range(6):
        for row in (0, 1):  # the same in each 2 x 2 of places, since the layer's stride is its size
            for column in (0, 1):
                moved = hidden.clone()
                moved[0, channel, row, column] += 1
                change = (
                    linear.classifier(F.relu(linear.features[2](moved)).mean((2, 3)))[0, 2]
                    - linear.classifier(F.relu(linear.features[2](hidden)).mean((2, 3)))[0, 2]
                )
                slopes[0, channel, row::2, column::2] = change
    expected = (F.relu(slopes) * hidden).sum(1).clamp_min(0)[0].numpy()
    np.testing.assert_allclose(found["layercam 3"], enlarged(expected), rtol=0.02, atol=2e-3 * expected.max())


def test_what_is_called_served_is_what_is_served(network: ChestNetwork, image: torch.Tensor) -> None:
    typical = np.random.default_rng(2).normal(-1, 0.5, (7, 7)).astype(np.float32)
    found = maps_of(network, image, 4, typical)
    shares = class_activation_maps(network, image)[4] - typical
    shown = np.clip(spread(shares), 0, None)
    picture = warmth(
        shown, ExposedField.whole(224, 224)
    )  # in shares of the strongest place, of which there is none over 1
    np.testing.assert_allclose(np.clip(found[SERVED] / shown.max(), 0, 1), picture, atol=1e-4)
    assert all(shown.shape == (224, 224) and shown.min() >= 0 for shown in found.values())


# Boxes and measures.


def test_boxes_of_the_films_at_hand(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(HEADER + "a.png,Infiltrate,100,200,50,60,,,\nelsewhere.png,Mass,1,2,3,4,,,\n")
    (one,) = read_boxes(table, [film()])
    assert (LABELS[one.finding], one.left, one.top, one.right, one.bottom) == ("Infiltration", 100, 200, 150, 260)
    assert one.centre == (125, 230)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a.png,Mass,1,2,3", "line 2: has 5 columns"),
        ("a.png,Fracture,1,2,3,4", "line 2: unknown finding 'Fracture'"),
        ("a.png,Mass,1,2,x,4", "must be numbers"),
        ("a.png,Mass,1,2,0,4", "no area"),
        ("a.png,Mass,1,2,nan,4", "no area"),
        ("a.png,Mass,1000,2,100,4", "1024x1024 originals"),
        ("b.png,Mass,1,2,3,4", "no box on any of the 1 films"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(tmp_path: Path, line: str, told: str) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(HEADER + line + "\n")
    with pytest.raises(FilmsError, match=told):
        read_boxes(table, [film()])


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="--boxes"):
        read_boxes(tmp_path / "none.csv", [film()])


def test_a_place_in_the_field_is_found_on_the_original() -> None:
    """A copy of half the size, of which a border was left out."""
    field = ExposedField(512, 512, top=100, left=50, bottom=500, right=250)
    assert on_original((0, 0), field) == (100, 200)
    assert on_original((1, 1), field) == (500, 1000)
    assert on_original((0.25, 0.5), field) == (200, 600)
    row, column = 112, 56  # of 224
    place = strongest(warm_at(row, column))
    assert place == pytest.approx((56.5 / 224, 112.5 / 224))
    assert strongest(np.zeros((224, 224), np.float32)) is None


@pytest.mark.parametrize(
    ("point", "hit"),
    [((150, 150), True), ((85, 150), True), ((84, 150), False), ((210, 210), True), ((212, 212), False), (None, False)],
)
def test_a_hit_may_miss_by_fifteen_pixels(point: tuple[float, float] | None, hit: bool) -> None:
    assert hits(point, box(100, 100, 200, 200)) is hit


def test_overlap_of_rectangles() -> None:
    """A tenth of the field is 5,018 of its 50,176 pixels; the map is as strong as it is far to the right."""
    ramp = np.tile(np.arange(224, dtype=np.float32), (224, 1))
    tenth = box(1024 * 0.9, 0, 1024, 1024)
    assert overlap(ramp, tenth, WHOLE) == pytest.approx(1, abs=0.03)
    assert overlap(ramp, box(0, 0, 1024, 1024), WHOLE) == pytest.approx(0.1, abs=0.003)
    assert overlap(ramp, box(0, 0, 500, 500), WHOLE) == 0
    assert overlap(np.zeros((224, 224), np.float32), tenth, WHOLE) == 0
    left = ExposedField(512, 512, 0, 0, 512, 256)  # the field is the film's left half, and the box the right end of it
    assert overlap(ramp, box(512 * 0.9, 0, 512, 1024), left) == pytest.approx(1, abs=0.03)


def test_beside_the_chest_is_the_outer_tenth() -> None:
    assert not outside_the_chest((0.11, 0.5))
    assert outside_the_chest((0.09, 0.5))
    assert outside_the_chest((0.5, 0.95))
    assert not outside_the_chest(None)


def test_baselines_learn_from_other_patients_only() -> None:
    """Three patients with the same box, whose maps point at it but for one, and one who has it elsewhere."""
    inside, elsewhere = warm_at(112, 60), warm_at(10, 10)  # at (277, 514) and (48, 48) of the original
    same = [
        Located(box(200, 450, 350, 600, patient), WHOLE, {SERVED: shown})
        for patient, shown in (("1", inside), ("2", inside), ("3", elsewhere))
    ]
    other = Located(box(900, 900, 1000, 1000, "4"), WHOLE, {SERVED: inside})
    rates = _baselines([*same, other], [*same, other])
    assert rates[BEST_POINT] == 0.75  # the three help each other
    assert rates[MEAN_BOX] == 0  # two there and one far away: the mean lies in none
    # maps of the other three: of patient 1: 2 hits, 3 does not, 4's does; and so on; none hits patient 4's box
    assert rates[ANOTHER_FILM] == pytest.approx(np.mean([2 / 3, 2 / 3, 1.0, 0.0]))
    assert rates["middle of the lung at the film's left"] == 0.75
    assert set(POINTS) < rates.keys()
    alone = [replace(same[0])]
    assert set(_baselines(alone, alone)) == set(POINTS)  # nothing to learn from


# The page and the command.


def test_the_pages_figures_are_the_reports() -> None:
    report = json.loads((ROOT / "reports" / "heatmaps" / "located.json").read_text())
    assert f"<!-- table -->\n{table(report)}<!-- end of table -->" in (ROOT / "docs" / "heatmaps.md").read_text()


def test_the_command_reports_both_groups_and_writes_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "films"
    data.mkdir()
    films = noise_films(data, {"train": 2, "val": 1, "test": 1})
    rows = "".join(
        f"{each.path.name},{'|'.join(each.findings)},{each.patient},50,F,PA,{each.split}\n" for each in films
    )
    (data / "labels.csv").write_text(
        "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position,split\n" + rows
    )
    boxed = (films[0], films[3])
    (data / "boxes.csv").write_text(HEADER + "".join(f"{each.path.name},Mass,100,100,500,500,,,\n" for each in boxed))
    bundle = write_random_bundle(tmp_path / "bundle", ACCEPT_EVERYTHING)
    output = tmp_path / "located"
    assert (
        main(["locate", "--data", str(data), "--bundle", str(bundle), "--output", str(output), "--device", "cpu"]) == 0
    )
    report = json.loads((output / "located.json").read_text())
    assert {name: group["boxes"] for name, group in report["groups"].items()} == {
        "all": 2,
        "trained on": 1,
        "not trained on": 1,
    }
    assert sum(counted["answers"] for counted in report["localised"].values()) == len(LABELS)  # one test film
    assert report["split_is_the_networks"] is False
    assert (output / "located.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert "<- served" in said
    assert "trained on other films" in said
    for secret in (each.path.stem for each in films):
        assert secret not in (output / "located.json").read_text()
