"""A Ray cluster in one process tree that runs a configuration of Ray Serve until it is interrupted.

``python -m tests.cluster.driver CONFIGURATION CPUS FOLDER``
"""

from __future__ import annotations

import sys

import ray
from ray.serve.scripts import cli

if __name__ == "__main__":
    configuration, cpus, folder = sys.argv[1:]
    # Not `ray start`: `ray stop` ends by name whatever Ray runs on the machine, and this ends with its driver.
    ray.init(
        num_cpus=int(cpus),
        num_gpus=0,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        namespace="serve",
        _temp_dir=folder,
    )
    cli(["run", configuration])
