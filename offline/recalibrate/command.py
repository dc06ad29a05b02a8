"""``cxr-offline recalibrate``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from app.pipeline import choose_device
from app.pipeline.signature import TrustedKeys

from ..bundles.command import add_sign_with, signing_key
from ..evaluation.subject import LoadedBundle
from ..options import Commands, add_bundle, add_device, add_options, command_line, options_of, share
from .recalibration import RecalibrationOptions, recalibrate
from .site import read_site
from .words import sentences


def add_recalibrate(commands: Commands) -> None:
    command = commands.add_parser(
        "recalibrate",
        help="move a bundle's gate to a site's own clean films",
        description="Fits mean, covariance and threshold to a site's clean films, shrunk toward the bundle's; the network "
        "stays. Shows before and after on held-out films and their attacked copies, and refuses (exit code 3) when the "
        "attacks would be caught less, or the films look attacked. See docs/recalibration.md.",
    )
    add_bundle(command, "what is moved")
    command.add_argument("--films", type=Path, required=True, help="folder of the site's PNG, JPEG and DICOM files")
    command.add_argument(
        "--output", type=Path, required=True, help="the new bundle's folder; replaced whole if it exists"
    )
    command.add_argument(
        "--table",
        type=Path,
        help="CSV with the column file (path in the folder), optionally patient, and others as groups: scanner, view, sex",
    )
    command.add_argument("--report", type=Path, help="folder of the report, also of a refusal (default: OUTPUT-report)")
    command.add_argument("--target", type=share, help="false-rejection rate (default: the bundle's)")
    add_options(command, RecalibrationOptions)
    add_device(command)
    add_sign_with(command)
    command.add_argument(
        "--trusted-keys",
        type=Path,
        default=os.environ.get("CXR_TRUSTED_KEYS") or None,
        help="public keys, of which one must have signed the bundle that is moved: a PEM file, or a folder of *.pem "
        "(default: CXR_TRUSTED_KEYS, else it need not be signed)",
    )
    command.set_defaults(run_command=_recalibrate)


def _recalibrate(parsed: argparse.Namespace) -> int:
    key = signing_key(parsed)  # before the work, which takes minutes
    trusted = TrustedKeys.read(parsed.trusted_keys) if parsed.trusted_keys else None
    subject = LoadedBundle.load(parsed.bundle, choose_device(parsed.device), trusted)
    target = parsed.target or subject.bundle.manifest.gate.target_false_rejection_rate
    report = parsed.report or parsed.output.with_name(f"{parsed.output.name}-report")
    options = options_of(
        RecalibrationOptions,
        parsed,
        target=target,
        workers=parsed.workers,
        command=command_line(parsed),
        key=key,
    )
    site = read_site(parsed.films, parsed.table, target)
    if not site.patients_known:
        print("note: no table says whose the films are; each counts as a patient of its own", file=sys.stderr)
    manifest, content = recalibrate(subject, site, parsed.bundle, parsed.output, report, options)
    print("\n".join(sentences(content)))
    print(f"{parsed.output}: {manifest.model_version}; report in {report}")
    return 0
