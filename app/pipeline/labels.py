"""The findings of ChestX-ray14, in the order of the network's outputs. Their number is the L in the shapes of docstrings.

A new one also needs its code (``app/results/codes.py``) and its frequency (``offline/calls/chest_xray14.csv``), and a network
that was trained on it.
"""

from __future__ import annotations

from typing import Final

#: Order of Wang et al., CVPR 2017, table 1, as most published code keeps it.
LABELS: Final[tuple[str, ...]] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
