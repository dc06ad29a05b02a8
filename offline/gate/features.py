"""Features and logits of many films, streamed to disk, whole or in shards that are merged afterwards."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from app.pipeline.labels import LABELS
from app.pipeline.network import FEATURE_COUNT, ChestNetwork
from app.pipeline.outputs import Outputs

from ..data.films import Film, FilmsError
from ..data.harmless import drawn
from ..data.loading import Change, in_order
from .moments import Moments

BATCH = 16
BLOCK = 1024  # rows of features in memory at once
#: Raised when the pixels that the network gets change: 3 are those of the exposed field.
_RECORD_VERSION = 3
#: Raised when ``harmless.drawn`` draws other changes.
_DRAWN_VERSION = 2


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1: contiguous, disjoint, and of sizes that differ by one at most."""

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
            Anything else.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise FilmsError(f"shard '{text}' is not of the form INDEX/COUNT, as 3/7")
        return cls(int(parts[0]), int(parts[1]))

    def of(self, n: int) -> tuple[int, int]:
        """Start and stop of this shard among `n` films."""
        return (self.index - 1) * n // self.count, self.index * n // self.count

    def file_name(self, name: str) -> str:
        """Stem of this shard's files; the whole has no number in it."""
        return name if self.count == 1 else f"{name}-{self.index}of{self.count}"


WHOLE = Shard()


@dataclass(frozen=True)
class Variant:
    """What is done to films before they are seen; its name says so in the record, so that nothing else is reused."""

    name: str
    change: Change | None


UNCHANGED = Variant("none", None)


def harmless_variant(number: int) -> Variant:
    """Each film under a harmless change of its own, the same in every run of the same number."""

    def change(index: int, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return drawn(np.random.default_rng((number, index)))(pixels)

    return Variant(f"harmless-{_DRAWN_VERSION}-{number}", change)


@dataclass(frozen=True)
class _Identity:
    """What features are of; anything else is not reused."""

    network_sha256: str
    films_sha256: str
    n: int
    change: str
    version: int = _RECORD_VERSION


def extract(
    network: ChestNetwork,
    films: list[Film],
    folder: Path,
    name: str,
    device: torch.device,
    workers: int,
    shard: Shard = WHOLE,
    variant: Variant = UNCHANGED,
) -> Outputs[NDArray[np.float32]]:
    """Run the network, in float32 as it serves, over films; resident memory does not grow with their number.

    Writes ``NAME-features.npy`` (of ``joined`` rows), ``NAME-logits.npy``, ``NAME-moments.safetensors`` and, last, the record
    ``NAME-extracted.json``, where NAME is `name`, or ``name-3of7`` for a shard. Shards may run at the same
    time in processes of their own, and ``merge_shards`` joins them. One that is there already is not run again.

    Parameters
    ----------
    films : list of Film
        All of them, also for a shard.
    variant : Variant
        What is done to the films first.
    """
    identity = _identity(network, films, variant)
    start, stop = shard.of(len(films))
    stem = folder / shard.file_name(name)
    if _record(stem) == asdict(identity):
        return saved(folder, stem.name)
    folder.mkdir(parents=True, exist_ok=True)
    _path(stem, "extracted.json").unlink(missing_ok=True)  # a kill from here on leaves no record, so nothing is trusted
    width = FEATURE_COUNT + (network.gate_feature_count if network.watch is not None else 0)
    features = open_memmap(_path(stem, "features.npy"), "w+", np.float32, (stop - start, width))
    logits = open_memmap(_path(stem, "logits.npy"), "w+", np.float32, (stop - start, len(LABELS)))
    network.eval().to(device)
    done = counted = 0
    moments = _no_moments(width)
    began = time.monotonic()
    batches = in_order(films[start:stop], batch_size=BATCH, workers=workers, change=variant.change)
    with torch.inference_mode(), tqdm(total=stop - start, desc=f"features of {stem.name}", unit="film") as progress:
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
    _save_moments(stem, moments)
    write_json(_path(stem, "extracted.json"), {**asdict(identity), "measured": {"films": done, "seconds": seconds}})
    return saved(folder, stem.name)


def merge_shards(folder: Path, name: str) -> Outputs[NDArray[np.float32]]:
    """Join the shards of `name` in order, block by block, and merge their moments; the shards are then removed.

    Raises
    ------
    FilmsError
        No shards, shards of two counts, a shard missing, or shards of different networks or films.
    """
    found = sorted(folder.glob(f"{name}-*of*-extracted.json"))
    counts = {int(path.name.removesuffix("-extracted.json").rsplit("of", 1)[1]) for path in found}
    if len(counts) != 1:
        raise FilmsError(
            f"{folder} has shards of {name} out of {' and out of '.join(map(str, sorted(counts)))}; remove one set"
            if counts
            else f"{folder} has no shards of {name}; run 'cxr-offline features --shard 1/N' and so on first"
        )
    (count,) = counts
    stems = [folder / Shard(index, count).file_name(name) for index in range(1, count + 1)]
    records = [_record(stem) for stem in stems]
    missing = [f"{index}/{count}" for index, record in enumerate(records, start=1) if record is None]
    if missing:
        raise FilmsError(f"of {name}, shard(s) {', '.join(missing)} are missing under {folder}; run them, then again")
    if any(record != records[0] for record in records):
        raise FilmsError(f"the shards of {name} under {folder} are not of one network and one list of films")
    identity = _Identity(**records[0])  # type: ignore[arg-type]  # none is missing here
    whole = folder / name
    _path(whole, "extracted.json").unlink(missing_ok=True)
    for kind in ("features", "logits"):
        _join([_path(stem, f"{kind}.npy") for stem in stems], _path(whole, f"{kind}.npy"), identity.n)
    _save_moments(whole, reduce(Moments.merge, map(_load_moments, stems)))
    films, seconds = (sum(measured(folder, stem.name)[i] for stem in stems) for i in (0, 1))
    write_json(
        _path(whole, "extracted.json"), {**asdict(identity), "measured": {"films": int(films), "seconds": seconds}}
    )
    for stem in stems:  # the record first: what has none is not trusted
        for kind in ("extracted.json", "features.npy", "logits.npy", "moments.safetensors"):
            _path(stem, kind).unlink()
    return saved(folder, name)


def reuse_or_extract(
    network: ChestNetwork,
    films: list[Film],
    folder: Path,
    name: str,
    device: torch.device,
    workers: int,
    variant: Variant = UNCHANGED,
) -> Outputs[NDArray[np.float32]]:
    """What is there already of this network and these films, whole or as shards; else extracted now.

    Raises
    ------
    FilmsError
        Shards of this network and these films, of which some are missing.
    """
    identity = asdict(_identity(network, films, variant))
    shards = folder.glob(f"{name}-*of*-extracted.json")
    if _record(folder / name) != identity and any(
        _record(path.with_name(path.name.removesuffix("-extracted.json"))) == identity for path in shards
    ):
        return merge_shards(folder, name)
    return extract(network, films, folder, name, device, workers, variant=variant)


def joined(outputs: Outputs[Tensor]) -> Tensor:
    """Features as files hold them, in one row: those of the gate's network, where there is one, after the others."""
    if outputs.gate_features is outputs.features:
        return outputs.features
    return torch.cat([outputs.features, outputs.gate_features], 1)


def parted(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of ``joined`` -> features and gate features, as views."""
    return rows[:, :FEATURE_COUNT], rows[:, FEATURE_COUNT:] if rows.shape[1] > FEATURE_COUNT else rows


def saved(folder: Path, name: str) -> Outputs[NDArray[np.float32]]:
    """Open what ``extract`` or ``merge_shards`` wrote; memory-mapped, in the order of the films."""
    rows, logits = (np.load(folder / f"{name}-{kind}.npy", mmap_mode="r") for kind in ("features", "logits"))
    return Outputs(*parted(rows), logits)


def saved_moments(folder: Path, name: str) -> Moments:
    """Moments of the gate features that ``saved`` opens, accumulated as they were extracted."""
    return _load_moments(folder / name).last(saved(folder, name).gate_features.shape[1])


def measured(folder: Path, name: str) -> tuple[int, float]:
    """Films of an extraction, and the seconds that it took (of merged shards: their sum)."""
    record = json.loads(_path(folder / name, "extracted.json").read_text())["measured"]
    return record["films"], record["seconds"]


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over names and values of a network's tensors: says which network features are of."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a small record, readable by people."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def _identity(network: ChestNetwork, films: list[Film], variant: Variant) -> _Identity:
    """Names, sizes and order of the files; reading all of them again would take as long as the features do."""
    lines = "\n".join(f"{film.path.name}|{film.path.stat().st_size}" for film in films)
    return _Identity(weights_sha256(network), hashlib.sha256(lines.encode()).hexdigest(), len(films), variant.name)


def _path(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}-{kind}")


def _record(stem: Path) -> dict[str, Any] | None:
    """Identity of a finished extraction; None where there is none."""
    path = _path(stem, "extracted.json")
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
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


def _no_moments(d: int) -> Moments:
    return Moments(0, np.zeros(d), np.zeros((d, d)))


def _save_moments(stem: Path, moments: Moments) -> None:
    """Count, mean (d,) and scatter (d, d), float64."""
    arrays = {"n": np.array([moments.n], np.int64), "mean": moments.mean, "scatter": moments.scatter}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, _path(stem, "moments.safetensors"))


def _load_moments(stem: Path) -> Moments:
    arrays = load_file(_path(stem, "moments.safetensors"))
    return Moments(int(arrays["n"][0]), arrays["mean"], arrays["scatter"])
