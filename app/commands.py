"""What the commands do that load a bundle: serve, score, check-bundle."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from app.http.application import create_application
from app.logs import configure_logging
from app.pipeline import LABELS, Screener, Verdict, choose_device, decode, read_bundle, to_tensor
from app.pipeline.errors import PipelineError
from app.settings import Settings, SettingsError


def run(parsed: argparse.Namespace) -> int:
    """Run the command; the exit code is 0, or 1 where something was refused."""
    try:
        settings = replace(
            Settings.from_environment(),
            **{k: v for k, v in (("bundle", parsed.bundle), ("device", parsed.device)) if v},
        )
        command = {"serve": _serve, "score": _score, "check-bundle": _check_bundle}[parsed.command]
        return command(parsed, settings)
    except (PipelineError, SettingsError) as error:
        print(f"cxr-gate: {error}", file=sys.stderr)
        return 1


def _load(settings: Settings) -> Screener:
    """The bundle on its device, proven there."""
    screener = Screener(read_bundle(settings.bundle), choose_device(settings.device))
    screener.require_golden()
    return screener


def make_application(settings: Settings) -> FastAPI:
    """The service as the settings say, its bundle proven on its device and warmed up.

    Raises
    ------
    PipelineError, SettingsError
    """
    screener = _load(settings)
    screener.warm_up(settings.max_batch)
    return create_application(screener, settings)


def _serve(parsed: argparse.Namespace, settings: Settings) -> int:
    configure_logging()
    uvicorn.run(
        make_application(settings),
        host=parsed.host,
        port=parsed.port,
        log_config=None,
        access_log=False,  # the middleware logs each answer, without addresses or paths
        timeout_graceful_shutdown=settings.drain_seconds,
        server_header=False,
    )
    return 0


def _score(parsed: argparse.Namespace, settings: Settings) -> int:
    screener = _load(settings)
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
    screener = _load(settings)
    manifest = screener.bundle.manifest
    print(
        f"{settings.bundle}: {manifest.model_version} verifies, and reproduces its golden outputs on {screener.device}"
    )
    return 0
