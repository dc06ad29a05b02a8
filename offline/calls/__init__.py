"""Learn how a run's logits are calibrated and called, from films that its network was not trained on.

``prevalence``  the frequency of each finding for which probabilities shall hold
``calibration`` logits -> log odds
``movement``    how far an attacker moves each logit
``fitting``     all of these -> the findings of a manifest, stored in ``calls.json``
``measuring``   the results of the calls on the test films; ``plot`` draws them
"""

from .fitting import CallOptions, fit_calls, load_calls
from .measuring import measure_calls, measure_calls_of

__all__ = ["CallOptions", "fit_calls", "load_calls", "measure_calls", "measure_calls_of"]
