"""The 14 findings of ChestX-ray14, in the order of the network's outputs."""

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
