"""Films and pixels on their way between processes: memory without a name, which the kernel frees with its last holder."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Nobody can change, shrink or grow the memory any more; a mapping of shrinking memory is a crash (SIGBUS) of its reader.
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def sealed(content: bytes | memoryview) -> int:
    """Copy bytes to sealed memory; the caller closes the descriptor.

    Raises
    ------
    OSError
        No memory, or no more descriptors.
    """
    descriptor = os.memfd_create("film", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content).cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def contents(descriptor: int) -> bytes:
    """All bytes of a memory, copied."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
        return mapped[:]


def pixels(descriptor: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Map pixels that another process made; nothing is copied, and the array owns its mapping.

    Returns
    -------
    ndarray, shape (rows, columns), float32
        Not checked for range. What is written to it is seen by this process alone.

    Raises
    ------
    ValueError
        The memory is not sealed, or of another size.
    """
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("the memory is not sealed")
    size = rows * columns * np.dtype(np.float32).itemsize
    if os.fstat(descriptor).st_size != size:
        raise ValueError("the memory has another size than the film")
    mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    return np.frombuffer(mapped, np.float32).reshape(rows, columns)
