"""Rivals that sit inside a network: its dense blocks stay, and something stands between them or in their layers.

``blocks``    radial basis mapping, non-local context, feature denoising
``dual_norm`` other batch statistics for attacked films
``networks``  a network with one of them, as ``harden`` makes it and as a run keeps it
"""

from .networks import INSIDE, Inside, load_inside, widened

__all__ = ["INSIDE", "Inside", "load_inside", "widened"]
