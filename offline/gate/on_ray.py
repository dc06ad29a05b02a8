"""Feature extraction on a Ray cluster: one task for each shard, into a folder that all machines share.

Plain tasks are enough: the features are already files, which ``fit`` maps and merges (offline/gate/features.py). Ray Data would
move them through its object store, only to write files again.
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
    """Extract every split into `run` as `count` shards. If a machine dies, its shard runs again on another machine.

    Parameters
    ----------
    films : list of Film
        Their paths, and `run`, must lead to the same files on every machine.
    device : str
        As for ``choose_device``. Each task takes one GPU, unless this is cpu, or auto on a cluster without GPUs.
    workers : int
        Number of decoding processes, and of CPUs, of each task.

    Returns
    -------
    list of (int, float)
        Number of films of each shard, and its seconds.

    Raises
    ------
    FilmsError
        `count` is under 1.
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
