"""The report of an evaluation: one HTML page, its JSON, tables as CSV and plots as PNG.

    evaluation, arrays -> reading -> summary (plain words), tables (CSV)
                                  -> plots, distributions, pictures (PNG) -> about_* (sections) -> page

Nothing here measures, and nothing but ``reading`` indexes the evaluation.
"""

from .summary import sentences
from .write import write_report

__all__ = ["sentences", "write_report"]
