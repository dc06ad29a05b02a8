"""``make sbom``: what is served as CycloneDX 1.6, from committed files alone; the same files give the same bytes.

requirements-serve.lock  app/http/static/swagger-ui  BUNDLE/manifest.json  Dockerfile  [dpkg-query of the built image]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from scripts.inventory import (
    ROOT,
    base_images,
    declared_licence,
    exceptions,
    locked,
    manifest_of,
    sha256_of,
    vendored,
)

SPEC_VERSION: Final = "1.6"
#: What ``dpkg-query --show --showformat='${Package}\t${Version}\t${Architecture}\n'`` prints.
_DEBIAN: Final = re.compile(r"([a-z0-9][a-z0-9+.-]+)\t(\S+)\t([a-z0-9-]+)")

Component = dict[str, Any]


def python_packages() -> Iterator[Component]:
    """The packages of the lock file, with the SHA-256 of all files that it allows."""
    excepted = exceptions()
    for package in locked():
        licence = excepted[package.name].licence if package.name in excepted else declared_licence(package)
        yield {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package.name}@{package.version}",
            "name": package.name,
            "version": package.version,
            "purl": f"pkg:pypi/{package.name}@{package.version}",
            "licenses": [{"expression": licence}] if licence else [],
            "properties": [{"name": "cxr-gate:sha256-of-a-file", "value": digest} for digest in sorted(package.sha256)],
        }


def javascript() -> Iterator[Component]:
    """Swagger UI, which is kept here whole."""
    name, version, digest = vendored()
    yield {
        "type": "library",
        "bom-ref": f"pkg:npm/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:npm/{name}@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def model(bundle: Path) -> Component:
    """A bundle and its files."""
    manifest = manifest_of(bundle)
    version = manifest["model_version"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{version}",
        "name": bundle.name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": sha256_of(bundle / "manifest.json")}],
        "components": [
            {
                "type": "file",
                "bom-ref": f"bundle:{version}/{name}",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for name, digest in sorted(manifest["files"].items())
        ],
    }


def images() -> Iterator[Component]:
    """The images that the containers are built on, and those that run beside them."""
    for tag, digest in sorted(base_images().items()):
        name, _, version = tag.rpartition(":")
        found: Component = {"type": "container", "bom-ref": f"image:{tag}", "name": name, "version": version}
        if digest:
            found["hashes"] = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
        yield found


def debian(listed: str) -> Iterator[Component]:
    """Debian packages, from the output of dpkg-query.

    Raises
    ------
    ValueError
        A line is not of dpkg-query's form.
    """
    for line in sorted(listed.splitlines()):
        found = _DEBIAN.fullmatch(line)
        if not found:
            raise ValueError(f"{line!r} is not a package, its version and its architecture, with tabs between")
        name, version, architecture = found.groups()
        purl = f"pkg:deb/debian/{name.replace('+', '%2B')}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def document(bundle: Path, debian_packages: str | None) -> dict[str, Any]:
    """The whole bill; without Debian packages it says that they are missing."""
    components = [*python_packages(), *javascript(), model(bundle), *images()]
    components += debian(debian_packages) if debian_packages is not None else ()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "app" / "__init__.py").read_text())
    assert version
    told = "listed" if debian_packages is not None else "not listed: build the image, and make sbom IMAGE=..."
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(components, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "cxr-gate",
                "name": "cxr-gate",
                "version": version[1],
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
            "properties": [{"name": "cxr-gate:debian-packages", "value": told}],
        },
        "components": components,
    }


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m scripts.sbom", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "artifacts" / "default")
    parser.add_argument("--debian-packages", type=Path, help="what dpkg-query printed in the image")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    try:
        listed = given.debian_packages.read_text() if given.debian_packages else None
        made = document(given.bundle, listed)
    except (OSError, ValueError, LookupError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(made, indent=1) + "\n")
    print(
        f"{given.output}: {len(made['components'])} components; Debian packages are {made['metadata']['properties'][0]['value']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
