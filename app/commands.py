"""What the commands do that load a bundle: serve, score, check-bundle."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import uvicorn

from app.http.application import create_application
from app.logs import configure_logging
from app.pipeline import LABELS, Screener, Verdict, choose_backends, decode, read_bundle, to_tensor
from app.pipeline.errors import PipelineError
from app.settings import Settings, SettingsError


def run(parsed: argparse.Namespace) -> int:
    """Run the command; the exit code is 0, or 1 where something was refused."""
    try:
        settings = replace(
            Settings.from_environment(),
            **{
                k: v
                for k, v in (("bundle", parsed.bundle), ("backend", parsed.backend), ("device", parsed.device))
                if v
            },
        )
        command = {"serve": _serve, "score": _score, "check-bundle": _check_bundle}[parsed.command]
        return command(parsed, settings)
    except (PipelineError, SettingsError) as error:
        print(f"cxr-gate: {error}", file=sys.stderr)
        return 1


def _load(settings: Settings) -> list[Screener]:
    """The bundle on each of its devices, proven there."""
    bundle = read_bundle(settings.bundle)
    backends = choose_backends(
        bundle.network,
        settings.backend,
        settings.device,
        max_batch=settings.max_batch,
        threads=settings.inference_threads,
    )
    screeners = [Screener(bundle, backend) for backend in backends]
    for screener in screeners:
        screener.require_golden()
    return screeners


def _serve(parsed: argparse.Namespace, settings: Settings) -> int:
    configure_logging()
    screeners = _load(settings)
    for screener in screeners:
        screener.warm_up(settings.max_batch)
    application = create_application(screeners, settings)
    uvicorn.run(
        application,
        host=parsed.host,
        port=parsed.port,
        log_config=None,
        access_log=False,  # the middleware logs each answer, without addresses or paths
        timeout_graceful_shutdown=settings.drain_seconds,
        server_header=False,
    )
    return 0


def _score(parsed: argparse.Namespace, settings: Settings) -> int:
    screener = _load(settings)[0]
    failed = False
    for path in parsed.files:
        answer: dict[str, object] = {"file": str(path)}
        try:
            image = decode(
                path.read_bytes(), max_pixels=settings.max_pixels, accepted_modalities=settings.accepted_modalities
            )
            verdict = screener.screen(to_tensor(image.pixels))[0]
            if not isinstance(verdict, Verdict):
                raise verdict
            answer["verdict"] = "accepted" if verdict.accepted else "rejected as adversarial"
            if verdict.probabilities is not None:
                answer["probabilities"] = {
                    n: round(float(p), 4) for n, p in zip(LABELS, verdict.probabilities, strict=True)
                }
        except (PipelineError, OSError) as error:
            failed = True
            answer["error"] = str(error)
        print(json.dumps(answer))
    return 1 if failed else 0


def _check_bundle(parsed: argparse.Namespace, settings: Settings) -> int:
    for screener in _load(settings):
        version = screener.bundle.manifest.model_version
        print(
            f"{settings.bundle}: {version} verifies, and reproduces its golden outputs on {screener.backend.description}"
        )
    return 0
