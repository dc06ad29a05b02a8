"""A run: a folder in which each step writes the files that the next step reads. Only this module names these files.

train, harden ...   network.safetensors, training.json (distil: distillation.json); checkpoint.pt while they train
features, fit       NAME-features.npy, NAME-logits.npy, NAME-moments.safetensors, NAME-extracted.json; SPLIT-turned.npz
fit                 gaussian.safetensors, fit.json; orientation.safetensors, .json; content.safetensors, .json
calibrate           calls.json, calls-report.json; heatmap.safetensors; movement-.../
evaluate            report.json; attacked-.../, aimed-.../
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weights
from torch import Tensor, nn

from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork

from .data.films import FilmsError

#: The architecture that is served. Runs from before there was a choice have it too.
PLAIN = "densenet121"


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a small record, readable by people."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the names and values of a network's tensors. It identifies the network that computed some features."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Kept:
    """A file of a run, and the command that writes it. ``read`` raises FilmsError if the file does not exist."""

    path: Path
    command: str

    @property
    def exists(self) -> bool:
        return self.path.is_file()

    def _require(self) -> None:
        if not self.exists:
            run, step = self.path.parent, self.command
            raise FilmsError(f"{self.path} is not there; run 'cxr-offline {step} --run {run}' first")


class RunRecord(_Kept):
    """A step's account of its work, as JSON."""

    def read(self) -> dict[str, Any]:
        """The record."""
        self._require()
        content: dict[str, Any] = json.loads(self.path.read_text())
        return content

    def read_if_there(self) -> dict[str, Any] | None:
        """The record; None if the step was not run."""
        return self.read() if self.exists else None

    def write(self, content: Mapping[str, object]) -> None:
        """Replace the record."""
        write_json(self.path, content)


class FittedArrays(_Kept):
    """The arrays that a step fits, by name."""

    def read(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        self._require()
        return load_file(self.path)

    def write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the arrays."""
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, self.path)


@dataclass(frozen=True)
class FeatureFiles:
    """The files of one extraction, from a split, from its changed copies, or from a shard of either."""

    folder: Path
    name: str

    @property
    def features(self) -> Path:
        return self._path("features.npy")

    @property
    def logits(self) -> Path:
        return self._path("logits.npy")

    @property
    def moments(self) -> Path:
        return self._path("moments.safetensors")

    @property
    def record(self) -> Path:
        """The record is written last: an extraction without a record is not trusted."""
        return self._path("extracted.json")

    def shard(self, index: int, count: int) -> FeatureFiles:
        """The files of one shard. An extraction in one piece has no number in its name."""
        return self if count == 1 else FeatureFiles(self.folder, f"{self.name}-{index}of{count}")

    def shards(self) -> dict[FeatureFiles, int]:
        """The shards that have a record, each with the total count of shards in its name."""
        found = sorted(self.folder.glob(f"{self.name}-*of*-extracted.json"))
        names = [path.name.removesuffix("-extracted.json") for path in found]
        return {FeatureFiles(self.folder, name): int(name.rsplit("of", 1)[1]) for name in names}

    def remove(self) -> None:
        """Delete the files, the record first."""
        for path in (self.record, self.features, self.logits, self.moments):
            path.unlink()

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self.name}-{kind}"


@dataclass(frozen=True)
class Run:
    """The folder of a run, which need not exist yet."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def weights(self) -> Path:
        """The file of the network's weights."""
        return self.folder / "network.safetensors"

    @property
    def training(self) -> RunRecord:
        """How the network was trained: options, digest of the films, initial weights, history."""
        return RunRecord(self.folder / "training.json", "train")

    @property
    def distillation(self) -> RunRecord:
        """How a substitute network was trained from a service's answers."""
        return RunRecord(self.folder / "distillation.json", "distil")

    @property
    def checkpoint(self) -> Path:
        """The file from which training resumes."""
        return self.folder / "checkpoint.pt"

    def density(self, file: str) -> FittedArrays:
        """The gate's density. Each kind of density has its own file name (``app.pipeline.gate``)."""
        return FittedArrays(self.folder / file, "fit")

    @property
    def fit(self) -> RunRecord:
        """How the gate was fitted."""
        return RunRecord(self.folder / "fit.json", "fit")

    @property
    def orientation(self) -> FittedArrays:
        return FittedArrays(self.folder / "orientation.safetensors", "fit")

    @property
    def orientation_record(self) -> RunRecord:
        return RunRecord(self.folder / "orientation.json", "fit")

    @property
    def content(self) -> FittedArrays:
        return FittedArrays(self.folder / "content.safetensors", "fit")

    @property
    def content_record(self) -> RunRecord:
        return RunRecord(self.folder / "content.json", "fit")

    @property
    def calls(self) -> RunRecord:
        """How findings are called."""
        return RunRecord(self.folder / "calls.json", "calibrate")

    @property
    def calls_report(self) -> RunRecord:
        """The results of the calls on the test films."""
        return RunRecord(self.folder / "calls-report.json", "calibrate")

    @property
    def typical_maps(self) -> FittedArrays:
        return FittedArrays(self.folder / "heatmap.safetensors", "calibrate")

    @property
    def report(self) -> RunRecord:
        """The figures of the model card."""
        return RunRecord(self.folder / "report.json", "evaluate")

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The records of the run that a bundle's report holds."""
        return (self.training, self.orientation_record, self.content_record, self.calls, self.calls_report, self.report)

    def features(self, name: str) -> FeatureFiles:
        """The extracted features of a split, or of another set of films that has a name."""
        return FeatureFiles(self.folder, name)

    def turned(self, split: str) -> Path:
        """Features of turned films."""
        return self.folder / f"{split}-turned.npz"

    def movement(self, network_sha256: str, data_sha256: str, films: int, otherwise: str = "") -> Path:
        """Folder for the measurement of how far an attacker moves each logit; `otherwise` names unusual settings."""
        return self.folder / f"movement-{network_sha256[:12]}-{data_sha256[:8]}-{films}{otherwise}"

    def stages(self, kind: str, identity_sha256: str) -> Path:
        """Folder of the stages of a measurement."""
        return self.folder / f"{kind}-{identity_sha256[:12]}"

    def arch(self) -> str:
        """The network's architecture, from its record."""
        record = self.training.read_if_there()
        return str(record["options"].get("arch", PLAIN)) if record else PLAIN

    def tensors(self) -> dict[str, Tensor]:
        """The network's tensors, by name.

        Raises
        ------
        FilmsError
            The run has no network.
        """
        if not self.weights.is_file():
            raise FilmsError(f"{self.weights} is not there; run 'cxr-offline train --output {self}' first")
        return load_weights(self.weights)

    def network(self) -> ChestNetwork:
        """The network, with its watch if it has one, in eval mode and without gradients.

        Raises
        ------
        FilmsError
            The run has no network, or its architecture is not served.
        """
        tensors = self.tensors()
        if self.arch() != PLAIN:
            raise FilmsError(
                f"{self} holds a {self.arch()}; only a {PLAIN} with nothing inside it is fitted and served"
            )
        network = ChestNetwork(len(LABELS), watched=is_watched(tensors))
        network.load_state_dict(tensors)
        return network.eval().requires_grad_(False)

    def save(self, weights: Mapping[str, Tensor], record: Mapping[str, object]) -> Path:
        """Write a network and the record of its training. The run can then be fitted. Returns the weights file."""
        self.save_weights(weights)
        self.training.write(record)
        return self.weights

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write a network; make the folder if it does not exist."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_weights({name: value.contiguous().cpu() for name, value in weights.items()}, self.weights)

    def save_successor(self, output: Run, weights: Mapping[str, Tensor], then: str) -> Path:
        """Write weights that were made from this run's weights into a new run. Returns the weights file.

        `then` says how they were made.
        """
        record = self.training.read()
        return output.save(weights, {**record, "initial_weights": f"{record['initial_weights']}, then {then}"})


def is_watched(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors belong to a network with a watch."""
    return any(name.startswith("watch.") for name in tensors)


def a_run(text: str) -> Run:
    """The run that a command's option names."""
    return Run(Path(text))


def add_run(parser: argparse.ArgumentParser) -> None:
    """The option of a command that works on a run."""
    parser.add_argument("--run", type=a_run, required=True, help="the folder that train wrote")


def add_output(parser: argparse.ArgumentParser, help: str = "the new run's folder") -> None:
    """The option of a command that makes a run."""
    parser.add_argument("--output", type=a_run, required=True, help=help)
