"""``python -m benchmarks.soak.small PORT BUNDLE``: the service, with a network that costs nothing in place of the bundle's.

All else is the service's own: parsing, limits, decoding, batching, record, answers. So a hundred thousand requests take
minutes, and what grows with their number shows.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import uvicorn
from numpy.typing import NDArray
from torch import Tensor

from app.http.application import create_application
from app.http.wire.protocol import guarded
from app.logs import configure_logging
from app.pipeline import LABELS, Screener, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.pipeline.outputs import Outputs
from app.settings import Settings


class SmallScreener(Screener):
    """Features are the picture at 32x32; the gate accepts the brighter half of films, and the golden check is left out."""

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """See ``Screener``."""
        features = torch.nn.functional.avg_pool2d(images, 7).flatten(1).numpy()
        return Outputs(features, features, features[:, : len(LABELS)])

    def require_golden(self) -> None:
        """There is no bundle of this network."""


def main(port: int, bundle: Path) -> None:
    """Serve on loopback until a signal ends it."""
    configure_logging()
    served = read_bundle(bundle)
    manifest = served.manifest.model_copy(update={"gate": served.manifest.gate.model_copy(update={"threshold": -1e15})})
    served = replace(served, manifest=manifest)
    application = create_application([SmallScreener(served, TorchCpu(served.network))], Settings.from_environment())
    protocol = guarded(application.state.metrics)
    uvicorn.run(application, host="127.0.0.1", port=port, http=protocol, ws="none", log_config=None, access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
