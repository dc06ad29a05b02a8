"""The backends compute features and logits: one file each, all of one network, and all in float32.

``docs/engine.md`` has their speed, and how far their numbers lie apart.
"""

from .choice import BACKENDS, choose_backends, choose_device, torch_backend
from .protocol import Backend

__all__ = ["BACKENDS", "Backend", "choose_backends", "choose_device", "torch_backend"]
