"""Command-line options that select films."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..options import add_device
from .films import SPLITS, Film, read_films


def shared_data() -> Path:
    """The folder of the films and DICOM files that developers share."""
    return Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add options for the films' folder and split, and for the device."""
    parser.add_argument(
        "--data",
        type=Path,
        default=shared_data() / "chest_xrays",
        help="folder with labels.csv, or with the NIH's Data_Entry_2017*.csv beside images_*/images (default: %(default)s)",
    )
    parser.add_argument("--split", choices=("auto", "column", "patient", "paper"), default="auto")
    parser.add_argument("--paper-split", type=Path, help="list 'Image Index,split' (.csv or .csv.gz) for --split paper")
    parser.add_argument("--split-seed", type=int, default=0, help="seed of --split patient")
    add_device(parser)


def films_of(parsed: argparse.Namespace) -> list[Film]:
    """The selected films; their number is printed on standard error."""
    films = read_films(parsed.data, split_rule=parsed.split, paper_split=parsed.paper_split, seed=parsed.split_seed)
    counts = {split: sum(film.split == split for film in films) for split in SPLITS}
    print(f"{len(films)} films: " + ", ".join(f"{count} {split}" for split, count in counts.items()), file=sys.stderr)
    return films
