"""What ``cxr-gate verify-bundle`` prints."""

from __future__ import annotations

from pathlib import Path

from app.pipeline.bundle import MANIFEST, read_bundle
from app.pipeline.signature import SIGNATURE, TrustedKeys


def verification(folder: Path, trusted: TrustedKeys | None) -> list[str]:
    """Lines that say which checks were made, and which were not.

    Raises
    ------
    BundleError
        The bundle does not verify.
    """
    bundle = read_bundle(folder, trusted)
    manifest, made = bundle.manifest, bundle.manifest.provenance
    lines = [
        f"{SIGNATURE}: signed by {bundle.signed_by}, which is trusted"
        if bundle.signed_by
        else f"{SIGNATURE}: NOT CHECKED, since no trusted keys are set: anybody may have made this bundle",
        f"{MANIFEST}: gives its version, {manifest.model_version}",
        *(f"{name}: SHA-256 {digest}, as listed" for name, digest in sorted(manifest.files.items())),
        "network, Gaussian and orientation belong together; the check of content sees pixels alone",
        f"made from: data {made.data_sha256}, weights {made.initial_weights}, seed {made.seed}, {made.epochs} epochs, "
        f"{made.created}",
        f"made by: {made.code or 'code not stated'}; {made.command or 'command not stated'}",
    ]
    if moved := manifest.recalibration:
        signed = f"signed by {moved.base_signed_by}" if moved.base_signed_by else "whose signature was not checked"
        lines += [
            f"recalibrated from: {moved.base_version} ({signed}), on {moved.n} films {moved.site_sha256}, seed {moved.seed}, "
            f"{moved.created}",
            f"recalibrated by: {moved.code or 'code not stated'}; {moved.command}",
        ]
    known = {MANIFEST, SIGNATURE, *manifest.files}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return lines + [f"{name}: not listed, and never read" for name in sorted(there - known)]
