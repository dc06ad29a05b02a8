"""What held-out films say of each finding: its operating point, and how good it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from app.pipeline.labels import LABELS


def findings_of(
    targets: NDArray[np.float32], logits: NDArray[np.float32], report: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Each finding's operating point on held-out films: the probability with the largest Youden index.

    Without a single positive (or negative) film there is nothing to choose by: the point is then 0.5, and
    sensitivity and specificity are None.
    """
    found = []
    for column, name in enumerate(LABELS):
        present, score = targets[:, column].astype(bool), expit(logits[:, column].astype(np.float64))
        point, sensitivity, specificity = 0.5, None, None
        if present.any() and not present.all():
            candidates = np.unique(score)
            hit = np.array([(score[present] >= cut).mean() for cut in candidates])
            quiet = np.array([(score[~present] < cut).mean() for cut in candidates])
            best = int(np.argmax(hit + quiet))
            point, sensitivity, specificity = float(candidates[best]), float(hit[best]), float(quiet[best])
        area = report["auroc"][name] if report else None
        found.append(
            {
                "name": name,
                "operating_point": point,
                "sensitivity": sensitivity,
                "specificity": specificity,
                "calibration_positives": int(present.sum()),
                "auroc": area if area is not None and np.isfinite(area) else None,
            }
        )
    return found
