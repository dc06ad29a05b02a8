"""Freed memory is kept by the process, and not given back to the system between two tensors."""

from __future__ import annotations

import ctypes
from typing import Final

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_MOST: Final = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Have glibc reuse what is freed, however large; whether that could be arranged.

    A block of tens of megabytes, as activations are, is otherwise mapped anew each time and unmapped when it is freed, and
    each of its pages costs a fault and is filled with zeros again. An attacker's step on 16 films took .22 s a film on two
    threads, and .17 since; on one thread .34, and .24 since. The process keeps the most that it ever needed, so that this is
    for commands that end, and not for a service.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, or another system
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _MOST))
