"""Show the gate at work over HTTP: a film, then the same film attacked."""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.pipeline import decode, film_tensor, read_bundle
from app.pipeline.decode import sniff
from app.pipeline.network import LogitsOnly

from .attacks import AttackOptions, as_posted, attack
from .data.command import shared_data
from .data.films import FilmsError
from .options import Commands, add_bundle

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "dicom": "application/dicom"}


@dataclass(frozen=True)
class Shown:
    """One answer of the service, in words."""

    title: str
    status: int
    text: str


def demo(url: str, bundle: Path, film: Path, epsilon: float, steps: int) -> list[Shown]:
    """Post a film, then its 8-bit copy at 224x224, then that copy attacked by BIM; the last two differ in the attack alone.

    The attack uses the network of `bundle`, which must be the one served. The judged image is the one that is sent:
    an 8-bit PNG, rounded.

    Raises
    ------
    FilmsError
        The film is unreadable, the service does not answer, or it serves another bundle.
    """
    try:
        data = film.read_bytes()
        clean = as_posted(film_tensor(decode(data)))
    except Exception as error:
        raise FilmsError(f"{film}: {error}") from error
    served = read_bundle(bundle)
    options = AttackOptions(epsilon=epsilon, step_size=epsilon / 4, steps=steps)
    with httpx.Client(base_url=url, timeout=60) as client:
        try:
            version = client.get("/v1/model").raise_for_status().json()["model_version"]
        except httpx.HTTPError as error:
            raise FilmsError(f"{url} does not answer as cxr-gate ({error}); start it with 'make serve'") from error
        if version != served.manifest.model_version:
            raise FilmsError(
                f"{url} serves {version}, and {bundle} holds {served.manifest.model_version}; name the same"
            )
        attacked = as_posted(attack(LogitsOnly(served.network), clean, options))
        change = float((attacked - clean).abs().mean()) * 255
        return [
            _post(client, "the film, as it is", data, MEDIA_TYPES[sniff(data)]),
            _post(client, "its 8-bit PNG at 224x224, clean", png(clean), "image/png"),
            _post(
                client,
                f"the same PNG attacked (BIM, epsilon {epsilon:g}, {steps} steps; mean change {change:.1f} grey levels)",
                png(attacked),
                "image/png",
            ),
        ]


def png(image: Tensor) -> bytes:
    """An 8-bit PNG of one image, shape (1, 1, H, W), in [0,1] and on the 8-bit grid."""
    grey = (image[0, 0] * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(stream, format="PNG")
    return stream.getvalue()


def _post(client: httpx.Client, title: str, data: bytes, media_type: str) -> Shown:
    answer = client.post("/v1/score", content=data, headers={"Content-Type": media_type})
    body = answer.json()
    if answer.status_code == 200:
        said = {
            call: [name for name, one in body["calls"].items() if one["call"] == call]
            for call in ("present", "indeterminate")
        }
        text = "accepted: " + "; ".join(f"{call}: {', '.join(names) or 'none'}" for call, names in said.items())
    else:
        text = f"{body['title']}: {body['detail']}"
    return Shown(title, answer.status_code, text)


def add_demo(commands: Commands) -> None:
    command = commands.add_parser("demo", help="post a film and its attacked copy to a running service")
    command.add_argument("--url", default="http://127.0.0.1:8000", help="of the service (default: %(default)s)")
    add_bundle(command, "the bundle that is served there")
    command.add_argument(
        "--film",
        type=Path,
        default=shared_data() / "dicom" / "dx_chest_no_finding.dcm",
        help="PNG, JPEG or DICOM (default: %(default)s)",
    )
    command.add_argument("--epsilon", type=float, default=0.02, help="budget of the attack, pixels in [0,1]")
    command.add_argument("--steps", type=int, default=10, help="of the attack (default: %(default)s)")
    command.set_defaults(run_command=_demo)


def _demo(parsed: argparse.Namespace) -> int:
    answers = demo(parsed.url, parsed.bundle, parsed.film, parsed.epsilon, parsed.steps)
    for answer in answers:
        print(f"{answer.status}  {answer.title}\n     {answer.text}")
    as_hoped = [answer.status for answer in answers] == [200, 200, 422]
    if not as_hoped:
        print("not 200, 200, 422: about one clean film in twenty is rejected; try another --film", file=sys.stderr)
    return 0 if as_hoped else 1
