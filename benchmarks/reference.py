"""The pipeline in one process: golden answers, floors, and the latency that serving is measured against.

python -m benchmarks.reference prepare BUNDLE FOLDER FILMS   writes FOLDER/films.json and the films
python -m benchmarks.reference latency BUNDLE FILM           a number a line from standard input: so many films, timed
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.special import expit
from torch.utils.flop_counter import FlopCounterMode

from app.pipeline import Bundle, Screener, Verdict, choose_backends, decode, film_tensor, read_bundle, to_tensor
from app.pipeline.image import INPUT_SIDE
from app.settings import Settings
from benchmarks import films

SGEMM_SIDE = 2048
MAX_BATCH = 8


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of `repeats` runs, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def write_films(bundle: Bundle, folder: Path, count: int) -> dict[str, Any]:
    """Encode each mix's films, and have the pipeline judge each."""
    source = films.source(bundle)
    threshold = bundle.manifest.gate.threshold
    written: dict[str, Any] = {"source": source.said, "mixes": {}, "broken": []}
    for mix in films.MIXES:
        entries = written["mixes"][mix] = []
        for seed in range(4 * count):
            body = films.encode(mix, source.pictures[seed % len(source.pictures)], seed)
            image = film_tensor(decode(body))
            with torch.inference_mode():
                features, gate_features, logits = bundle.network(image)
            density = bundle.gate.log_density(gate_features.numpy())
            turned = bundle.orientation.faults(features.numpy(), density)
            if turned[0] or bundle.content.faults(image.numpy(), turned)[0]:
                continue  # the service refuses such a film instead of judging it; peers do not
            path = folder / f"{mix}-{len(entries)}"
            path.write_bytes(body)
            golden = {
                "probabilities": expit(bundle.calls.log_odds(logits[0])).tolist(),
                "log_density": float(density[0]),
                "accepted": bool(density[0] >= threshold),
            }
            entries.append(
                {
                    "file": str(path.resolve()),
                    "media_type": films.MEDIA_TYPES[mix],
                    "golden": golden,
                    "bytes": len(body),
                }
            )
            if len(entries) == count:
                break
    for which in range(6):
        path = folder / f"broken-{which}"
        path.write_bytes(films.undecodable((folder / "png-0").read_bytes(), which))
        written["broken"].append({"file": str(path.resolve()), "media_type": "image/png", "golden": None})
    return written


def floors(bundle: Bundle, mixes: dict[str, Any]) -> dict[str, Any]:
    """The costs of the parts by themselves: no serving is below these."""
    cores = torch.get_num_threads()
    network, found = bundle.network, {}
    image = torch.zeros(1, 1, INPUT_SIDE, INPUT_SIDE)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    found["flops"] = counter.get_total_flops()
    found["weight_bytes"] = sum(p.numel() * p.element_size() for p in network.parameters())
    square = torch.rand(SGEMM_SIDE, SGEMM_SIDE)
    found["sgemm_flops_per_second"] = 2 * SGEMM_SIDE**3 / seconds(lambda: square @ square, 7)
    with torch.inference_mode():
        for batch in (1, 8):
            stacked = torch.rand(batch, 1, INPUT_SIDE, INPUT_SIDE)
            taken = seconds(lambda stacked=stacked: network(stacked), 9)
            found[f"forward_seconds_batch_{batch}"] = taken
            features = network(stacked).gate_features.numpy()
            found[f"gate_seconds_batch_{batch}"] = seconds(lambda f=features: bundle.gate.log_density(f), 9)
        torch.set_num_threads(1)
        stacked = torch.rand(8, 1, INPUT_SIDE, INPUT_SIDE)
        found["forward_seconds_batch_8_one_thread"] = seconds(lambda: network(stacked), 5)
        found["forward_seconds_batch_1_one_thread"] = seconds(lambda: network(stacked[:1]), 9)
    for mix, entries in mixes.items():
        bodies = [Path(entry["file"]).read_bytes() for entry in entries[:4]]
        found[f"decode_seconds_{mix}"] = statistics.median(seconds(lambda b=b: decode(b), 3) for b in bodies)
        pixels = decode(bodies[0]).pixels
        found[f"resize_seconds_{mix}"] = seconds(lambda p=pixels: to_tensor(p), 9)
    torch.set_num_threads(cores)
    return found | {"cores": cores}


def latency(bundle: Path, film: Path) -> None:
    """Print the seconds of a batch of 8, and the CPU seconds of each of its films.

    Then answer each number on standard input with the seconds of so many single films.
    """
    settings, loaded = Settings.from_environment(), read_bundle(bundle)
    threads = settings.inference_threads
    (backend,) = choose_backends(
        loaded.network, settings.backend, settings.device, max_batch=MAX_BATCH, threads=threads
    )
    screener = Screener(loaded, backend)
    body = film.read_bytes()

    def one() -> float:
        started = time.perf_counter()
        verdict = screener.screen(film_tensor(decode(body)))[0]
        assert isinstance(verdict, Verdict)
        return time.perf_counter() - started

    stacked = film_tensor(decode(body)).repeat(MAX_BATCH, 1, 1, 1)
    batch = seconds(lambda: screener.screen(stacked), 7)
    before = time.process_time()  # of all threads
    for _ in range(5):
        screener.screen(stacked)
    film_cpu = (time.process_time() - before) / (5 * MAX_BATCH)
    print(json.dumps({"batch": batch, "film_cpu": film_cpu}), flush=True)
    seconds(one, 5)
    for line in sys.stdin:
        print(json.dumps([one() for _ in range(int(line))]), flush=True)


def main() -> int:
    """Do what the first argument says."""
    command, bundle, *rest = sys.argv[1:]
    if command == "latency":
        latency(Path(bundle), Path(rest[0]))
        return 0
    folder = Path(rest[0])
    folder.mkdir(parents=True, exist_ok=True)
    loaded = read_bundle(Path(bundle))
    written = write_films(loaded, folder, int(rest[1]))
    written["floors"] = floors(loaded, written["mixes"])
    written["model_version"] = loaded.manifest.model_version
    (folder / "films.json").write_text(json.dumps(written, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
