"""The commands on bundles: unpack, export, new-signing-key, sign."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.pipeline import choose_device

from ..data.command import add_data, films_of
from ..options import Commands, command_line
from ..run import add_output, add_run
from .export import export
from .signing import SigningKey, new_signing_key, sign_bundle
from .unpack import unpack


def add_unpack(commands: Commands) -> None:
    command = commands.add_parser(
        "unpack",
        help="the run in a bundle: its network, for a gate to be fitted anew",
        description="Writes a bundle's network and the record of its training as a run. Use it where a bundle is of an earlier "
        "format: the network stays, and fit and export make a bundle of today's format with it.",
    )
    command.add_argument(
        "--bundle", type=Path, required=True, help="the bundle's folder, of this format or an earlier one"
    )
    add_output(command)
    command.set_defaults(run_command=_unpack)


def _unpack(parsed: argparse.Namespace) -> int:
    print(unpack(parsed.bundle, parsed.output))
    return 0


def add_export(commands: Commands) -> None:
    command = commands.add_parser("export", help="write a bundle, reload it and compare")
    add_data(command)
    add_run(command)
    command.add_argument("--output", type=Path, required=True, help="the bundle's folder; replaced whole if it exists")
    add_sign_with(command)
    command.set_defaults(run_command=_export)


def _export(parsed: argparse.Namespace) -> int:
    films, device, key = films_of(parsed), choose_device(parsed.device), signing_key(parsed)
    manifest = export(parsed.run, films, parsed.output, device, command_line(parsed), key)
    print(f"{parsed.output}: {manifest.model_version}, reloaded and compared")
    if manifest.measured is None:
        print("note: not evaluated, so the model card has no numbers; run 'evaluate' before 'export'", file=sys.stderr)
    return 0


def add_new_signing_key(commands: Commands) -> None:
    command = commands.add_parser(
        "new-signing-key",
        help="make an Ed25519 key that signs bundles",
        description="Write a private key, readable by its owner alone, and the public key beside it (FILE.pem). A service "
        "with CXR_TRUSTED_KEYS takes only bundles that a key there signed: docs/versions.md.",
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the private key's file; must not be"
    )
    command.set_defaults(run_command=_new_signing_key)


def _new_signing_key(parsed: argparse.Namespace) -> int:
    public, key_id = new_signing_key(parsed.output)
    print(
        f"key {key_id}: {parsed.output} signs, and is for nobody else; {public} verifies, and goes to CXR_TRUSTED_KEYS"
    )
    return 0


def add_sign(commands: Commands) -> None:
    command = commands.add_parser(
        "sign",
        help="sign a bundle that is there",
        description="Check the SHA-256 of every file of the bundle, then sign its manifest. Look at it first: "
        "cxr-gate verify-bundle, and check-bundle.",
    )
    command.add_argument("bundle", type=Path, metavar="DIR")
    command.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    command.set_defaults(run_command=_sign)


def _sign(parsed: argparse.Namespace) -> int:
    key = SigningKey.read(parsed.key)
    manifest = sign_bundle(parsed.bundle, key)
    print(f"{parsed.bundle}: {manifest.model_version}, signed by {key.id}")
    return 0


def add_sign_with(parser: argparse.ArgumentParser) -> None:
    """Add the option that ``signing_key`` reads."""
    parser.add_argument("--sign-with", type=Path, metavar="FILE", help="private key that signs the bundle")


def signing_key(parsed: argparse.Namespace) -> SigningKey | None:
    """The key that the command line names; None if it names none."""
    return SigningKey.read(parsed.sign_with) if parsed.sign_with else None
