"""Backends side by side, the model alone: speed, floor, agreement and the cost of the Gaussian, as Markdown.

Wall time depends on what else the machine does: the ratios are of neighbouring runs, and CPU time, which waits for nobody,
stands beside. Alternatives that are no backend here are measured to show why: the network unfolded, whole batches in
OpenVINO, bfloat16, ONNX Runtime.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import expit
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from app.pipeline import Bundle, choose_backends, decode, film_tensor, read_bundle
from app.pipeline.folded import FoldedNetwork
from app.pipeline.gaussian import Gaussian
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork
from app.pipeline.outputs import Outputs

Run = Callable[[Tensor], Outputs[NDArray[np.float32]]]
UNFOLDED = "torch, unfolded"
GEMM_SIDE = 2048
PARTS = ("speed", "gaussian", "gate", "agreement")


def runs(bundle: Bundle, threads: int, max_batch: int) -> dict[str, Run]:
    """The compared variants, by name; the bundle was fitted with the first."""
    network = bundle.network

    def unfolded(images: Tensor) -> Outputs[NDArray[np.float32]]:
        with torch.inference_mode():
            return Outputs(*(output.numpy() for output in network(images)))

    found: dict[str, Run] = {UNFOLDED: unfolded}
    names = [("torch", "cpu")] + ([("torch", "cuda:0")] if torch.cuda.is_available() else [])
    if importlib.util.find_spec("openvino"):
        names.append(("openvino", "cpu"))
    for name, device in names:
        (backend,) = choose_backends(network, name, device, max_batch=max_batch, threads=threads)
        print(f"- {backend.description}")
        found[f"**{name}, {device}**"] = backend.outputs
    if importlib.util.find_spec("openvino"):
        found["openvino, whole batches"] = openvino_batches(network, threads, "f32")
        found["openvino, whole batches, bfloat16"] = openvino_batches(network, threads, "bf16")
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        found["onnxruntime, unfolded"] = onnx_runtime(network, threads)
    return found


def openvino_batches(network: torch.nn.Module, threads: int, precision: str) -> Run:
    """All threads on one batch. OpenVINO chooses bfloat16 by itself on a CPU that has it."""
    import openvino

    from app.pipeline.backends.openvino_cpu import openvino_model

    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(openvino_model(FoldedNetwork(network)), "CPU", options)
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Outputs[NDArray[np.float32]]:
        given = request.infer([images.numpy()])
        return Outputs(given[0], given[1], given[2])

    return run


def onnx_runtime(network: torch.nn.Module, threads: int) -> Run:
    """ONNX Runtime, which folds by itself."""
    import tempfile

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        example, axes = (torch.zeros(2, 1, 224, 224),), {"images": {0: "n"}}
        torch.onnx.export(network, example, str(path), input_names=["images"], dynamic_axes=axes, dynamo=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: Outputs(*session.run(None, {"images": images.numpy()}))


def gemm() -> float:
    """Floating point operations a second that a large float32 matrix product reaches."""
    left, right = torch.rand(GEMM_SIDE, GEMM_SIDE), torch.rand(GEMM_SIDE, GEMM_SIDE)
    started = time.perf_counter()
    left @ right
    return 2 * GEMM_SIDE**3 / (time.perf_counter() - started)


def speed(bundle: Bundle, found: dict[str, Run], batches: list[int], rounds: int) -> None:
    """Images a second of each, in turn, round after round; and the floor."""
    flops = {}
    for name, network in (("network", bundle.network), ("folded", FoldedNetwork(bundle.network))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 1, 224, 224))
        flops[name] = counter.get_total_flops()
    peaks = [gemm() for _ in range(3)]
    for batch in batches:
        images = torch.rand(batch, 1, 224, 224, generator=torch.Generator().manual_seed(0))
        wall: dict[str, list[float]] = {name: [] for name in found}
        cpu: dict[str, list[float]] = {name: [] for name in found}
        for run in found.values():
            run(images)
        for _ in range(rounds):
            peaks.append(gemm())
            for name, run in found.items():
                started, busy = time.perf_counter(), time.process_time()
                run(images)
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
        print(f"\n### Batch {batch}, {rounds} rounds\n")
        print(
            "| | images/s, median | best | x unfolded | CPU ms an image | of sgemm's speed |\n|---|---|---|---|---|---|"
        )
        for name in found:
            ratio = statistics.median(own / other for own, other in zip(wall[UNFOLDED], wall[name], strict=True))
            work = flops["network" if "unfolded" in name else "folded"]
            reached = batch * work / min(wall[name]) / max(peaks)
            print(
                f"| {name} | {batch / statistics.median(wall[name]):.1f} | {batch / min(wall[name]):.1f} | {ratio:.2f} "
                f"| {1e3 * statistics.median(cpu[name]) / batch:.1f} | {reached:.0%} |"
            )
    print(
        f"\nForward pass: {flops['network'] / 1e9:.2f} GFLOP an image, folded {flops['folded'] / 1e9:.2f}. sgemm of "
        f"{GEMM_SIDE} reaches {max(peaks) / 1e9:.0f} GFLOP/s at best (median {statistics.median(peaks) / 1e9:.0f}): the floor "
        f"is {1e3 * flops['folded'] / max(peaks):.1f} ms an image, {max(peaks) / flops['folded']:.0f} images/s."
    )


def gaussian(bundle: Bundle, run: Run, name: str, rounds: int) -> None:
    """The cost of the score, right after a forward pass, as it is in service."""
    model = bundle.gate.density
    if not isinstance(model, Gaussian):
        raise SystemExit("the bundle's gate is no Gaussian; leave gaussian out of --parts")

    def solved(features: NDArray[np.float32]) -> None:
        centred = features.astype(np.float64) - model.mean
        whitened = solve_triangular(model.cholesky_factor, centred.T, lower=True, check_finite=False)
        np.einsum("ij,ij->j", whitened, whitened)

    print(
        "\n### The Gaussian\n\n| batch | forward, ms | solve, ms | product, ms | product of forward |\n|---|---|---|---|---|"
    )
    for batch in (1, 8):
        images = torch.rand(batch, 1, 224, 224, generator=torch.Generator().manual_seed(0))
        features = run(images).gate_features
        seconds: dict[str, list[float]] = {"forward": [], "solve": [], "product": []}
        steps = {"forward": lambda: run(images), "solve": lambda: solved(features)}  # noqa: B023  # called at once
        for _ in range(rounds):
            for step in ("forward", "solve", "forward", "product"):
                started = time.perf_counter()
                steps.get(step, lambda: model.log_density(features))()  # noqa: B023
                seconds[step].append(time.perf_counter() - started)
        middle = {step: 1e3 * statistics.median(values) for step, values in seconds.items()}
        print(
            f"| {batch} ({name}) | {middle['forward']:.1f} | {middle['solve']:.2f} | {middle['product']:.2f} "
            f"| {middle['product'] / middle['forward']:.1%} |"
        )


def agreement(bundle: Bundle, found: dict[str, Run], films: Tensor) -> None:
    """Distance of each variant from the bundle's golden outputs, from the unfolded network on films, and from itself alone."""
    threshold = bundle.gate.threshold

    def scored(run: Run, images: Tensor, batch: int = 8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parts = [run(part.contiguous()) for part in images.split(batch)]
        _, gate_features, logits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return bundle.gate.log_density(gate_features), expit(logits.astype(np.float64))

    golden = torch.from_numpy(bundle.golden.images).float() / 255
    wanted = scored(found[UNFOLDED], films) if len(films) else None
    if wanted is not None:
        margins = np.sort(np.abs(wanted[0] - threshold))
        print(
            f"\n### Agreement\n\n{len(films)} films; the nearest log densities lie {', '.join(f'{m:.2f}' for m in margins[:3])} "
            f"nats from the threshold, {threshold:.1f}; their standard deviation is {wanted[0].std():.0f}.\n"
        )
    print(
        "| | golden, nats | golden, probability | films, nats | films, probability | other verdicts | alone, nats | probability |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, run in found.items():
        density, probability = scored(run, golden)
        cells = [
            np.abs(density - bundle.golden.log_densities).max(),
            np.abs(probability - bundle.golden.sigmoids).max(),
        ]
        shown = [f"{cell:.2g}" for cell in cells]
        if wanted is not None:
            density, probability = scored(run, films)
            alone = scored(run, films[:64], 1)
            differ = int(((density < threshold) != (wanted[0] < threshold)).sum())
            shown += [
                f"{np.abs(density - wanted[0]).max():.2g}",
                f"{np.abs(probability - wanted[1]).max():.2g}",
                str(differ),
            ]
            shown += [
                f"{np.abs(density[:64] - alone[0]).max():.2g}",
                f"{np.abs(probability[:64] - alone[1]).max():.2g}",
            ]
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


def gate(bundle: Bundle, threads: int, batches: list[int], rounds: int) -> None:
    """Time of the network with the whole gate (watch and Gaussian), over the network alone. In turns, and by ratio."""
    plain = ChestNetwork(len(LABELS)).eval().requires_grad_(False)
    weights = bundle.network.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    print("\n| gate and network, over the network alone | batch | median | quartiles |\n|---|---|---|---|")
    for name in ("torch", *(("openvino",) if importlib.util.find_spec("openvino") else ())):
        (with_gate,), (alone,) = (
            choose_backends(network, name, "cpu", max_batch=max(batches), threads=threads)
            for network in (bundle.network, plain)
        )
        for batch in batches:
            images = torch.rand(batch, 1, 224, 224)
            steps: list[Callable[[], object]] = [
                lambda: alone.outputs(images),  # noqa: B023  # called at once
                lambda: bundle.gate.log_density(with_gate.outputs(images).gate_features),  # noqa: B023
            ]
            ratios = []
            for turn in range(2 * rounds + 2):
                order = (0, 1) if turn % 2 else (1, 0)  # the second step finds the caches warm
                seconds = [0.0, 0.0]
                for step in order:
                    start = time.perf_counter()
                    steps[step]()
                    seconds[step] = time.perf_counter() - start
                ratios.append(seconds[1] / seconds[0])
            low, median, high = np.quantile(ratios[2:], (0.25, 0.5, 0.75))
            print(f"| {name} | {batch} | {median:.2f} | {low:.2f} to {high:.2f} |", flush=True)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--films", type=Path, help="folder with labels.csv; its test films are compared")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="(default: all)",
    )
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    bundle = read_bundle(parsed.bundle)
    print(
        f"{platform.machine()}, {parsed.threads} threads, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n"
    )
    found = runs(bundle, parsed.threads, max(parsed.batches))
    if "speed" in parsed.parts:
        speed(bundle, found, parsed.batches, parsed.rounds)
    if "gaussian" in parsed.parts:
        served = next(reversed([name for name in found if name.startswith("**")]))
        gaussian(bundle, found[served], served, parsed.rounds)
    if "gate" in parsed.parts:
        gate(bundle, parsed.threads, parsed.batches, parsed.rounds)
    if "agreement" in parsed.parts:
        films = torch.zeros(0, 1, 224, 224)
        if parsed.films:
            from offline.data.films import of_split, read_films

            paths = [film.path for film in of_split(read_films(parsed.films), "test")]
            films = torch.cat([film_tensor(decode(path.read_bytes())) for path in paths])
        agreement(bundle, found, films)
    print(f"\nload after {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
