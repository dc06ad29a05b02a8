"""``cxr-gate``: serve, score files, check a bundle or headers, verify the record, make keys, forward from Orthanc."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from app import __version__
from app.access import command as access
from app.forward import command as forward
from app.forward import given_up


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 where something was refused, or 2 for a wrong call."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == "forward":
        return forward.run(parsed)
    if parsed.command == "given-up":
        return given_up.run(parsed)
    if parsed.command in access.COMMANDS:
        return access.run(parsed)
    from app import commands  # only these commands need torch, which takes seconds and much memory

    return commands.run(parsed)


class _Help(argparse.Action):
    """The usual help, with the settings. They load much of the app, so only a person who asks for help waits for them."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from app.configuration import listed
        from app.settings import PREFIX, Settings

        parser.epilog = "Settings are environment variables (docs/settings.md):\n\n" + listed(Settings, PREFIX)
        parser.print_help()
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cxr-gate",
        description="Findings of a chest X-ray, behind a gate against tampered images. Not a medical device.",
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this, with all settings, and exit")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument(
        "--device", help="auto (default: every GPU, or the CPU where there is none), cpu, cuda:0,cuda:1"
    )
    device.add_argument(
        "--backend", help="auto (default: torch on GPUs; on the CPU openvino if installed), torch, openvino"
    )
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--bundle", type=Path, help="folder of the bundle (default: artifacts/default)")
    serve = commands.add_parser("serve", parents=[device, chosen], help="serve over HTTP")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--tls-certificate", metavar="FILE", help="serve HTTPS: PEM, with its chain")
    serve.add_argument("--tls-key", metavar="FILE", help="its key")
    serve.add_argument("--tls-client-ca", metavar="FILE", help="callers must have a certificate of these authorities")
    score = commands.add_parser("score", parents=[device, chosen], help="judge files, one JSON line each")
    score.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PNG, JPEG or DICOM")
    check = commands.add_parser("check-bundle", parents=[device], help="verify a bundle and its golden outputs")
    check.add_argument("bundle", type=Path, metavar="DIR")
    provenance = commands.add_parser(
        "verify-bundle",
        help="say who signed a bundle, whether it is whole, and what it was made from",
        description="Print each check, line by line: the signature, the version, the SHA-256 of each file, and the files that "
        "nobody checks. It computes nothing with the network: check-bundle does that.",
    )
    provenance.add_argument("bundle", type=Path, metavar="DIR")
    provenance.add_argument(
        "--trusted-keys",
        metavar="PATH",
        help="PEM file or folder of *.pem (default: CXR_TRUSTED_KEYS; without any, no signature is required)",
    )
    verify = commands.add_parser(
        "verify-record", help="find entries of the record that were changed, removed or put in"
    )
    verify.add_argument("--url", help="database (default: CXR_RECORD_URL, else sqlite:///state/record.sqlite)")
    verify.add_argument(
        "--key-file", type=Path, help="key of the record (default: CXR_RECORD_KEY_FILE, else state/record.key)"
    )
    verify.add_argument(
        "--expect-head",
        metavar="NUMBER:SEAL",
        help="a head that was printed or logged before: shows whether entries up to it were cut off",
    )
    export = commands.add_parser(
        "export-quarantine",
        help="write kept films out in clear, for cxr-offline recalibrate",
        description="Write the films of the quarantine that were released (or are in another state) to an empty folder, "
        "decrypted, as they were posted. They are patient data: use the folder for cxr-offline recalibrate --films, and "
        "delete it after that. The record says who did this. Reads CXR_QUARANTINE_FOLDER, its key and the record as the "
        "service does; the service may run.",
    )
    export.add_argument(
        "--state", default="released", choices=("released", "confirmed", "pending"), help="(default: released)"
    )
    export.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="made if it is not there; must be empty"
    )
    headers = commands.add_parser(
        "check-headers",
        help="say which of an archive's films would be refused by their headers, and why",
        description="Print for each combination of headers whether its films would be accepted or refused, and why. TABLE is a "
        "CSV whose columns are DICOM keywords: Modality, and any of BodyPartExamined, ViewPosition, PatientOrientation, "
        "SeriesDescription, StudyDescription, ProtocolName, AcquisitionDeviceProcessingDescription, "
        "PerformedProcedureStepDescription, PresentationIntentType. A column named films counts films; without it a line is one "
        "film. No film is read. Add words that your machines use and that are not known by "
        "CXR_HEADER_WORDS=chest+TRX,lateral+PERF; chest-TRX removes one. The lists are chest, region (another one), frontal, "
        "lateral, view (oblique, decubitus) and silent (names neither region nor view); docs/dicom.md.",
    )
    headers.add_argument("table", type=Path, metavar="TABLE")
    access.add_commands(commands, os.environ)
    forward.add_command(commands, os.environ)
    given_up.add_command(commands, os.environ)
    return parser


if __name__ == "__main__":
    sys.exit(main())
