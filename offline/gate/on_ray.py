"""Feature extraction on a Ray cluster: one task a shard, into one folder that all machines see.

Ray Data would move features through its object store to hold them anew as files. They are files already, which ``fit``
maps and merges (offline/gate/features.py), so plain tasks do.
"""

from __future__ import annotations

from dataclasses import replace

import ray

from app.pipeline import choose_device

from ..data.films import Film, FilmsError
from ..run import Run
from .features import Shard
from .fit import extract_shard


def extract_on_ray(run: Run, films: list[Film], count: int, device: str, workers: int) -> list[tuple[int, float]]:
    """Extract every split into `run` as `count` shards; a shard whose machine died is run again on another.

    Parameters
    ----------
    films : list of Film
        Their paths, and `run`, must lead to the same files on every machine.
    device : str
        As of ``choose_device``; a task takes a GPU of its own unless this is cpu, or auto and the cluster has none.
    workers : int
        Processes of each task that decode, and the CPUs that it takes.

    Returns
    -------
    list of (int, float)
        Films of each shard, and the seconds that they took.

    Raises
    ------
    FilmsError
    ConnectionError
        There is no cluster at RAY_ADDRESS.
    """
    if count < 1:
        raise FilmsError(f"{count} shards: there must be at least one")
    if not ray.is_initialized():
        ray.init(address="auto")
    on_gpu = device != "cpu" and (device != "auto" or ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(num_cpus=max(1, workers), num_gpus=int(on_gpu), max_retries=3)(_extract)
    listed = ray.put([replace(film, path=film.path.resolve()) for film in films])
    shards = [Shard(index, count) for index in range(1, count + 1)]
    done: list[tuple[int, float]] = ray.get(
        [task.remote(Run(run.folder.resolve()), listed, shard, device, workers) for shard in shards]
    )
    return done


def _extract(run: Run, films: list[Film], shard: Shard, device: str, workers: int) -> tuple[int, float]:
    return extract_shard(run, films, shard, choose_device(device), workers)
