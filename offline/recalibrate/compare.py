"""Before and after: the site's held-out films and their attacked copies, judged by the base's gate and by the new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.pipeline.gaussian import Gaussian
from app.pipeline.network import LogitsOnly

from ..attacks import AttackOptions, paper_attacks
from ..detectors.measures import bootstrap_weights, detection_auroc, share
from ..evaluation.observing import Images, observe
from ..evaluation.presets import WHITE_BOX_EPSILON
from ..evaluation.subject import Subject
from ..evaluation.uninformed import attack_all

Array = NDArray[np.float64]

#: The hard cases: one step of one or two grey levels, which the gate sees least of all that knows nothing of it.
HARD: Final[Mapping[str, AttackOptions]] = MappingProxyType(
    {f"FGSM {levels}/255": AttackOptions(levels / 255, levels / 255, 1) for levels in (1, 2)}
)
#: Of the four promised at home: these must stay detected.
STORED: Final[Mapping[str, AttackOptions]] = MappingProxyType(
    {f"{name} {WHITE_BOX_EPSILON:g}": options for name, options in paper_attacks(WHITE_BOX_EPSILON).items()}
)


@dataclass(frozen=True)
class Gate:
    """A Gaussian and its threshold (nats)."""

    gaussian: Gaussian
    threshold: float

    def rejects(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Shape (N, d) -> (N,)."""
        rejected: NDArray[np.bool_] = self.gaussian.log_density(features) < self.threshold
        return rejected


def attacked_features(subject: Subject, levels: Images) -> dict[str, NDArray[np.float32]]:
    """Attack -> features of attacked films, shape (N, 1024).

    None of these attacks knows a gate, so they are the same for every gate on this network.

    Parameters
    ----------
    levels : ndarray, shape (N, 1, 224, 224), uint8
    """
    network, logits_of = subject.victim.network, LogitsOnly(subject.victim.network)
    return {
        name: observe(
            network, attack_all(logits_of, levels, subject.device, name, options), subject.device, f"features of {name}"
        ).features
        for name, options in {**STORED, **HARD}.items()
    }


def false_rejection(
    before: Gate, after: Gate, features: NDArray[np.floating], patients: NDArray[np.str_]
) -> dict[str, Any]:
    """Clean films rejected by both gates, with 95 % bootstrap intervals over patients.

    Parameters
    ----------
    features : ndarray, shape (N, 1024)
    patients : ndarray, shape (N,)
    """
    weights = bootstrap_weights(patients, 1000, 0)
    row: dict[str, Any] = {"films": len(features), "patients": len(np.unique(patients))}
    for name, gate in (("before", before), ("after", after)):
        rejected = gate.rejects(features)
        row[name] = {"rejected": int(rejected.sum()), **vars(share(rejected, weights))}
    return row


def group_rows(
    before: Gate,
    after: Gate,
    features: NDArray[np.floating],
    patients: NDArray[np.str_],
    groups: list[tuple[str, ...]],
    least: int,
) -> list[dict[str, Any]]:
    """``false_rejection`` of each group with at least `least` films."""
    rows = []
    for group in sorted({name for names in groups for name in names}):
        chosen = np.array([group in names for names in groups])
        if chosen.sum() >= least:
            rows.append({"group": group, **false_rejection(before, after, features[chosen], patients[chosen])})
    return rows


def detection_rows(
    before: Gate,
    after: Gate,
    clean: NDArray[np.floating],
    attacked: Mapping[str, NDArray[np.floating]],
) -> list[dict[str, Any]]:
    """Attacked films rejected by both gates, and how well their scores part attacked from clean whatever the threshold.

    A gate that rejects most clean films detects anything, so that detection alone would say that recalibration harms;
    the area under the ROC curve does not depend on the threshold.

    Parameters
    ----------
    clean : ndarray, shape (M, 1024)
        The site's held-out films.
    attacked : mapping
        Attack -> features, shape (N, 1024).
    """
    rows = []
    for name, features in attacked.items():
        row: dict[str, Any] = {"attack": name, "stored": name in STORED, "films": len(features)}
        for when, gate in (("before", before), ("after", after)):
            rejected = gate.rejects(features)
            row[when] = {
                "detected": int(rejected.sum()),
                "detection_rate": float(rejected.mean()),
                "auroc": detection_auroc(gate.gaussian.log_density(clean), gate.gaussian.log_density(features)),
            }
        rows.append(row)
    return rows
