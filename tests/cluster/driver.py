"""A Ray cluster in one process tree that runs a configuration of Ray Serve until it is told to stop: driver.py YAML CPUS."""

from __future__ import annotations

import sys
import tempfile

import ray
from ray.serve.scripts import cli

if __name__ == "__main__":
    # Not `ray start`, which `ray stop` would end by name together with everybody's else; this one ends with its driver.
    ray.init(
        num_cpus=int(sys.argv[2]),
        num_gpus=0,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=True,
        namespace="serve",
        _temp_dir=tempfile.mkdtemp(prefix="ray"),
    )
    cli(["run", sys.argv[1]])
