"""The paper's experiment and the attackers that it leaves out, on any bundle and any labelled folder.

``presets``     numbers of films and steps
``subject``     the bundle under test
``store``       stages on disk, so that a run resumes where it stopped
``observing``   films -> the network's outputs
``uninformed``  the paper's attacks, the detectors on them, the learning curve
``adaptive``    attackers who stop early or know the gate, sanity checks, independent libraries
``clean``       accuracy, false rejection by group, harmless changes
``experiment``  all stages, in order
"""

from .experiment import evaluate
from .presets import PRESETS, Preset

__all__ = ["PRESETS", "Preset", "evaluate"]
