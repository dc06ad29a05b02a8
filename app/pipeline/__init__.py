"""From bytes to a verdict, one stage a file.

    bytes -> decode -> DecodedImage -> to_tensor -> ChestNetwork -> Gaussian.log_density -> judge -> Verdict

``Screener`` puts the last three together on a device; ``read_bundle`` gives it its parts. Nothing here
knows HTTP, reads the environment, or imports anything else of ``app``.
"""

from .bundle import Bundle, read_bundle
from .decode import decode
from .image import DecodedImage
from .labels import LABELS
from .network import ChestNetwork
from .preprocess import to_tensor
from .screener import Screener, choose_device
from .verdict import Verdict

__all__ = [
    "LABELS",
    "Bundle",
    "ChestNetwork",
    "DecodedImage",
    "Screener",
    "Verdict",
    "choose_device",
    "decode",
    "read_bundle",
    "to_tensor",
]
