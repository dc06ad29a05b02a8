"""Results as DICOM: a structured report in the film's own study.

    bytes of the film -> read_source -> Source
    (Source, Verdict, digest of the pixels, Manifest) -> make_report -> ComprehensiveSR -> to_part10 -> bytes

The report's UIDs are made from the film and the model that it reports on (``identity``), so that a repeated request
gives the same instance, and a PACS that has it keeps one. ``Delivery`` stores reports to a DICOMweb server, through
an ``Outbox`` on disk.
"""

from .deliver import Delivery
from .dicomweb import DicomwebServer
from .heatmap import make_secondary_capture, overlay_png
from .identity import pixels_digest
from .outbox import Outbox
from .picture import film_png_16
from .report import make_report, to_part10
from .source import Source, UnreportableSource, read_source

__all__ = [
    "Delivery",
    "DicomwebServer",
    "Outbox",
    "Source",
    "UnreportableSource",
    "film_png_16",
    "make_report",
    "make_secondary_capture",
    "overlay_png",
    "pixels_digest",
    "read_source",
    "to_part10",
]
