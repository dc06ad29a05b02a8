"""A bundle reads back as written; one altered byte, file, number or pairing is refused with the reason."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from scipy.stats import beta

from app.pipeline import LABELS, Bundle, ChestNetwork, Screener, Verdict, choose_device, read_bundle, torch_backend
from app.pipeline.bundle import (
    CONTENT,
    GOLDEN,
    HEATMAP,
    MANIFEST,
    MODEL_CARD,
    NETWORK,
    ORIENTATION,
    Golden,
    write_bundle,
)
from app.pipeline.content import KINDS, Content
from app.pipeline.errors import BackendError, BundleError, NumericalError
from app.pipeline.gate import GAUSSIAN
from app.pipeline.gaussian import Gaussian
from app.pipeline.orientation import SENSES, Orientation
from app.pipeline.preprocess import PREPROCESSING
from tests.support.bundles import random_content

TEXTS = {MODEL_CARD: b"# A model of noise\n", "report/index.html": b"<p>nothing</p>\n"}
FILES = (NETWORK, GAUSSIAN, ORIENTATION, CONTENT, HEATMAP, GOLDEN, *TEXTS)
Parts = tuple[ChestNetwork, Gaussian, Orientation, Content, Golden, NDArray[np.float32]]
CPU = torch.device("cpu")


def on_torch(bundle: Bundle) -> Screener:
    return Screener(bundle, torch_backend(bundle.network, CPU))


def fields() -> dict[str, Any]:
    """A manifest's fields but for those that ``write_bundle`` computes."""
    finding = {
        "slope": 1.0,
        "intercept": 0.0,
        "prevalence": 0.1,
        "present_from": 0.6,
        "absent_below": 0.4,
        "movement": 0.3,
        "specificity": 0.9,
        "specificity_lower_bound": 0.85,
        "sensitivity": None,
        "missed": None,
        "held_out_positives": 0,
        "held_out_negatives": 100,
        "logits_without": [-1.0, 0.0, 1.0],
        "logits_with": [],
        "youden_logit": 0.0,
        "auroc": None,
    }
    return {
        "findings": [{"name": name, **finding} for name in LABELS],
        "preprocessing": dict(PREPROCESSING),
        "gate": {
            "n": 2000,
            "shrinkage": "lambda=0.01",
            "threshold": -1e9,
            "threshold_rule": "held-out",
            "target_false_rejection_rate": 0.05,
            "calibration_n": 139,
            "calibration_bound": 0.09,
        },
        "orientation": {"senses": SENSES, "least_log_density": -3e9, "n": 400},
        "content_check": {"kinds": KINDS, "least_log_odds": -1e9, "most_unexplained": 1e9, "n": 954},
        "fitted_with": {"backend": "torch", "precision": "float32", "versions": {"torch": torch.__version__}},
        "provenance": {"data_sha256": "0" * 64, "initial_weights": "none", "seed": 0, "epochs": 0, "created": "never"},
        "measured": None,
    }


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    network = ChestNetwork(len(LABELS)).eval()
    images = generator.integers(0, 256, (3, 1, 224, 224), dtype=np.uint8)
    with torch.inference_mode():
        features, _, logits = (output.numpy() for output in network(torch.from_numpy(images).float() / 255))
    root = generator.normal(size=(1024, 1024))
    gaussian = Gaussian(features[0].astype(np.float64), np.linalg.cholesky(root @ root.T / 1024 + 0.1 * np.eye(1024)))
    golden = Golden(images, gaussian.log_density(features), expit(logits.astype(np.float64)), np.arange(139.0))
    orientation = Orientation(generator.normal(size=(5, 1024)), np.array([1e6, 1, 2, 3, 4]), -3e9)  # all upright
    typical_maps = generator.normal(size=(len(LABELS), 7, 7)).astype(np.float32)
    return network, gaussian, orientation, random_content(generator, -1e9, 1e9), golden, typical_maps


@pytest.fixture(scope="module")
def written(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "default"
    write_bundle(folder, fields(), *parts, TEXTS)
    return folder


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return read_bundle(written)


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def forge(folder: Path, **changes: Any) -> None:
    """Rewrite the manifest as an adversary would: with digests and version that fit."""
    content = json.loads((folder / MANIFEST).read_text())
    for name in content["files"]:
        if (folder / name).is_file():
            content["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    content = {**content, **changes, "model_version": ""}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    content["model_version"] = f"densenet121-mgm-{digest[:12]}"
    (folder / MANIFEST).write_text(json.dumps(content))


def test_round_trip(bundle: Bundle, parts: Parts) -> None:
    network, gaussian, orientation, shown, golden, typical_maps = parts
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(bundle.network.state_dict()[name], tensor, rtol=0, atol=0)
    np.testing.assert_array_equal(bundle.density.mean, gaussian.mean)
    np.testing.assert_array_equal(bundle.density.cholesky_factor, gaussian.cholesky_factor)
    np.testing.assert_array_equal(bundle.orientation.weights, orientation.weights)
    np.testing.assert_array_equal(bundle.orientation.bias, orientation.bias)
    assert bundle.orientation.least_log_density == -3e9
    np.testing.assert_array_equal(bundle.typical_maps, typical_maps)
    for name, array in shown.arrays.items():
        np.testing.assert_array_equal(bundle.content.arrays[name], array)
    np.testing.assert_array_equal(bundle.content.mean, shown.mean)
    np.testing.assert_array_equal(bundle.content.basis, shown.basis)
    assert (bundle.content.least_log_odds, bundle.content.most_unexplained) == (-1e9, 1e9)
    for name, array in vars(golden).items():
        np.testing.assert_array_equal(getattr(bundle.golden, name), array)
    assert not bundle.network.training
    assert not any(parameter.requires_grad for parameter in bundle.network.parameters())
    assert set(bundle.manifest.files) == set(FILES)
    assert bundle.manifest.gate.threshold == bundle.gate.threshold == -1e9


def test_a_bundle_whose_gate_has_a_watch(parts: Parts, tmp_path: Path) -> None:
    network, gaussian, orientation, shown, golden, typical_maps = parts
    watched = ChestNetwork(len(LABELS), watched=True).eval()
    watched.load_state_dict(network.state_dict(), strict=False)
    content = fields()
    content["gate"]["watch"] = "denseblock1"
    gate = Gaussian(np.zeros(512), np.eye(512))
    write_bundle(tmp_path / "watched", content, watched, gate, orientation, shown, golden, typical_maps, TEXTS)
    bundle = read_bundle(tmp_path / "watched")
    with torch.inference_mode():
        features = bundle.network(torch.from_numpy(golden.images).float() / 255).gate_features.numpy()
    expected = -0.5 * (np.square(features.astype(np.float64)).sum(1) + 512 * np.log(2 * np.pi))
    np.testing.assert_allclose(bundle.gate.log_density(features), expected)
    write_bundle(tmp_path / "watched", content, watched, gaussian, orientation, shown, golden, typical_maps, TEXTS)
    with pytest.raises(BundleError, match="the gate is given 512 features"):
        read_bundle(tmp_path / "watched")
    write_bundle(tmp_path / "watched", fields(), watched, gaussian, orientation, shown, golden, typical_maps, TEXTS)
    with pytest.raises(BundleError, match="DenseNet-121"):
        read_bundle(tmp_path / "watched")


def test_the_same_content_has_the_same_version_and_replaces_what_was_there(
    bundle: Bundle, parts: Parts, copy: Path
) -> None:
    (copy / "left over").write_text("from an older bundle")
    assert write_bundle(copy, fields(), *parts, TEXTS) == bundle.manifest
    assert not (copy / "left over").exists()
    other = write_bundle(copy, fields(), *parts, {**TEXTS, MODEL_CARD: b"other"})
    assert other.model_version != bundle.manifest.model_version
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]  # nothing half-written stays


def test_a_manifest_that_is_not_valid_is_not_written(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="surplus"):
        write_bundle(tmp_path / "bundle", {**fields(), "surplus": 1}, *parts, TEXTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_one_byte_changed(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} has another SHA-256"):
        read_bundle(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_missing(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        read_bundle(copy)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no manifest"):
        read_bundle(tmp_path)


def test_an_edited_threshold(copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    content["gate"]["threshold"] = -1e12
    (copy / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="was changed after it was written"):
        read_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format_version": 3}'], ids=repr)
def test_a_manifest_that_is_none(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(copy)


def swap_gaussian(folder: Path) -> dict[str, Any]:
    save_file(load_file(folder / GAUSSIAN), folder / GAUSSIAN, metadata={"network_sha256": "f" * 64})
    return {}


def unpaired_gaussian(folder: Path) -> dict[str, Any]:
    save_file(load_file(folder / GAUSSIAN), folder / GAUSSIAN)
    return {}


def narrow_gaussian(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    arrays = {"mean": np.zeros(8), "cholesky_factor": np.eye(8)}
    save_file(arrays, folder / GAUSSIAN, metadata={"network_sha256": digest})
    return {}


def incomplete_gaussian(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    save_file({"mean": np.zeros(1024)}, folder / GAUSSIAN, metadata={"network_sha256": digest})
    return {}


def swap_orientation(folder: Path) -> dict[str, Any]:
    save_file(load_file(folder / ORIENTATION), folder / ORIENTATION, metadata={"network_sha256": "f" * 64})
    return {}


def narrow_orientation(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    arrays = {"weights": np.zeros((5, 8)), "bias": np.zeros(5)}
    save_file(arrays, folder / ORIENTATION, metadata={"network_sha256": digest})
    return {}


def incomplete_orientation(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    save_file({"weights": np.zeros((5, 1024))}, folder / ORIENTATION, metadata={"network_sha256": digest})
    return {}


def incomplete_content(folder: Path) -> dict[str, Any]:
    arrays = load_file(folder / CONTENT)
    del arrays["basis"]
    save_file(arrays, folder / CONTENT)
    return {}


def other_content(folder: Path) -> dict[str, Any]:
    save_file({**load_file(folder / CONTENT), "bias": np.zeros(4, np.float32)}, folder / CONTENT)
    return {}


def another_network(folder: Path) -> dict[str, Any]:
    save_file({"weight": np.zeros(3)}, folder / NETWORK)
    return {}


def incomplete_golden(folder: Path) -> dict[str, Any]:
    save_file({"images": np.zeros(3)}, folder / GOLDEN)
    return {}


def outside(folder: Path) -> dict[str, Any]:
    secret = folder.parent / "secret"
    secret.write_text("outside")
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return {"files": {**files, "../secret": hashlib.sha256(secret.read_bytes()).hexdigest()}}


def unlisted(folder: Path) -> dict[str, Any]:
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return {"files": {name: digest for name, digest in files.items() if name != GOLDEN}}


FORGED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "Gaussian of another network": (swap_gaussian, "fitted on another network"),
    "Gaussian that names no network": (unpaired_gaussian, "fitted on another network"),
    "Gaussian of 8 features": (narrow_gaussian, "1024 features"),
    "Gaussian without its factor": (incomplete_gaussian, f"{GAUSSIAN} cannot be used"),
    "weights of something else": (another_network, "DenseNet-121"),
    "golden outputs incomplete": (incomplete_golden, f"{GOLDEN} cannot be used"),
    "path outside the folder": (outside, "outside the bundle"),
    "required file not listed": (unlisted, f"does not list {GOLDEN}"),
    "orientation of another network": (swap_orientation, f"{ORIENTATION} was fitted on another network"),
    "orientation of 8 features": (narrow_orientation, f"{ORIENTATION}: weights for 8 features"),
    "orientation without its bias": (incomplete_orientation, f"{ORIENTATION} cannot be used"),
    "orientation of other senses": (
        lambda folder: {"orientation": {"senses": ["upright"], "least_log_density": 0.0, "n": 1}},
        "not those that this code knows",
    ),
    "format_version 1": (lambda folder: {"format_version": 1}, "format_version 1 is not 3"),
    "fitted without the exposed field": (
        lambda folder: {"format_version": 2},
        "fit it again with 'cxr-offline unpack'",
    ),
    "of the future": (lambda folder: {"format_version": 4}, "format_version 4 is not 3"),
    "content without its basis": (incomplete_content, f"{CONTENT} cannot be used"),
    "content of four kinds": (other_content, f"{CONTENT} cannot be used: the network's arrays have shapes"),
    "content of other kinds": (
        lambda folder: {
            "content_check": {"kinds": ["frontal"], "least_log_odds": 0.0, "most_unexplained": 1.0, "n": 1}
        },
        f"the kinds of {CONTENT} are not those that this code knows",
    ),
    "gate of a kind that is not known": (
        lambda folder: {"gate": {**fields()["gate"], "kind": "nearest"}},
        "a gate of kind 'nearest' is not one of mgm",
    ),
    "field that is not known": (lambda folder: {"surplus": 1}, "cannot be read"),
    "no exposed field": (
        lambda folder: {
            "preprocessing": {name: PREPROCESSING[name] for name in PREPROCESSING if name != "exposed_field"}
        },
        "preprocessing differs.* fit the gate anew with cxr-offline fit",
    ),
    "other preprocessing": (lambda folder: {"preprocessing": {**PREPROCESSING, "side": 256}}, "preprocessing differs"),
    "labels in another order": (
        lambda folder: {"findings": json.loads((folder / MANIFEST).read_text())["findings"][::-1]},
        f"{len(LABELS)} labels",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged(copy: Path, name: str) -> None:
    change, words = FORGED[name]
    forge(copy, **change(copy))
    with pytest.raises(BundleError, match=words):
        read_bundle(copy)


def test_a_link_that_leads_outside(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / MODEL_CARD, tmp_path / "card")
    (copy / MODEL_CARD).symlink_to(tmp_path / "card")
    with pytest.raises(BundleError, match="outside the bundle"):
        read_bundle(copy)


def test_golden_outputs_are_reproduced(bundle: Bundle) -> None:
    on_torch(bundle).require_golden()


def test_golden_outputs_tell_another_gaussian(bundle: Bundle) -> None:
    other = Gaussian(bundle.density.mean + 1, bundle.density.cholesky_factor)
    with pytest.raises(BundleError, match="log densities differ"):
        on_torch(dataclasses.replace(bundle, density=other)).require_golden()


def test_golden_outputs_tell_other_probabilities(bundle: Bundle) -> None:
    golden = dataclasses.replace(bundle.golden, sigmoids=bundle.golden.sigmoids + 0.01)
    with pytest.raises(BundleError, match="golden outputs differ"):
        on_torch(dataclasses.replace(bundle, golden=golden)).require_golden()


def test_screening_judges_each_image_and_one_bad_image_harms_no_neighbour(bundle: Bundle) -> None:
    images = torch.from_numpy(bundle.golden.images).float() / 255
    images[1, 0, 5, 5] = torch.nan
    first, bad, last = on_torch(bundle).screen(images)
    assert isinstance(bad, NumericalError)
    for verdict, row in ((first, 0), (last, 2)):
        assert isinstance(verdict, Verdict)
        assert verdict.log_density == pytest.approx(bundle.golden.log_densities[row], abs=0.5)
        np.testing.assert_allclose(verdict.probabilities, bundle.golden.sigmoids[row], atol=1e-3)


def test_a_gpu_that_is_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(BackendError, match="no GPU"):
        choose_device("cuda")


# What the bundle expects of clean films.


@pytest.mark.parametrize(("target", "m"), [(0.05, 139), (0.05, 19), (0.01, 500)])
def test_the_lower_bound_mirrors_the_upper(bundle: Bundle, target: float, m: int) -> None:
    """Beta(k, m + 1 - k), as of ``offline.gate.threshold.held_out_threshold``, whose 95 % quantile is the upper one."""
    k = round(target * (m + 1))
    gate = bundle.manifest.gate.model_copy(
        update={"target_false_rejection_rate": target, "calibration_n": m, "threshold_rule": "held-out"}
    )
    assert gate.calibration_lower_bound == pytest.approx(beta(k, m + 1 - k).ppf(0.05))
    assert 0 < gate.calibration_lower_bound < target


def test_no_lower_bound_is_claimed_where_there_is_none(bundle: Bundle) -> None:
    gate = bundle.manifest.gate
    assert gate.model_copy(update={"threshold_rule": "training"}).calibration_lower_bound == 0
    assert gate.model_copy(update={"calibration_n": 5}).calibration_lower_bound == 0


def test_percentile_among_the_clean() -> None:
    scores = np.array([-3.0, -1.0, -1.0, 4.0])
    golden = Golden(np.zeros((0, 1, 224, 224), np.uint8), np.zeros(0), np.zeros((0, len(LABELS))), scores)
    for log_density in (-1e9, -3.0, -2.0, -1.0, 0.0, 4.0, 1e9):
        assert golden.clean_percentile(log_density) == sum(score <= log_density for score in scores) / 4


def test_percentiles_of_like_films_are_uniform() -> None:
    """Of m calibration scores and one more, each rank is as likely: P(percentile <= q) = (floor(q m) + 1) / (m + 1)."""
    scores = np.arange(139.0)
    golden = Golden(np.zeros((0, 1, 224, 224), np.uint8), np.zeros(0), np.zeros((0, len(LABELS))), scores)
    percentiles = np.array([golden.clean_percentile(between) for between in np.arange(140) - 0.5])
    for decile in np.arange(1, 11) / 10:
        assert np.mean(percentiles <= decile + 1e-12) == pytest.approx(decile, abs=1 / 140)
