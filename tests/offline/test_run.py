"""The folder of a run: its files bear the names that older runs have, and a step that was not run is told by its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from app.pipeline import LABELS
from offline.calls import CallOptions, fit_calls, load_calls, measure_calls_of
from offline.data.films import FilmsError
from offline.run import FeatureFiles, FittedArrays, Run, RunRecord

from .small import noise_films, random_run

RUN = Run(Path("runs/a"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (RUN.weights, "network.safetensors"),
        (RUN.training.path, "training.json"),
        (RUN.distillation.path, "distillation.json"),
        (RUN.checkpoint, "checkpoint.pt"),
        (RUN.fit.path, "fit.json"),
        (RUN.orientation.path, "orientation.safetensors"),
        (RUN.orientation_record.path, "orientation.json"),
        (RUN.content.path, "content.safetensors"),
        (RUN.content_record.path, "content.json"),
        (RUN.calls.path, "calls.json"),
        (RUN.calls_report.path, "calls-report.json"),
        (RUN.typical_maps.path, "heatmap.safetensors"),
        (RUN.report.path, "report.json"),
        (RUN.features("val").features, "val-features.npy"),
        (RUN.features("val").logits, "val-logits.npy"),
        (RUN.features("train").moments, "train-moments.safetensors"),
        (RUN.features("train-changed-2").record, "train-changed-2-extracted.json"),
        (RUN.features("test").shard(3, 7).features, "test-3of7-features.npy"),
        (RUN.features("test").shard(1, 1).features, "test-features.npy"),
        (RUN.turned("val"), "val-turned.npz"),
        (RUN.movement("0123456789abcdef", "fedcba987654", 80), "movement-0123456789ab-fedcba98-80"),
        (RUN.stages("aimed", "0123456789abcdef"), "aimed-0123456789ab"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_older_runs_have_these_names(path: Path, name: str) -> None:
    assert path == Path("runs/a") / name


@pytest.mark.parametrize(
    ("missing", "command"), [(RUN.fit, "fit"), (RUN.calls, "calibrate"), (RUN.typical_maps, "calibrate")]
)
def test_a_step_that_was_not_run_is_told(missing: RunRecord | FittedArrays, command: str) -> None:
    with pytest.raises(
        FilmsError, match=rf"{missing.path} is not there; run 'cxr-offline {command} --run runs/a' first"
    ):
        missing.read()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.fit.read_if_there() is None
    run.fit.write({"n": 3})
    assert run.fit.read() == run.fit.read_if_there() == json.loads((tmp_path / "fit.json").read_text()) == {"n": 3}
    across = np.arange(6.0).reshape(2, 3).T  # not contiguous
    run.orientation.write({"weights": across})
    np.testing.assert_array_equal(run.orientation.read()["weights"], across)


def test_shards_are_found_by_their_records(tmp_path: Path) -> None:
    whole = Run(tmp_path).features("val")
    for name in ("val-1of2", "val-2of2", "val-10of12", "train-1of3"):
        FeatureFiles(tmp_path, name).record.write_text("{}")
    whole.shard(2, 3).features.write_text("no record")
    assert {files.name: count for files, count in whole.shards().items()} == {
        "val-1of2": 2, "val-2of2": 2, "val-10of12": 12,
    }  # fmt: skip


def test_a_successor_says_what_it_was_made_of(tmp_path: Path) -> None:
    run, then = random_run(tmp_path / "a", 1), Run(tmp_path / "b" / "c")
    weights = run.network().state_dict()
    assert run.save_successor(then, weights, "blurred") == then.weights
    assert then.training.read() == {**run.training.read(), "initial_weights": "none, then blurred"}
    assert all(torch.equal(value, weights[name]) for name, value in then.network().state_dict().items())


def test_calls_that_are_fitted_anew_leave_no_report_of_the_old_ones(tmp_path: Path) -> None:
    run, films = random_run(tmp_path / "run", 1), noise_films(tmp_path, {"val": 40, "test": 10})
    generator = np.random.default_rng(0)
    for split, count in (("val", 40), ("test", 10)):
        np.save(run.features(split).logits, generator.normal(size=(count, len(LABELS))).astype(np.float32))
        np.save(run.features(split).features, np.zeros((count, 1024), np.float32))
    run.calls_report.write({"of": "older calls"})
    findings = fit_calls(run, films, torch.device("cpu"), CallOptions(0.5, 0.2, movement_films=0, band=0.4))
    assert run.calls_report.read_if_there() is None
    assert load_calls(run)[0] == findings
    measured = measure_calls_of(run, films)
    assert measured["films"] == 10
    assert run.calls_report.read() == json.loads(json.dumps(measured))
