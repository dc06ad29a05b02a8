"""From bytes to a verdict, one stage a file.

    bytes -> decode -> DecodedImage -> to_tensor -> ChestNetwork -> Gaussian.log_density -> judge -> Verdict

``Screener`` puts the last three together on a device; ``read_bundle`` gives it its parts. Nothing here
knows HTTP, reads the environment, or imports anything else of ``app``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .decode import decode
from .image import DecodedImage
from .labels import LABELS

if TYPE_CHECKING:
    from .bundle import Bundle, read_bundle
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

#: What needs torch is imported when it is asked for: a process that only decodes is spared its three seconds and 400 MB.
_MODULE_OF: Final = {
    "Bundle": "bundle",
    "ChestNetwork": "network",
    "Screener": "screener",
    "Verdict": "verdict",
    "choose_device": "screener",
    "read_bundle": "bundle",
    "to_tensor": "preprocess",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
