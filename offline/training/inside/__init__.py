"""Rival defences inside a network: its dense blocks stay, and the rival adds blocks between them or changes their layers.

``blocks``    radial basis mapping, non-local context, feature denoising
``dual_norm`` separate batch statistics for attacked films
``networks``  a network with a rival, as ``harden`` makes it and as a run stores it
"""

from .networks import INSIDE, Inside, load_inside, widened

__all__ = ["INSIDE", "Inside", "load_inside", "widened"]
