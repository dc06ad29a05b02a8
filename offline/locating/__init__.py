"""Does a heatmap show where the finding is? Measured on boxes that radiologists drew.

``boxes``      the NIH's list of boxes -> those of films that are at hand
``maps``       a network and a film -> several maps of one finding
``measures``   a map and a box -> hit, overlap, empty, outside the chest
``locate``     all of it -> a report
``words``      the report for people
``plot``       the films with box and strongest place, for local eyes
"""

from .boxes import Box, read_boxes
from .locate import REPORT, Explained, locate
from .plot import draw
from .words import sentences, table

__all__ = ["REPORT", "Box", "Explained", "draw", "locate", "read_boxes", "sentences", "table"]
