"""The systems that are compared, and how each is started; ``README.md`` says why each is set as it is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path

from app.settings import Settings
from benchmarks.answers import Protocol
from benchmarks.environments import FOLDER, executables

#: In every process: OpenMP's threads sleep while they wait, as in the Makefile; and numpy's product of the Gaussian wakes
#: no thread of OpenBLAS, which would spin for a quarter of the CPU (ours sets that itself; the peers get it from here).
COMMON = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes
    ----------
    name : str
    peer : str
        Folder below ``peers`` and name of its environment; empty for ours.
    command : tuple of str
        ``{bin}`` is the environment's folder of executables, ``{port}`` the port to listen on, ``{workers}`` BENCH_WORKERS.
    path : str
    protocol : str
    variables : dict
        Added to the environment; ``BENCH_WORKERS`` processes (or replicas) run the network with ``BENCH_THREADS`` each.
    """

    name: str
    peer: str
    command: tuple[str, ...]
    path: str = "/score"
    protocol: Protocol = "json"
    variables: dict[str, str] = field(default_factory=dict)

    def started(self, port: int, bundle: Path) -> tuple[list[str], dict[str, str]]:
        """Command line and environment."""
        folder = str(executables(self.peer)) if self.peer else str(Path(sys.executable).parent)
        workers = self.variables.get("BENCH_WORKERS", "")
        command = [part.format(bin=folder, port=port, bundle=bundle, workers=workers) for part in self.command]
        # cxr-gate refuses settings that it does not know, and must not get this shell's.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
        given = {"PYTHONPATH": str(Path.cwd()), "BENCH_BUNDLE": str(bundle)}
        return command, inherited | COMMON | given | self.variables


def ours() -> list[System]:
    """One row for each backend that is installed."""
    command = ("{bin}/python", "-m", "app.cli", "serve", "--bundle", "{bundle}", "--port", "{port}")
    state = {
        "CXR_RECORD_URL": f"sqlite:///{FOLDER.resolve()}/record.sqlite",
        "CXR_RECORD_KEY_FILE": str(FOLDER.resolve() / "record.key"),
        "CXR_METRICS_OPEN": "true",
    }
    backends: list[dict[str, str]] = [{}]
    if "backend" in {setting.name for setting in fields(Settings)}:
        names = ["torch", "openvino"] if find_spec("openvino") else ["torch"]
        backends = [{"CXR_BACKEND": name} for name in names]
    return [
        System(f"ours, {backend.get('CXR_BACKEND', 'torch')}", "", command, "/v1/score", "ours", state | backend)
        for backend in backends
    ]


def _sized(workers: int, threads: int, wait_ms: int | None = None) -> dict[str, str]:
    sizes = {"BENCH_WORKERS": str(workers), "BENCH_THREADS": str(threads)}
    return sizes if wait_ms is None else sizes | {"BENCH_WAIT_MS": str(wait_ms)}


def _uvicorn(application: str) -> tuple[str, ...]:
    module = f"benchmarks.peers.fastapi.server:{application}"
    return (
        "{bin}/uvicorn",
        module,
        "--workers",
        "{workers}",
        "--port",
        "{port}",
        "--no-access-log",
        "--log-level",
        "warning",
    )


def peers() -> list[System]:
    """The other ways to serve the same network."""
    script = ("{bin}/python", "benchmarks/peers/{name}/server.py", "--port", "{port}")

    def run(name: str) -> tuple[str, ...]:
        return tuple(part.replace("{name}", name) for part in script)

    mosec = (*run("mosec"), "--address", "127.0.0.1", "--timeout", "60000", "--max-request-size", "67108864")
    bentoml = ("{bin}/bentoml", "serve", "benchmarks.peers.bentoml.server:BentoFilms", "--host", "127.0.0.1", "--port")
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    # Its shared-memory store starts a process with the stub's own Python, which fails beside the library of Python 3.11.7.
    triton = _sized(2, 1, 1) | {"PYTRITON_NO_TENSORSTORE": "1"}
    return [
        System("FastAPI, def", "fastapi", _uvicorn("in_threads"), variables=_sized(2, 1)),
        System("FastAPI, async def", "fastapi", _uvicorn("in_loop"), variables=_sized(2, 1)),
        System("LitServe", "litserve", run("litserve"), variables=_sized(2, 1, 1)),
        System("BentoML", "bentoml", (*bentoml, "{port}"), variables=_sized(1, 2) | {"BENTOML_DO_NOT_TRACK": "True"}),
        System("Ray Serve", "ray", run("ray"), variables=_sized(2, 1, 1) | ray),
        System("mosec", "mosec", mosec, variables=_sized(2, 1, 1)),
        System("Triton (PyTriton)", "pytriton", run("pytriton"), "/v2/models/films/infer", "triton", triton),
    ]
