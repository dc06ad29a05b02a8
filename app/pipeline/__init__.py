"""From bytes to a verdict, one stage a file.

    bytes -> decode -> DecodedImage -> to_tensor -> Backend -> Gaussian.log_density -> judge -> Verdict

``Screener`` puts the last three together; ``read_bundle`` and ``choose_backends`` give it its parts. Nothing here
knows HTTP, reads the environment, or imports anything else of ``app``.
"""

from .backends import Backend, choose_backends, choose_device, torch_backend
from .bundle import Bundle, read_bundle
from .decode import decode
from .image import DecodedImage
from .labels import LABELS
from .network import ChestNetwork
from .preprocess import to_tensor
from .screener import Screener
from .verdict import Verdict

__all__ = [
    "LABELS",
    "Backend",
    "Bundle",
    "ChestNetwork",
    "DecodedImage",
    "Screener",
    "Verdict",
    "choose_backends",
    "choose_device",
    "decode",
    "read_bundle",
    "to_tensor",
    "torch_backend",
]
