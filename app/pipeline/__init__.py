"""From bytes to a verdict, one stage a file.

    bytes -> decode -> DecodedImage (with its exposed field) -> film_tensor -> Backend -> Outputs -> Gate -> judge -> Verdict

Before the gate, ``judge`` asks ``Content.faults`` (is it a frontal chest film?) and ``Orientation.faults`` (is it upright?).
``Screener`` puts the last three together; ``read_bundle`` and ``choose_backends`` give it its parts. Nothing here
knows HTTP, reads the environment, or imports anything else of ``app``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .decode import decode
from .image import DecodedImage
from .labels import LABELS

if TYPE_CHECKING:
    from .backends import Backend, choose_backends, choose_device, torch_backend
    from .bundle import Bundle, read_bundle
    from .network import ChestNetwork
    from .preprocess import film_tensor, picture_tensor, to_tensor
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
    "film_tensor",
    "picture_tensor",
    "read_bundle",
    "to_tensor",
    "torch_backend",
]

#: Names that need torch are imported on first use: a process that only decodes saves three seconds and 400 MB.
_MODULE_OF: Final = {
    "Backend": "backends",
    "Bundle": "bundle",
    "ChestNetwork": "network",
    "Screener": "screener",
    "Verdict": "verdict",
    "choose_backends": "backends",
    "choose_device": "backends",
    "read_bundle": "bundle",
    "film_tensor": "preprocess",
    "picture_tensor": "preprocess",
    "to_tensor": "preprocess",
    "torch_backend": "backends",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
