"""Measure, and write the report and the tables: see the package."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from app.pipeline import read_bundle

from . import __doc__ as described
from . import choosing, page
from .attacking import attacks
from .films import load

REPORT: Final = Path("reports/queries/queries.json")
PAGE: Final = Path("docs/query-detection.md")


def main() -> None:
    """Run the parts, one by one, and write after each."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data"))
    parser.add_argument("--only", action="append", help="choice, alarms, dodges, cost or attacks; may be repeated")
    parser.add_argument("--films", type=int, default=10, help="that are attacked for each goal")
    parser.add_argument("--budget", type=int, default=200, help="queries of an attack")
    parsed = parser.parse_args()
    every, bundle = load(parsed.data / "chest_xrays"), read_bundle(parsed.bundle)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "choice": lambda: choosing.choice(every, bundle),
        "alarms": lambda: choosing.alarms(every),
        "dodges": lambda: choosing.dodges(every, bundle),
        "cost": lambda: choosing.cost(every),
        "attacks": lambda: attacks(every, bundle, parsed.bundle, films=parsed.films, budget=parsed.budget),
    }
    if unknown := set(parsed.only or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    report: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    for name, measure in parts.items():
        if parsed.only and name not in parsed.only:
            continue
        report[name] = measure()
        report["model_version"] = bundle.manifest.model_version
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(report, indent=1) + "\n")
        print(f"{name}: done", flush=True)
    page.write(PAGE, report)


if __name__ == "__main__":
    main()
