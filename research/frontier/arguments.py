"""The options that the commands of this room share."""

from __future__ import annotations

import argparse
from pathlib import Path

from .table import PAGE


def parser_of(module: str, description: str | None, films: int) -> argparse.ArgumentParser:
    """A command's: which films, how many of them are attacked (`films` if nothing is said), and the page that is filled."""
    parser = argparse.ArgumentParser(
        prog=f"python -m research.frontier.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled films")
    parser.add_argument("--films", type=int, default=films, help="val films that are attacked (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="whose tables are filled (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (default: %(default)s)")
    return parser
