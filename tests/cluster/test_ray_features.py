"""Features extracted as shards on a Ray cluster are those of one process, and so are their moments."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from offline.data.films import SPLITS
from offline.gate.features import merge_shards, saved, saved_moments
from offline.gate.moments import Moments
from offline.run import Run
from tests.cluster.served import ray_environment
from tests.support.bundles import random_network
from tests.support.films import png
from tests.support.processes import ROOT

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'cxr-gate[ray]'")
pytestmark = pytest.mark.slow

#: Three shards of whole batches (of 16), since batches of another size round otherwise; and shards of which one is empty.
COUNTS = {"train": 48, "val": 4, "test": 2}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position", "split"])
        splits = [split for split, count in COUNTS.items() for _ in range(count)]
        for number, split in enumerate(splits):
            (folder / "images" / f"{number}.png").write_bytes(png(number))
            table.writerow([f"{number}.png", "No Finding", number, 50, "PA", split])
    return folder


def a_run(folder: Path) -> Run:
    run = Run(folder)
    run.save_weights(random_network(0).state_dict())
    return run


def features(run: Run, films: Path, *arguments: str, on_ray: bool = False) -> subprocess.CompletedProcess[str]:
    """Run ``cxr-offline features`` to its end, if wanted with a cluster of its own, which ends with it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as own:  # short: sockets lie beneath it
        begin = (
            f"import ray; ray.init(num_cpus=2, num_gpus=0, object_store_memory=100 * 2**20, include_dashboard=False, "
            f"_temp_dir={own!r});"
        )
        command = f"import sys; from offline.cli import main; {begin if on_ray else ''} sys.exit(main(sys.argv[1:]))"
        given = ["features", "--run", str(run), "--data", str(films), "--device", "cpu", "--workers", "0", *arguments]
        return subprocess.run(
            [sys.executable, "-c", command, *given],
            cwd=ROOT,
            env=ray_environment(),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


def test_one_process_and_three_shards_on_ray_agree(films: Path, tmp_path: Path) -> None:
    one, three = a_run(tmp_path / "one"), a_run(tmp_path / "three")
    alone = features(one, films)
    assert alone.returncode == 0, alone.stderr
    spread = features(three, films, "--ray", "3", on_ray=True)
    assert spread.returncode == 0, spread.stderr
    assert "54 films in 3 shards" in spread.stdout
    assert sorted(path.name for path in three.folder.glob("train-*-extracted.json")) == [
        f"train-{index}of3-extracted.json" for index in (1, 2, 3)
    ]
    for split in SPLITS:
        merge_shards(three, split)
        np.testing.assert_allclose(saved(three, split).features, saved(one, split).features, atol=1e-5)
    np.testing.assert_array_equal(saved(three, "train").features, saved(one, "train").features)
    merged, whole = saved_moments(three, "train"), saved_moments(one, "train")
    naive = Moments.of(saved(one, "train").features)
    assert merged.n == whole.n == COUNTS["train"]
    for other in (whole, naive):
        np.testing.assert_allclose(merged.mean, other.mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(merged.covariance, other.covariance, rtol=0, atol=1e-10)


def test_a_film_that_cannot_be_read_is_named(films: Path, tmp_path: Path) -> None:
    (films / "images" / "5.png").write_bytes(png(5)[:300])
    ended = features(a_run(tmp_path / "run"), films, "--ray", "2", on_ray=True)
    assert ended.returncode == 1
    assert "5.png" in ended.stderr


def test_no_cluster_is_said(films: Path, tmp_path: Path) -> None:
    ended = features(a_run(tmp_path / "run"), films, "--ray", "2")
    assert ended.returncode == 1
    assert "no Ray cluster" in ended.stderr
    assert "Traceback" not in ended.stderr
