"""Put a watch beside a network: the first block of one that was not hardened, for the gate to look through."""

from __future__ import annotations

import json
from pathlib import Path

from app.pipeline.labels import LABELS
from app.pipeline.network import GATE_NETWORK_LAYERS, ChestNetwork

from ..gate.features import weights_sha256
from ..gate.fit import load_network
from .train import RECORD, WEIGHTS, save_run


def watch(run: Path, by: Path, output: Path) -> Path:
    """Join the network of `run` and a watch from the network of `by`; writes a run like one of ``train``, to be fitted.

    Parameters
    ----------
    run, by, output : Path
        Folders of runs; `output` is made.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    FilmsError
        No trained network in `run` or in `by`.
    """
    answering, seeing = load_network(run), load_network(by)
    joined = ChestNetwork(len(LABELS), watched=True)
    weights = {name: value for name, value in answering.state_dict().items() if not name.startswith("watch.")}
    for name, value in seeing.features.state_dict().items():
        if name.split(".")[0] in GATE_NETWORK_LAYERS:
            weights[f"watch.features.{name}"] = value
    joined.load_state_dict(weights)
    output.mkdir(parents=True, exist_ok=True)
    record = json.loads((run / RECORD).read_text())
    save_run(output, joined.state_dict(), {**record, "watch": f"of network {weights_sha256(seeing)[:12]}"})
    return output / WEIGHTS
