"""Put a watch beside a network: the first block of a network that was not hardened, which gives the gate its features."""

from __future__ import annotations

from pathlib import Path

from app.pipeline.labels import LABELS
from app.pipeline.network import GATE_NETWORK_LAYERS, ChestNetwork

from ..run import Run, weights_sha256


def join_gate_network(run: Run, by: Run, output: Run) -> Path:
    """Join the network of `run` with a watch from the network of `by`. Writes an unfitted run; returns its weights file.

    Raises
    ------
    FilmsError
        `run` or `by` has no trained network.
    """
    answering, seeing = run.network(), by.network()
    joined = ChestNetwork(len(LABELS), watched=True)
    weights = {name: value for name, value in answering.state_dict().items() if not name.startswith("watch.")}
    for name, value in seeing.features.state_dict().items():
        if name.split(".")[0] in GATE_NETWORK_LAYERS:
            weights[f"watch.features.{name}"] = value
    joined.load_state_dict(weights)
    record = {**run.training.read(), "watch": f"of network {weights_sha256(seeing)[:12]}"}
    return output.save(joined.state_dict(), record)
