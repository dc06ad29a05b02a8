"""Measure, and write the report and the tables: see the package."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from app.pipeline import Bundle, Screener, read_bundle, torch_backend
from app.pipeline.bundle import CONTENT, GAUSSIAN, NETWORK, ORIENTATION
from offline.marked import filled

from . import __doc__ as described
from . import attacked, cost, framed, others, page, presented
from .posted import test_films

REPORT: Final = Path("reports/field/field.json")
PAGE: Final = Path("docs/field.md")


def main() -> None:
    """Run the parts that are missing or named, and write after each."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bundle", type=Path, action="append", help="artifacts/default and artifacts/paper if not given"
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data"))
    parser.add_argument("--only", action="append", help="one part; may be repeated")
    parser.add_argument("--films", type=int, default=48, help="test films (default: %(default)s)")
    parsed = parser.parse_args()
    folders = parsed.bundle or [Path("artifacts/default"), Path("artifacts/paper")]
    screeners = {}
    for folder in folders:
        bundle = read_bundle(folder)
        screeners[folder.name] = Screener(bundle, torch_backend(bundle.network, torch.device("cpu")))
    films = test_films(parsed.data, parsed.films)
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "frames": lambda: framed.rows(screeners, films),
        "presentation": lambda: presented.rows(screeners, films),
        "attacked": lambda: attacked.paper_rows(screeners, films),
        "aimed": lambda: attacked.aimed_rows(screeners, films),
        "others": lambda: others.rows(screeners, parsed.data),
        "cost": lambda: cost.rows(next(iter(screeners.values())), films[:12]),
    }
    if unknown := set(parsed.only or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    report: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    versions = {name: screener.bundle.manifest.model_version for name, screener in screeners.items()}
    judged_by = {name: _judged_by(screener.bundle) for name, screener in screeners.items()}
    if report.get("judged_by") != judged_by:
        report = {}  # parts of two gates would not compare
    elif report.get("model_versions") != versions:
        report.pop(
            "frames", None
        )  # the same gate with other probabilities and calls, which the other parts do not show
    report |= {"judged_by": judged_by, "model_versions": versions}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in parts.items():
        if name in (parsed.only or (part for part in parts if part not in report)):
            report[name] = list(measure())
            REPORT.write_text(json.dumps(report, indent=1) + "\n")
            PAGE.write_text(filled(PAGE.read_text(), page.tables(report)))


def _judged_by(bundle: Bundle) -> str:
    """Tells one gate from another, whatever the calibration of its probabilities."""
    files = [bundle.manifest.files[name] for name in (NETWORK, GAUSSIAN, ORIENTATION, CONTENT)]
    return hashlib.sha256(repr((files, bundle.manifest.gate.threshold)).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
