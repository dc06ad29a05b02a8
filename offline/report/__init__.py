"""The report of an evaluation: one HTML page, its JSON, tables as CSV and plots as PNG.

    evaluation, arrays -> reading -> summary (plain words), tables (CSV)
                                  -> plots, distributions, pictures (PNG) -> page (templates)

This package measures nothing, and only ``reading`` knows the layout of the file.
"""

from collections.abc import Mapping
from typing import Any

from . import summary
from .reading import read
from .write import write_report

__all__ = ["sentences", "write_report"]


def sentences(evaluation: Mapping[str, Any]) -> list[str]:
    """The conclusions of an evaluation, one a sentence."""
    return summary.sentences(read(evaluation))
