"""What the check of content is learnt from is what it says it is, and the fit is read back as written."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from app.pipeline.content import Content, thumbnails
from offline.data.films import FilmsError
from offline.gate.content import fit_content, load_content
from offline.gate.content.changed import OUT, Shapes, bent, equalised, toned
from offline.gate.content.drawn import drawings, parts
from offline.gate.content.exposed import exposures
from offline.gate.content.fitting import ContentOptions, arrays_of, small_network, subspace
from offline.gate.content.project import (
    AIR,
    FIELD_MM,
    SIDE,
    STEP_MM,
    attenuation,
    body_of,
    make,
    project,
    read_nifti,
    read_projections,
)
from offline.run import Run

from .small import noise_films

QUICK = ContentOptions(steps=3, exposures=8, drawings=14, copies=1, components=4)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray, kind: int = 4) -> Path:
    """A file of `values`, shape (x, y, z), int16, as the NIfTI-1 standard lays it out."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *values.shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, kind, 16)
    struct.pack_into("<3f", header, 108, 352, 2, -1000)
    struct.pack_into("<12f", header, 280, *affine.ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header) + values.astype("<i2").tobytes(order="F")))
    return path


AFFINE = np.array([[-2, 0, 0, 9], [0, 3, 0, 9], [0, 0, 4, 9]], np.float32)


def test_a_nifti_is_read_in_hounsfield_units_with_its_axes(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    volume, spacing = read_nifti(nifti(tmp_path / "a.nii.gz", values, AFFINE))
    assert spacing == (4, 3, 2)
    assert volume[3, 1, 0] == 2 * values[0, 1, 3] - 1000
    other_hand, _ = read_nifti(nifti(tmp_path / "b.nii.gz", values, AFFINE * [[-1], [1], [1]]))
    np.testing.assert_array_equal(other_hand, volume[:, :, ::-1])


@pytest.mark.parametrize("fault", ["type", "axes", "format"])
def test_another_nifti_is_refused(tmp_path: Path, fault: str) -> None:
    affine = np.roll(AFFINE, 1, axis=0) if fault == "axes" else AFFINE
    path = nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16), affine, kind=16 if fault == "type" else 4)
    if fault == "format":
        path.write_bytes(b"nothing" * 99)
    with pytest.raises(ValueError, match=r"a\.nii\.gz"):
        read_nifti(path)


def block() -> torch.Tensor:
    """Water, 42 mm to the side, 84 mm to the front, 126 mm up, in the middle of air."""
    mu = torch.zeros(150, 150, 150)
    mu[30:120, 45:105, 60:90] = 1
    return mu


@pytest.mark.parametrize(("yaw", "width", "depth"), [(0, 42, 84), (90, 84, 42), (180, 42, 84), (270, 84, 42)])
def test_a_ray_meets_as_much_water_as_there_is(yaw: float, width: float, depth: float) -> None:
    rays = project(block(), yaw, 0, 0)
    middle = rays[SIDE // 2, SIDE // 2]
    assert middle == pytest.approx(depth, abs=3)
    assert (rays[SIDE // 2] > depth / 2).sum() * FIELD_MM / (SIDE - 1) == pytest.approx(width, abs=4)
    assert (rays[:, SIDE // 2] > depth / 2).sum() * 150 * STEP_MM / (SIDE - 1) == pytest.approx(126, abs=3)


def test_head_is_up_and_the_body_turns_about_its_length() -> None:
    mu = block()
    mu[120:130, 45:105, 60:90] = 1  # a head at the front end of z
    rays = project(mu, 0, 0, 0)
    occupied = np.flatnonzero(rays[:, SIDE // 2] > 10)
    assert SIDE - 1 - occupied[-1] > occupied[0]
    stretched = project(mu, 0, 0, 0, (1, 1.5, 1))
    assert stretched[SIDE // 2, SIDE // 2] == pytest.approx(1.5 * 84, abs=4)


def test_the_couch_becomes_air() -> None:
    values = np.full((60, 60, 60), AIR, np.float32)
    values[10:50, 20:50, 15:45] = 40
    values[20:40, 30:38, 24:36] = -800  # a lung, within
    values[:, 4:8, :] = 300
    body = body_of(values, (STEP_MM, STEP_MM, STEP_MM))
    assert (body[:, 4:8] == AIR).all()
    assert (body[30, 35, 30], body[12, 25, 20]) == (-800, 40)
    assert attenuation(body, lung=2)[30, 35, 30] == pytest.approx(0.4)


def test_what_is_kept_is_one_body_from_two_sides() -> None:
    kept = read_projections()
    assert kept.frontal.shape[1:] == kept.lateral.shape[1:] == kept.slices.shape[1:] == (SIDE, SIDE)
    assert min(len(kept.frontal), len(kept.lateral), len(kept.slices)) >= 40
    wide = [(one > 25).mean() for one in (kept.frontal, kept.lateral)]
    assert wide[0] > 1.2 * wide[1]  # a chest is broader than deep
    halves = kept.frontal.mean(axis=0)
    assert np.corrcoef(halves.ravel(), halves[:, ::-1].ravel())[0, 1] > 0.95


def test_projections_are_made_of_any_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "offline.gate.content.project.VIEWS", {"frontal": (2, (0.0,), 5.0), "lateral": (1, (90.0,), 5.0)}
    )
    values = np.zeros((30, 30, 30), np.int16)  # 2 v - 1000: air, of which a box is water
    values[8:22, 10:20, 5:25] = 500
    ct = nifti(tmp_path / "ct.nii.gz", values, np.array([[-6, 0, 0, 9], [0, 6, 0, 9], [0, 0, 6, 9]], np.float32))
    make(ct, tmp_path / "made.npz")
    made = read_projections(tmp_path / "made.npz")
    assert (len(made.frontal), len(made.lateral)) == (2, 1)
    assert made.frontal.max() < made.lateral.max()  # 60 mm deep, 84 mm broad


def test_what_is_drawn_and_changed_stays_in_range() -> None:
    generator = np.random.default_rng(0)
    drawn = drawings(14, generator)
    films = exposures(read_projections().frontal, 6, generator, False)
    for pictures in (drawn, films, parts(films, 5, generator), toned(bent(films, generator, Shapes()), generator)):
        assert pictures.dtype == torch.float32
        assert 0 <= float(pictures.min()) < float(pictures.max()) <= 1
    assert (drawn.flatten(1).std(1) > 0).all()


def test_unbent_is_resized_and_mirrored_half_the_time() -> None:
    film = torch.zeros(40, 4 * OUT, 4 * OUT)
    film[:, :OUT, :OUT] = 1
    shown = bent(film, np.random.default_rng(0), Shapes(0, (1, 1), 0, 0, 0))
    corners = shown[:, [2, 2, -3, -3], [2, -3, 2, -3]].round().tolist()
    assert {tuple(one) for one in corners} == {(1, 0, 0, 0), (0, 1, 0, 0)}


def test_equalised_greys_are_ranks() -> None:
    ranks = equalised(torch.tensor([[[0.9, 0.1], [0.3, 0.2]]]))
    torch.testing.assert_close(ranks, torch.tensor([[[3, 0], [2, 1]]]) / 3)


def test_the_trained_network_is_the_one_that_is_served() -> None:
    torch.manual_seed(3)
    network = small_network().eval()
    served = Content(arrays_of(network), np.zeros(1024, np.float32), np.zeros((0, 1024), np.float32), 0.0, 1.0)
    small = thumbnails(np.random.default_rng(0).random((5, 1, 224, 224)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(small).float()[:, None]).numpy()
    np.testing.assert_allclose(served.logits(small), expected, atol=1e-5)


def test_the_subspace_is_numpys() -> None:
    values = np.random.default_rng(0).normal(size=(50, 32, 32))
    mean, basis = subspace(values, 5)
    flat = values.reshape(50, -1)
    _, _, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(basis @ rows[:5].T), np.eye(5), atol=1e-4)
    np.testing.assert_allclose(mean, flat.mean(axis=0), atol=1e-6)


def test_what_was_fitted_is_read_back_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = noise_films(tmp_path, {"train": 3, "val": 2, "test": 1})
    record = fit_content(Run(tmp_path), films, 0, QUICK)
    content, again = load_content(Run(tmp_path))
    assert again == record
    assert record["n"] == 3
    assert record["counts"]["test films"]["images"] == 1
    for row in record["counts"].values():
        assert row["images"] == row["lateral"] + row["other"] + row["passed"]
    assert (content.least_log_odds, content.most_unexplained) == (record["least_log_odds"], record["most_unexplained"])
    anew = Run(tmp_path / "anew")
    anew.folder.mkdir()
    fit_content(anew, films, 0, QUICK)
    for name, array in load_content(anew)[0].arrays.items():
        np.testing.assert_array_equal(array, content.arrays[name])  # the seed decides all
    monkeypatch.setattr("offline.gate.content.fitting.train_network", lambda *_: pytest.fail("trained again"))
    assert fit_content(Run(tmp_path), films, 0, QUICK) == record


def test_a_run_without_it(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="run 'cxr-offline fit"):
        load_content(Run(tmp_path))
