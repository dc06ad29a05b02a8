"""Features and logits of many films, streamed to disk, whole or in shards that are merged afterwards."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from app.pipeline.labels import LABELS
from app.pipeline.network import FEATURE_COUNT, ChestNetwork
from app.pipeline.outputs import Outputs

from ..data.films import Film, FilmsError
from ..data.harmless import drawn
from ..data.loading import Change, in_order
from ..run import FeatureFiles, Run, weights_sha256, write_json
from .moments import Moments

BATCH = 16
BLOCK = 1024  # rows of features in memory at once
#: Increased when the network's input pixels change. Version 3 uses the exposed field.
_RECORD_VERSION = 3
#: Increased when ``harmless.drawn`` draws other changes.
_DRAWN_VERSION = 2


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1. Parts are contiguous and disjoint; their sizes differ by one at most."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise FilmsError(
                f"shard {self.index}/{self.count}: it must be from 1/{self.count} to {self.count}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``3/7`` -> Shard(3, 7).

        Raises
        ------
        FilmsError
            The text has another form.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise FilmsError(f"shard '{text}' is not of the form INDEX/COUNT, as 3/7")
        return cls(int(parts[0]), int(parts[1]))

    def of(self, n: int) -> tuple[int, int]:
        """Start and stop of this shard among `n` films."""
        return (self.index - 1) * n // self.count, self.index * n // self.count

    def files(self, whole: FeatureFiles) -> FeatureFiles:
        """The files of this shard of an extraction."""
        return whole.shard(self.index, self.count)


WHOLE = Shard()


@dataclass(frozen=True)
class Variant:
    """A change of films before the network sees them. Its name is in the record, so that features of other changes
    are not reused."""

    name: str
    change: Change | None


UNCHANGED = Variant("none", None)


def harmless_variant(number: int) -> Variant:
    """Each film gets its own harmless change, which is the same in every run with the same number."""

    def change(index: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return drawn(np.random.default_rng((number, index)))(pixels)

    return Variant(f"harmless-{_DRAWN_VERSION}-{number}", change)


def extract(
    network: ChestNetwork,
    films: list[Film],
    run: Run,
    name: str,
    device: torch.device,
    workers: int,
    shard: Shard = WHOLE,
    variant: Variant = UNCHANGED,
) -> Outputs[NDArray[np.float32]]:
    """Run the network over films, in float32 as in the service. Resident memory does not grow with the number of films.

    Writes the ``FeatureFiles`` of `name`, or of a shard of it, with ``joined`` rows; the record comes last. Shards may run at
    the same time in separate processes, and ``merge_shards`` joins them. A finished extraction is not run again.

    Parameters
    ----------
    films : list of Film
        All films, also for a shard.
    variant : Variant
        A change that is applied to the films first.
    """
    identity = _identity(network, films, variant)
    start, stop = shard.of(len(films))
    files = shard.files(run.features(name))
    if _record(files) == identity:
        return saved(run, files.name)
    run.folder.mkdir(parents=True, exist_ok=True)
    files.record.unlink(missing_ok=True)  # a kill after this line leaves no record, so that nothing is trusted
    width = network.feature_count + (network.gate_feature_count if network.watch is not None else 0)
    features = open_memmap(files.features, "w+", np.float32, (stop - start, width))
    logits = open_memmap(files.logits, "w+", np.float32, (stop - start, len(LABELS)))
    network.eval().to(device)
    done = counted = 0
    moments = Moments(0, np.zeros(width), np.zeros((width, width)))
    began = time.monotonic()
    batches = in_order(films[start:stop], batch_size=BATCH, workers=workers, change=variant.change)
    with torch.inference_mode(), tqdm(total=stop - start, desc=f"features of {files.name}", unit="film") as progress:
        for images, _ in batches:
            outputs = network(images.to(device))
            features[done : done + len(images)] = joined(outputs).cpu().numpy()
            logits[done : done + len(images)] = outputs.logits.cpu().numpy()
            done += len(images)
            if done - counted >= BLOCK or done == stop - start:
                moments, counted = moments.merge(Moments.of(features[counted:done])), done
            progress.update(len(images))
    features.flush()
    logits.flush()
    seconds = time.monotonic() - began
    _save_moments(files, moments)
    write_json(files.record, {**identity, "measured": {"films": done, "seconds": seconds}})
    return saved(run, files.name)


def merge_shards(run: Run, name: str) -> Outputs[NDArray[np.float32]]:
    """Join the shards of `name` in order, block by block, merge their moments, and remove the shards.

    Raises
    ------
    FilmsError
        There are no shards, or one is missing, or they differ in their count, their network or their films.
    """
    whole = run.features(name)
    counts = set(whole.shards().values())
    if len(counts) != 1:
        raise FilmsError(
            f"{run} has shards of {name} out of {' and out of '.join(map(str, sorted(counts)))}; remove one set"
            if counts
            else f"{run} has no shards of {name}; run 'cxr-offline features --shard 1/N' and so on first"
        )
    (count,) = counts
    shards = [whole.shard(index, count) for index in range(1, count + 1)]
    records = [_record(shard) for shard in shards]
    missing = [f"{index}/{count}" for index, record in enumerate(records, start=1) if record is None]
    if missing:
        raise FilmsError(f"of {name}, shard(s) {', '.join(missing)} are missing under {run}; run them, then again")
    identity = records[0]
    if identity is None or any(record != identity for record in records):
        raise FilmsError(f"the shards of {name} under {run} are not of one network and one list of films")
    whole.record.unlink(missing_ok=True)
    _join([shard.features for shard in shards], whole.features, identity["n"])
    _join([shard.logits for shard in shards], whole.logits, identity["n"])
    _save_moments(whole, reduce(Moments.merge, map(_load_moments, shards)))
    films, seconds = (sum(measured(shard)[i] for shard in shards) for i in (0, 1))
    write_json(whole.record, {**identity, "measured": {"films": int(films), "seconds": seconds}})
    for shard in shards:
        shard.remove()
    return saved(run, name)


def reuse_or_extract(
    network: ChestNetwork,
    films: list[Film],
    run: Run,
    name: str,
    device: torch.device,
    workers: int,
    variant: Variant = UNCHANGED,
) -> Outputs[NDArray[np.float32]]:
    """Reuse the stored features of this network and these films, merging shards if needed; if there are none, extract them.

    Raises
    ------
    FilmsError
        Some shards of this network and these films are missing.
    """
    identity = _identity(network, films, variant)
    whole = run.features(name)
    if _record(whole) != identity and any(_record(shard) == identity for shard in whole.shards()):
        return merge_shards(run, name)
    return extract(network, films, run, name, device, workers, variant=variant)


def joined(outputs: Outputs[Tensor]) -> Tensor:
    """Features in one row, as files store them. If the gate has its own network, its features come after the others."""
    if outputs.gate_features is outputs.features:
        return outputs.features
    return torch.cat([outputs.features, outputs.gate_features], 1)


def parted(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of ``joined`` -> features and gate features, as views."""
    return rows[:, :FEATURE_COUNT], rows[:, FEATURE_COUNT:] if rows.shape[1] > FEATURE_COUNT else rows


def saved(run: Run, name: str) -> Outputs[NDArray[np.float32]]:
    """Open the output of ``extract`` or ``merge_shards``, memory-mapped, in the order of the films."""
    files = run.features(name)
    return Outputs(*parted(np.load(files.features, mmap_mode="r")), np.load(files.logits, mmap_mode="r"))


def saved_moments(run: Run, name: str) -> Moments:
    """Moments of the gate features that ``saved`` opens; ``extract`` accumulated them."""
    return _load_moments(run.features(name)).last(saved(run, name).gate_features.shape[1])


def measured(files: FeatureFiles) -> tuple[int, float]:
    """Number of films of an extraction, and its seconds (for merged shards: their sum)."""
    record = json.loads(files.record.read_text())["measured"]
    return record["films"], record["seconds"]


def _identity(network: ChestNetwork, films: list[Film], variant: Variant) -> dict[str, Any]:
    """The network, films and change of an extraction. Features with another identity are not reused.

    Names, sizes and order identify the files: reading all of them again would take as long as the extraction.
    """
    lines = "\n".join(f"{film.path.name}|{film.path.stat().st_size}" for film in films)
    return {
        "network_sha256": weights_sha256(network),
        "films_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "n": len(films),
        "change": variant.name,
        "version": _RECORD_VERSION,
    }


def _record(files: FeatureFiles) -> dict[str, Any] | None:
    """Identity of a finished extraction; None if there is no such extraction."""
    if not files.record.is_file():
        return None
    record: dict[str, Any] = json.loads(files.record.read_text())
    del record["measured"]
    return record


def _join(parts: list[Path], path: Path, n: int) -> None:
    """Concatenate arrays along their first axis, at most ``BLOCK`` rows in memory."""
    whole, done = None, 0
    for part in parts:
        rows = np.load(part, mmap_mode="r")
        if whole is None:
            whole = open_memmap(path, "w+", rows.dtype, (n, *rows.shape[1:]))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            whole[done : done + len(block)] = block
            done += len(block)
    if whole is None or done != n:
        raise FilmsError(f"the shards of {path.name} have {done} rows, and there are {n} films; extract them again")
    whole.flush()


def _save_moments(files: FeatureFiles, moments: Moments) -> None:
    """Write count, mean (d,) and scatter (d, d), float64."""
    arrays = {"n": np.array([moments.n], np.int64), "mean": moments.mean, "scatter": moments.scatter}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, files.moments)


def _load_moments(files: FeatureFiles) -> Moments:
    arrays = load_file(files.moments)
    return Moments(int(arrays["n"][0]), arrays["mean"], arrays["scatter"])
