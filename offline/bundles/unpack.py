"""The run in a bundle: its network and the record of its training, to be fitted again.

A gate is fitted on inputs that the code of that version prepared. If the code changes (a new stage before the network, another
bundle format), the network can stay; only its gate must be fitted again.
"""

from __future__ import annotations

import json
from pathlib import Path

from app.pipeline.bundle import MANIFEST, NETWORK, REPORT, read_verified
from app.pipeline.errors import BundleError

from ..data.films import FilmsError
from ..run import Run


def unpack(bundle: Path, output: Run) -> Path:
    """Write the network of a bundle, of this format or an earlier one, as a run like one of ``train``; returns the weights file.

    Parameters
    ----------
    bundle : Path
        Folder of the bundle. The two files must have the SHA-256 in its manifest; nothing else is checked.
    output : Run
        The new run; it must hold no other network.

    Raises
    ------
    BundleError
        There is no manifest, or it does not list a file, or a file was altered.
    FilmsError
        `output` holds another network.
    """
    try:
        files = dict(json.loads((bundle / MANIFEST).read_text())["files"])
        weights, record = (
            read_verified(bundle, name, files[name]) for name in (NETWORK, f"{REPORT}/{output.training.path.name}")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{bundle} holds no bundle with a network and the record of its training ({type(error).__name__}: {error}); "
            "name a folder written by 'cxr-offline export'"
        ) from error
    if output.weights.is_file() and output.weights.read_bytes() != weights:
        raise FilmsError(f"{output.weights} is another network; name a new folder")
    output.folder.mkdir(parents=True, exist_ok=True)
    output.weights.write_bytes(weights)
    output.training.path.write_bytes(record)
    return output.weights
