"""``make licences``: whether the licences of all served packages allow it, by the installed packages, without a network."""

from __future__ import annotations

import re
import sys
from typing import Final

from scripts.inventory import Package, declared_licence, exceptions, locked

#: Such code may be used, changed and shipped beside code of another licence. MPL-2.0 asks only for changes of its own files.
FREE: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
    }
    | {"Zlib"}
)


def is_free(expression: str) -> bool:
    """Whether an SPDX expression asks for nothing more than the licences of ``FREE``."""
    if "(" in expression:
        return False
    return any(
        all(part.strip() in FREE for part in re.split(r"\bAND\b", choice)) for choice in re.split(r"\bOR\b", expression)
    )


def faults() -> list[str]:
    """The packages that may not be served, or whose licence is not known to allow it, a line each."""
    allowed = exceptions()
    found: list[str] = []
    packages = list(locked())
    for package in packages:
        if fault := _fault(package):
            found.append(fault)
    names = {package.name for package in packages}
    found += [f"{name}: in licences.csv, and not served" for name in sorted(allowed.keys() - names)]
    return found


def _fault(package: Package) -> str:
    try:
        declared = declared_licence(package)
    except LookupError as error:
        return f"{error}: its licence cannot be read"
    exception = exceptions().get(package.name)
    if exception is None:
        if declared is None:
            return f"{package.name} {package.version} names no licence: read it, and add a line to scripts/licences.csv"
        return (
            ""
            if is_free(declared)
            else f"{package.name} {package.version} is under {declared}, which is not on the list"
        )
    if declared is not None and declared != exception.licence:
        return (
            f"{package.name} {package.version} is under {declared}, and scripts/licences.csv says {exception.licence}"
        )
    return ""


def main() -> int:
    """Print what is wrong; 1 where something is."""
    found = faults()
    print(
        "\n".join(found)
        or f"{len(list(locked()))} packages: every licence is on the list, or is excepted with a reason"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
