"""The served parts, read from committed files: Python packages and licences, vendored JavaScript, bundles, base images."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "requirements-serve.lock"
SWAGGER_UI: Final = ROOT / "app" / "http" / "static" / "swagger-ui"
#: Our own images begin with this; all others come from a registry.
OWN_IMAGES: Final = "cxr-gate"
WITH_IMAGES: Final = ("Dockerfile", "deploy/orthanc/Dockerfile", "docker-compose.yml")
IMAGE: Final = re.compile(
    r"^(?:FROM|\s+image:)[ \t]+(?P<tag>[\w./-]+:[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?", re.MULTILINE
)
#: Names of licences in packages -> SPDX identifiers.
_SPELLINGS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "Other/Proprietary License": "LicenseRef-Proprietary",
}


@dataclass(frozen=True)
class Package:
    """A locked package.

    Attributes
    ----------
    sha256 : tuple of str
        The hash of each file that may be installed for it.
    """

    name: str
    version: str
    sha256: tuple[str, ...]


def locked(lock: Path = LOCK) -> Iterator[Package]:
    """Each package that a lock file installs on Linux under the Python that runs this."""
    for entry in re.split(r"\n(?=\S)", lock.read_text()):
        head, *hashes = re.split(r"\s+--hash=sha256:", entry.replace("\\\n", "\n"))
        if head.startswith("#") or not head.strip():
            continue
        requirement = Requirement(head.strip())
        (pin,) = requirement.specifier
        if requirement.marker is None or requirement.marker.evaluate():
            yield Package(requirement.name, pin.version, tuple(digest.strip() for digest in hashes))


def declared_licence(package: Package) -> str | None:
    """SPDX expression in the metadata of the installed package; None if it names no licence.

    Raises
    ------
    LookupError
        The package is not installed, or in another version.
    """
    try:
        found = metadata.distribution(package.name)
    except metadata.PackageNotFoundError as error:
        raise LookupError(f"{package.name} is not installed") from error
    if found.version != package.version:
        raise LookupError(f"{package.name} is installed as {found.version}, and locked as {package.version}")
    told: Any = found.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    line = (told.get("License") or "").strip()
    classifiers = [text.split(" :: ")[-1] for text in told.get_all("Classifier") or [] if text.startswith("License ::")]
    # If the field holds the whole text of a licence, only the classifiers count.
    words = [line, *classifiers] if line and "\n" not in line and len(line) < 60 else classifiers
    known = dict.fromkeys(_SPELLINGS.get(word, word) for word in words if word != "OSI Approved")
    return " AND ".join(known) or None  # a package that names two licences must keep both


@dataclass(frozen=True)
class Excepted:
    """A licence that is not on the list, or that a package does not name, and why it may be served all the same."""

    licence: str
    why: str


def exceptions(table: Path = ROOT / "scripts" / "licences.csv") -> dict[str, Excepted]:
    """The exceptions, by package."""
    with table.open(newline="") as rows:
        return {row["package"]: Excepted(row["licence"], row["why"]) for row in csv.DictReader(rows)}


def vendored() -> tuple[str, str, str]:
    """Name, version and SHA-256 of the one JavaScript library that is kept here. The pages themselves are ours."""
    found = re.match(r"(\S+) (\d+\.\d+\.\d+) ", (SWAGGER_UI / "VERSION").read_text())
    if not found:
        raise ValueError(f"{SWAGGER_UI / 'VERSION'} does not begin with a name and a version")
    return found[1], found[2], sha256_of(SWAGGER_UI / "swagger-ui-bundle.js")


def manifest_of(bundle: Path) -> dict[str, Any]:
    """A bundle's manifest, which names its files and their SHA-256."""
    told: dict[str, Any] = json.loads((bundle / "manifest.json").read_bytes())
    return told


def base_images(root: Path = ROOT) -> dict[str, str | None]:
    """Tag -> digest, None where it is not pinned, of every image that is not built here."""
    return {
        found["tag"]: found["digest"]
        for name in WITH_IMAGES
        for found in IMAGE.finditer((root / name).read_text())
        if not found["tag"].startswith(OWN_IMAGES)
    }


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
