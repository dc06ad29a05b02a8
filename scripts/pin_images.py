"""``make pin-images``: put each base image's digest, as its registry gives it now, behind its tag.

A tag may lead to another image tomorrow; a digest cannot. The command needs docker with buildx and the registries, so run it
where images are built, and commit its changes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.inventory import IMAGE, OWN_IMAGES, ROOT, WITH_IMAGES, base_images

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
SECONDS: Final = 120.0


class Unresolved(Exception):
    """A registry did not say which image a tag leads to."""


def digest_of(tag: str) -> str:
    """The digest of the image's index, which holds for every architecture.

    Raises
    ------
    Unresolved
    """
    command = ["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except FileNotFoundError as error:
        raise Unresolved("docker is not installed; run this where images are built") from error
    except subprocess.TimeoutExpired as error:
        raise Unresolved(f"{tag}: no answer within {SECONDS:g} s") from error
    digest = told.stdout.strip()
    if told.returncode or not DIGEST.fullmatch(digest):
        raise Unresolved(f"{tag}: {told.stderr.strip() or 'docker named no digest'}")
    return digest


def pin(root: Path) -> list[str]:
    """Write the digests into the files; returns each tag with its digest. If one is missing, nothing is written.

    Raises
    ------
    Unresolved
    """
    digests = {tag: digest_of(tag) for tag in base_images(root)}

    def pinned(found: re.Match[str]) -> str:
        tag = found["tag"]
        if tag.startswith(OWN_IMAGES):
            return found[0]
        return f"{found[0].partition(tag)[0]}{tag}@{digests[tag]}"

    for name in WITH_IMAGES:
        path = root / name
        path.write_text(IMAGE.sub(pinned, path.read_text()))
    return [f"{tag}@{digest}" for tag, digest in digests.items()]


def main() -> int:
    """Pin the images of this checkout."""
    try:
        print("\n".join(pin(ROOT)))
    except Unresolved as error:
        print(f"pin-images: {error}; nothing was changed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
