"""Results as DICOM: a structured report in the film's own study.

    bytes of the film -> read_source -> Source
    (Source, Verdict, digest of the pixels, Manifest) -> make_report -> ComprehensiveSR -> to_part10 -> bytes

The report's UIDs are made from what it reports on (``identity``), so that a repeated request gives the same
instance and a PACS that has it keeps one.
"""

from .identity import pixels_digest
from .report import make_report, to_part10
from .source import Source, UnreportableSource, read_source

__all__ = ["Source", "UnreportableSource", "make_report", "pixels_digest", "read_source", "to_part10"]
