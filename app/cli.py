"""``cxr-gate``: serve, score files, check a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import uvicorn

from app import __version__
from app.http.application import create_application
from app.logs import configure_logging
from app.pipeline import LABELS, Screener, Verdict, choose_device, decode, read_bundle, to_tensor
from app.pipeline.errors import PipelineError
from app.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 where something was refused, or 2 for a wrong call."""
    parsed = _parser().parse_args(arguments)
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


def _serve(parsed: argparse.Namespace, settings: Settings) -> int:
    configure_logging()
    screener = _load(settings)
    screener.warm_up(settings.max_batch)
    application = create_application(screener, settings)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cxr-gate",
        description="14 findings of a chest X-ray, behind a gate against tampered images. Not a medical device.",
        epilog="Settings are environment variables: CXR_MAX_BODY_BYTES, CXR_MAX_PIXELS, CXR_MAX_WAITING, CXR_MAX_BATCH, "
        "CXR_DECODE_THREADS, CXR_DEADLINE_SECONDS, CXR_DRAIN_SECONDS, CXR_MAX_STORE_INSTANCES, CXR_MAX_STORE_BYTES, "
        "CXR_STORE_PARALLEL, CXR_RECORD_URL, CXR_RECORD_KEY_FILE, CXR_BUNDLE, CXR_DEVICE, "
        "CXR_ACCEPTED_MODALITIES (CR,DX; RF and SC may be added).",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", help="auto (default: the GPU if there is one), cpu, cuda, cuda:1 ...")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--bundle", type=Path, help="folder of the bundle (default: artifacts/default)")
    serve = commands.add_parser("serve", parents=[device, chosen], help="serve over HTTP")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8000)
    score = commands.add_parser("score", parents=[device, chosen], help="judge files, one JSON line each")
    score.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PNG, JPEG or DICOM")
    check = commands.add_parser("check-bundle", parents=[device], help="verify a bundle and its golden outputs")
    check.add_argument("bundle", type=Path, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
