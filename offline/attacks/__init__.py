"""Attacks on the network: pixels in [0,1], within an L-infinity ball."""

from .linf import AttackOptions, attack, paper_attacks, top_finding_loss
from .posting import as_posted

__all__ = ["AttackOptions", "as_posted", "attack", "paper_attacks", "top_finding_loss"]
