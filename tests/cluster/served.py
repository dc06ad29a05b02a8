"""The service on a Ray cluster of this machine, as ``deploy/ray/serve.yaml`` has it but for folders, port and numbers."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.cluster.ray_proxy import CALLBACK, CALLBACK_VARIABLE
from tests.support.processes import ROOT, clean_environment, free_port
from tests.support.served import Served
from tests.support.waiting import eventually

START_SECONDS = 120.0


class Cluster(Served):
    """A running cluster; ``process`` is the one that all others descend from."""

    def __init__(self, arguments: list[str], port: int, log: Path, environment: dict[str, str], folder: Path) -> None:
        super().__init__(arguments, port, log, environment)
        self.folder = folder  # Ray's own

    def replicas(self) -> list[int]:
        """Process ids of the replicas that are there, ready or not."""
        children: dict[int, list[int]] = {}
        names = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    names[int(entry.name)] = (entry / "cmdline").read_bytes()
                except (OSError, ValueError):  # it has just ended
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found, left = [], [self.process.pid]
        while left:
            left += (below := children.get(left.pop(), []))
            found += [pid for pid in below if b"ServeReplica:cxr-gate:gate" in names[pid]]
        return found

    def metric(self, name: str) -> dict[str, float]:
        """A metric of each replica, summed over its other labels."""
        values: dict[str, float] = {}
        for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", self.get("/metrics").text, re.MULTILINE):
            replica = re.search(r'replica="(\w+)"', labels)
            assert replica, labels
            values[replica[1]] = values.get(replica[1], 0.0) + float(value)
        return values

    def await_replicas(self, count: int) -> None:
        """Wait until so many are ready."""

        def ready() -> bool:
            assert self.process.poll() is None, f"the cluster ended with {self.process.returncode}:\n{self.logged()}"
            with suppress(httpx.TransportError):
                return self.get("/readyz").status_code == 200 and sum(self.metric("cxr_ready").values()) == count
            return False

        eventually(ready, START_SECONDS, self.logged, pause=0.2)


def ray_environment() -> dict[str, str]:
    """For processes that start a cluster, or use one."""
    environment = {
        **clean_environment({}),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else one is written to the home folder
    }
    del environment["CXR_RECORD_URL"]  # each configuration has its own
    return environment


@contextmanager
def serve_cluster(bundle: Path, folder: Path, scaling: dict[str, float], **settings: str) -> Iterator[Cluster]:
    """Run a cluster until the block ends; `scaling` changes ``autoscaling_config``, `settings` the replicas' environment."""
    port = free_port()
    configuration: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    configuration["http_options"]["port"] = port
    (application,) = configuration["applications"]
    application["runtime_env"]["env_vars"] = {
        "CXR_BUNDLE": str(bundle),
        "CXR_RECORD_URL": f"sqlite:///{folder}/record.sqlite",
        "CXR_RECORD_KEY_FILE": f"{folder}/record.key",
        "CXR_METRICS_OPEN": "true",
        **settings,
    }
    application["deployments"][0]["autoscaling_config"].update(scaling)
    (folder / "serve.yaml").write_text(yaml.safe_dump(configuration))
    own = Path(tempfile.mkdtemp(prefix="ray"))  # short: paths of sockets beneath it have at most 107 bytes
    arguments = [str(folder / "serve.yaml"), str(scaling["max_replicas"]), str(own)]
    cluster = Cluster(
        [sys.executable, "-m", "tests.cluster.driver", *arguments],
        port,
        folder / "driver.log",
        {**ray_environment(), CALLBACK_VARIABLE: CALLBACK},
        own,
    )
    try:
        cluster.launch()
        cluster.await_replicas(int(scaling["min_replicas"]))
        yield cluster
    finally:
        cluster.client.close()
        if cluster.process.poll() is None:
            cluster.process.send_signal(signal.SIGINT)
            try:
                cluster.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                cluster.kill()  # its raylet notices, and ends the rest
        shutil.rmtree(own, ignore_errors=True)
