"""How a run's logits are calibrated and called, learnt from films that its network was not trained on.

``prevalence``  how frequent each finding is among the films that probabilities shall hold for
``calibration`` logits -> log odds
``movement``    how far an attacker moves each logit
``fitting``     all of it -> the findings of a manifest, kept in ``calls.json``
``measuring``   what the calls come to on the test films; ``plot`` draws it
"""

from .fitting import CallOptions, fit_calls, load_calls
from .measuring import measure_calls, measure_calls_of

__all__ = ["CallOptions", "fit_calls", "load_calls", "measure_calls", "measure_calls_of"]
