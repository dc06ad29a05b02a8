"""The offline commands as their users run them: train (killed, resumed, and on two processes), fit, evaluate, export."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main as cxr_gate
from app.pipeline import LABELS, read_bundle
from offline.run import Run
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300.0  # seconds; far over what is needed
QUICK = ("--content-steps", "10")
COUNTS = {"train": 8, "val": 19, "test": 3}  # 19 is the least that a 5 % threshold can be taken from


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labelled")
    (made / "images").mkdir()
    generator = np.random.default_rng(0)
    with (made / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position", "split"])
        number = 0
        for split, count in COUNTS.items():
            for _ in range(count):
                coarse = Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8))
                coarse.resize((224, 224)).save(made / "images" / f"{number}.png")
                finding = LABELS[number % 2] if number % 3 else "No Finding"
                table.writerow([f"{number}.png", finding, number, 50, "PA" if number % 2 else "AP", split])
                number += 1
    return made


def offline(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "offline.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**environment, "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def train_arguments(folder: Path, output: Path) -> list[str | Path]:
    options = "--weights none --epochs 3 --batch-size 4 --precision float32 --workers 0 --device cpu".split()
    return ["train", "--data", folder, "--output", output, *options]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained; killed once its first epoch was saved, and started again."""
    output = tmp_path_factory.mktemp("run")
    process = offline(*train_arguments(folder, output))
    eventually(lambda: Run(output).checkpoint.exists() or process.poll() is not None, TIMEOUT)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    progress = finished(offline(*train_arguments(folder, output)))
    assert "epoch 1/3" not in progress  # at most the epoch in hand was lost
    assert "epoch 3/3" in progress
    return output


def test_from_films_to_a_bundle_that_verifies(folder: Path, run: Path, tmp_path: Path) -> None:
    assert [entry["epoch"] for entry in Run(run).training.read()["history"]] == [1, 2, 3]
    common = ("--data", folder, "--run", run, "--device", "cpu", "--workers", "0")
    assert "19 held-out films" in finished(offline("fit", *common, *QUICK))
    told = finished(offline("calibrate", *common, "--movement-films", "0", "--band", "0.4"))
    assert f"0 of {len(LABELS)} findings are called" in told  # 19 held-out films are too few for a bound of .92
    finished(offline("evaluate", *common, "--steps", "2", "--aimed-films", "0"))
    bundle = tmp_path / "bundle"
    finished(offline("export", *common, "--output", bundle))
    assert cxr_gate(["check-bundle", str(bundle), "--device", "cpu"]) == 0
    manifest = read_bundle(bundle).manifest
    assert manifest.provenance.command is not None
    assert manifest.provenance.command.startswith("cxr-offline export --data")
    assert manifest.provenance.code is not None
    assert manifest.gate.n == COUNTS["train"]
    assert manifest.measured is not None
    assert manifest.measured.test_n == COUNTS["test"]
    assert set(manifest.measured.detection_rate) == {f"{name} epsilon=0.02" for name in ("FGSM", "BIM", "PGD", "MIM")}
    assert manifest.measured.aimed is None
    assert "was not measured against them" in (bundle / "MODEL_CARD.md").read_text()


def test_a_hardened_run_is_fitted_on_variants_and_exported(folder: Path, run: Path, tmp_path: Path) -> None:
    hardened, bundle = tmp_path / "hardened", tmp_path / "bundle"
    common = ("--data", folder, "--device", "cpu", "--workers", "0")
    arguments = ("--epochs", "1", "--batch-size", "4", "--precision", "float32", "--epsilon", "0.004")
    assert "epoch 1/1" in finished(offline("harden", *common, "--run", run, "--output", hardened, *arguments))
    before, after = (Run(each).weights.read_bytes() for each in (run, hardened))
    assert before != after
    Run(hardened).checkpoint.unlink()
    again = finished(offline("harden", *common, "--run", run, "--output", hardened, *arguments))
    assert "epoch" not in again  # it is there whole
    assert Run(hardened).weights.read_bytes() == after
    watched = tmp_path / "watched"
    finished(offline("gate-network", "--run", hardened, "--by", run, "--output", watched))
    gate = ("--variants", "2", "--variant-weight", "0.25", "--scaled", "--lambda", "0.1")
    assert "features of train-changed-2" in finished(offline("fit", *common, "--run", watched, *gate, *QUICK))
    band = ("--movement-films", "0", "--band", "0.4", "--specificity", "0.5", "--least-bound", "0.2")
    assert "findings are called" in finished(offline("calibrate", *common, "--run", watched, *band))
    aimed = ("--aimed-films", "1", "--aimed-steps", "2", "--called-films", "1")
    told = finished(offline("evaluate", *common, "--run", watched, "--steps", "1", *aimed))
    assert "selective, to hide a finding within 2/255: passed with" in told
    finished(offline("export", *common, "--run", watched, "--output", bundle))
    assert cxr_gate(["check-bundle", str(bundle), "--device", "cpu"]) == 0
    manifest = read_bundle(bundle).manifest
    assert (manifest.gate.variants, manifest.gate.variant_weight, manifest.gate.watch) == (2, 0.25, "denseblock1")
    assert manifest.gate.shrinkage == "scaled lambda=0.1"
    assert manifest.measured is not None
    assert manifest.measured.aimed is not None
    assert {(row.attacker, row.knows_the_gate, row.goal) for row in manifest.measured.aimed} == {
        (attacker, knows, goal)
        for attacker, knows in (("minimal", False), ("selective", True), ("steepest", False))
        for goal in ("hide", "invent", "absent-to-present", "present-to-absent")
        if attacker != "steepest" or goal not in ("hide", "invent")
    }
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "after denseblock1 of a second network" in card
    assert "passes as the table says" in card
    assert "Each of these two has 2 steps" in card
    assert "He reached absent to present within" in card
    assert manifest.provenance.initial_weights.startswith("hardened ")


def test_the_papers_rule_warns(folder: Path, run: Path) -> None:
    rule = ("--threshold-rule", "training", "--data", folder, "--run", run, "--device", "cpu", "--workers", "0")
    assert "WARNING: with the threshold from the 8 training images" in finished(offline("fit", *rule, *QUICK))


def test_two_processes_train_one_network(folder: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    progress = finished(offline(*train_arguments(folder, tmp_path), launcher=launcher))
    assert "epoch 3/3" in progress
    assert Run(tmp_path).training.read()["train_count"] == COUNTS["train"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["fit", "--run", "nowhere"], "nowhere/network.safetensors is not there"),
        (["train", "--data", "nowhere", "--output", "x"], "neither labels.csv nor"),
        (["demo", "--film", "nowhere.png"], "nowhere.png"),
    ],
    ids=["no-run", "no-folder", "no-film"],
)
def test_a_wrong_call_is_told_why(arguments: list[str], reason: str, folder: Path, tmp_path: Path) -> None:
    if "--data" not in arguments and arguments[0] != "demo":
        arguments = [*arguments, "--data", str(folder)]
    process = offline(*arguments)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert reason in output
    assert "Traceback" not in output
