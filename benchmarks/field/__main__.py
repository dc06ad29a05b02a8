"""Measure, and write the report and the tables: see the package."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from app.pipeline import Bundle, Screener, read_bundle, torch_backend
from app.pipeline.bundle import CONTENT, NETWORK, ORIENTATION
from app.pipeline.gate import GAUSSIAN
from offline.generated_tables import filled

from . import __doc__ as described
from . import attacked, cost, framed, others, page, painted, presented
from .posted import test_films

REPORT: Final = Path("reports/field/field.json")
PAGE: Final = Path("docs/field.md")
#: Bundles by name -> a part's rows of them.
Measure = Callable[[Mapping[str, Screener]], Iterator[dict[str, Any]]]


def main() -> None:
    """Run the parts that are named, or of all parts what no longer holds of a bundle, and write after each."""
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
    parts: dict[str, Measure] = {
        "frames": lambda some: framed.rows(some, films),
        "painted": lambda some: painted.rows(some, films[: parsed.films // 2]),
        "presentation": lambda some: presented.rows(some, films),
        "attacked": lambda some: attacked.paper_rows(some, films),
        "aimed": lambda some: attacked.aimed_rows(some, films),
        "others": lambda some: others.rows(some, parsed.data),
        "cost": lambda some: cost.rows(some, films[:12]),
    }
    if unknown := set(parsed.only or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    report: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    for part in parsed.only or parts:
        # A gate's rows hold as long as the gate does; those of frames show probabilities and calls too.
        tell = _version if part == "frames" else _judged_by
        holds = {name: tell(screener.bundle) for name, screener in screeners.items()}
        kept = {} if parsed.only else report.get(part, {}).get("of", {})
        missing = {name: screener for name, screener in screeners.items() if kept.get(name) != holds[name]}
        old = [
            row for row in report.get(part, {}).get("rows", []) if row["bundle"] in screeners.keys() - missing.keys()
        ]
        rows = [*old, *(parts[part](missing) if missing else ())]
        order = list(screeners)
        report[part] = {"of": holds, "rows": sorted(rows, key=lambda row: order.index(row["bundle"]))}
        REPORT.write_text(json.dumps(report, indent=1) + "\n")
        PAGE.write_text(filled(PAGE.read_text(), page.tables(report)))


def _version(bundle: Bundle) -> str:
    return bundle.manifest.model_version


def _judged_by(bundle: Bundle) -> str:
    """Tells one gate from another, whatever the calibration of its probabilities."""
    files = [bundle.manifest.files[name] for name in (NETWORK, GAUSSIAN, ORIENTATION, CONTENT)]
    return hashlib.sha256(repr((files, bundle.manifest.gate.threshold)).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
