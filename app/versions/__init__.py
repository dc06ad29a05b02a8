"""Several bundles side by side: one judges, one may be tried in its shadow, and the others wait.

folder of bundles -> load, prove -> shadow -> promote -> active -> (the next one promoted) previous -> roll back
"""

from .catalogue import Catalogue
from .choice import ChoiceFile
from .errors import UnknownVersion, VersionConflict, VersionRefused
from .loading import load, load_chosen, proven_screeners
from .trust import trusted_keys
from .versions import Asked, Versions

__all__ = [
    "Asked",
    "Catalogue",
    "ChoiceFile",
    "UnknownVersion",
    "VersionConflict",
    "VersionRefused",
    "Versions",
    "load",
    "load_chosen",
    "proven_screeners",
    "trusted_keys",
]
