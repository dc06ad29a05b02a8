"""Measure, and write the report and the tables: see the package."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from app.pipeline import read_bundle
from offline.generated_tables import filled

from . import __doc__ as described
from . import choosing, page
from .attacking import attacks, undefended
from .films import FilmSet, load

REPORT: Final = Path("reports/queries/queries.json")
PAGE: Final = Path("docs/query-detection.md")


def main() -> None:
    """Run the parts, one by one, and write after each."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data"))
    parser.add_argument("--only", action="append", help="one part; may be repeated")
    parser.add_argument("--films", type=int, default=10, help="that are attacked for each goal")
    parser.add_argument("--budget", type=int, default=200, help="queries of an attack")
    parsed = parser.parse_args()
    bundle = read_bundle(parsed.bundle)
    options = {"films": parsed.films, "budget": parsed.budget}

    @cache
    def films(*splits: str) -> FilmSet:
        return load(parsed.data / "chest_xrays", *splits)

    # Each gives its rows as they come: what was measured before a part was stopped stays.
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "choice": lambda: choosing.choice(films("train", "val"), bundle),
        "radius": lambda: choosing.radius(films("train", "val")),
        "alarms": lambda: choosing.alarms(films("train", "val", "test")),
        "attacks": lambda: attacks(films("test"), bundle, parsed.bundle, **options),
        "undefended": lambda: undefended(films("test"), bundle, parsed.bundle, **options),
        "dodges": lambda: choosing.dodges(films("test"), bundle),
        "cost": lambda: choosing.cost(films("test")),
    }
    if unknown := set(parsed.only or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    report: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in parts.items():
        if parsed.only and name not in parsed.only:
            continue
        report[name] = []
        for row in measure():
            report[name].append(row)
            report["model_version"] = bundle.manifest.model_version
            REPORT.write_text(json.dumps(report, indent=1) + "\n")
            PAGE.write_text(filled(PAGE.read_text(), page.tables(report)))
        print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
