"""Attacks on the network and on its gate: pixels in [0,1], within an L-infinity ball (except ``tampering``).

``linf``        FGSM, BIM, PGD and MIM, which know nothing of the gate and run to their last step
``goals``       the goals to hide or to invent a finding
``call_goals``  the goals to change how a finding is called
``minimal``     an attacker who does not know the gate either, but stops at the first flip
``adaptive``    attackers who know the gate: joint loss, selective and orthogonal gradients
``constraint``  hierarchical feature constraint
``native``      all of these at the film's own size
``curve``       one attack at rising budgets
``libraries``   APGD, Square and DeepFool of an independent library
``tampering``   films altered by hand, without a gradient or a query
``sanity``      checks that the results make sense
"""

from .adaptive import joint, orthogonal, selective
from .call_goals import CallPoints, CallTarget, choose_call
from .constraint import feature_constraint
from .curve import epsilon_curve
from .goals import Choice, Goal, Target, Wanted, choose_target, goal_loss
from .judging import AttackResult, Victim, judged
from .linf import AttackOptions, attack, paper_attacks, top_finding_loss
from .minimal import minimal
from .native import at_native_size
from .posting import as_posted
from .search import SearchOptions

__all__ = [
    "AttackOptions",
    "AttackResult",
    "CallPoints",
    "CallTarget",
    "Choice",
    "Goal",
    "SearchOptions",
    "Target",
    "Victim",
    "Wanted",
    "as_posted",
    "at_native_size",
    "attack",
    "choose_call",
    "choose_target",
    "epsilon_curve",
    "feature_constraint",
    "goal_loss",
    "joint",
    "judged",
    "minimal",
    "orthogonal",
    "paper_attacks",
    "selective",
    "top_finding_loss",
]
