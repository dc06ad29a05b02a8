"""Measure whether a heatmap shows the place of the finding, on boxes that radiologists drew.

``boxes``      the NIH's list of boxes -> the boxes on available films
``maps``       a network and a film -> several maps of one finding
``measures``   a map and a box -> hit, overlap, empty, outside the chest
``locate``     all of these -> a report
``words``      the report for people
``plot``       the films with box and strongest place, for local viewing only
"""

from .boxes import Box, read_boxes
from .locate import REPORT, Explained, locate
from .plot import draw
from .words import sentences, table

__all__ = ["REPORT", "Box", "Explained", "draw", "locate", "read_boxes", "sentences", "table"]
