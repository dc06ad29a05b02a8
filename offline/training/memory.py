"""Keep freed memory in the process: it does not go back to the system between two tensors."""

from __future__ import annotations

import ctypes
from typing import Final

# From glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_MOST: Final = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks of every size. Returns whether glibc accepted the settings.

    By default glibc maps each block of tens of megabytes, such as activations, again, and unmaps it when it is freed. Each of
    its pages then costs a fault and is filled with zeros. This call reduced an attacker's step on 16 films from .22 to .17 s a
    film on two threads, and from .34 to .24 on one. The process keeps its peak memory until it ends, so that a service must not
    call this.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, or another system
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _MOST))
