"""Before and after: the base's gate and the new gate judge the site's held-out films and their attacked copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.pipeline.network import LogitsOnly

from ..attacks import AttackOptions, paper_attacks
from ..data.films import evenly
from ..detectors.measures import bootstrap_weights, detection_auroc, share
from ..evaluation.observing import Images, observe
from ..evaluation.presets import WHITE_BOX_EPSILON
from ..evaluation.subject import LoadedBundle
from ..evaluation.uninformed import attack_all

Array = NDArray[np.float64]

#: The hard cases: one step of one or two grey levels. Of all attacks that do not know the gate, it detects these least.
HARD: Final[Mapping[str, AttackOptions]] = MappingProxyType(
    {f"FGSM {levels}/255": AttackOptions(levels / 255, levels / 255, 1) for levels in (1, 2)}
)
#: The paper's four attacks: the new gate must still detect these.
STORED: Final[Mapping[str, AttackOptions]] = MappingProxyType(
    {f"{name} {WHITE_BOX_EPSILON:g}": options for name, options in paper_attacks(WHITE_BOX_EPSILON).items()}
)

#: Most films that an attack is made on. The stored attack of one step is made on all films: its detection is lost first, and it
#: costs a tenth.
MOST_FILMS: Final = 64


@dataclass(frozen=True)
class GateJudgement:
    """One gate's threshold (nats), and its log densities of the films that both gates judge.

    ``clean`` has shape (N,), and ``attacked`` (M,) for each attack.
    """

    threshold: float
    clean: Array
    attacked: Mapping[str, Array]

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """Clean films that are rejected, shape (N,)."""
        rejected: NDArray[np.bool_] = self.clean < self.threshold
        return rejected


def attacked_places(name: str, films: int) -> NDArray[np.intp]:
    """Indices of the films on which an attack of ``STORED`` or ``HARD`` is made, in order."""
    on_all = name in STORED and STORED[name].steps == 1
    return np.arange(films) if on_all else evenly(films, MOST_FILMS)


def attacked_features(subject: LoadedBundle, levels: Images) -> dict[str, NDArray[np.float32]]:
    """Attack -> features of its attacked films, shape (M, d), in the order of ``attacked_places``.

    None of these attacks knows the gate, so they are the same for every gate on this network.

    Parameters
    ----------
    levels : ndarray, shape (N, 1, 224, 224), uint8
    """
    network, logits_of = subject.victim.network, LogitsOnly(subject.victim.network)
    found = {}
    for name, options in {**STORED, **HARD}.items():
        attacked = attack_all(logits_of, levels[attacked_places(name, len(levels))], subject.device, name, options)
        found[name] = observe(network, attacked, subject.device, f"features of {name}").gate_features
    return found


def false_rejection(
    before: GateJudgement, after: GateJudgement, patients: NDArray[np.str_], chosen: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Clean films rejected by both gates, with 95 % bootstrap intervals over patients.

    Parameters
    ----------
    patients : ndarray, shape (N,)
    chosen : ndarray, shape (N,), bool, or None
        The films that count; None: all.
    """
    here = np.ones(len(patients), dtype=bool) if chosen is None else chosen
    weights = bootstrap_weights(patients[here], 1000, 0)
    row: dict[str, Any] = {"films": int(here.sum()), "patients": len(np.unique(patients[here]))}
    for name, gate in (("before", before), ("after", after)):
        rejected = gate.rejected[here]
        row[name] = {"rejected": int(rejected.sum()), **vars(share(rejected, weights))}
    return row


def group_rows(
    before: GateJudgement, after: GateJudgement, patients: NDArray[np.str_], groups: list[tuple[str, ...]], least: int
) -> list[dict[str, Any]]:
    """``false_rejection`` of each group with at least `least` films."""
    rows = []
    for group in sorted({name for names in groups for name in names}):
        chosen = np.array([group in names for names in groups])
        if chosen.sum() >= least:
            rows.append({"group": group, **false_rejection(before, after, patients, chosen)})
    return rows


def detection_rows(before: GateJudgement, after: GateJudgement) -> list[dict[str, Any]]:
    """Attacked films that each gate rejects, and the area under the ROC curve of attacked against clean scores.

    A gate that rejects most clean films also rejects attacked ones, so that detection alone would say that recalibration harms.
    The area under the ROC curve does not depend on the threshold.
    """
    rows = []
    for name, scores in before.attacked.items():
        row: dict[str, Any] = {"attack": name, "stored": name in STORED, "films": len(scores)}
        for when, gate in (("before", before), ("after", after)):
            rejected = gate.attacked[name] < gate.threshold
            row[when] = {
                "detected": int(rejected.sum()),
                "detection_rate": float(rejected.mean()),
                "auroc": detection_auroc(gate.clean, gate.attacked[name]),
            }
        rows.append(row)
    return rows
