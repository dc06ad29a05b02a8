"""Recalibrate the gate for a site: the network stays, mean, covariance and threshold move. See docs/recalibration.md.

``site``           the site's films: patients and groups
``suspicion``      checks whether the films look attacked
``estimate``       the Gaussian, shrunk toward the base's
``compare``        before and after, on clean and attacked films
``recalibration``  all of these in order -> a new bundle, or a refusal
``command``        ``cxr-offline recalibrate``
``scenario``       the measurements of docs/recalibration.md
"""

from .recalibration import RecalibrationOptions, RecalibrationRefused, recalibrate
from .site import Site, read_site

__all__ = ["RecalibrationOptions", "RecalibrationRefused", "Site", "read_site", "recalibrate"]
