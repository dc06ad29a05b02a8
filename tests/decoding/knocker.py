"""A process behind the filter that knocks at every door: ``python -m tests.decoding.knocker numbers | int80``.

``numbers`` makes each system call that has a number, of the x32 ABI too, and prints as JSON those that were not refused.
``int80`` takes the entrance for programs of 32 bits, where other numbers mean other calls; x86-64 alone has it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import sys

from app.decoding import sandbox

X32 = 0x40000000
NUMBERS = 1024
#: uretprobe(2) and uprobe(2), which Linux lets past every filter; called by a program they end it, with SIGILL.
OF_PROBES = {335, 336} if platform.machine() == "x86_64" else set()
#: mov eax, 20 (getpid of 32 bits); int 0x80; ret
GETPID_OF_32_BITS = bytes.fromhex("b814000000cd80c3")


def allowed() -> set[int]:
    """Numbers whose outcome depends on arguments, or that are free."""
    column = list(sandbox._ARCHITECTURES).index(platform.machine())
    named = [*sandbox._FREE.values(), *sandbox._SIGNALS.values(), sandbox._MMAP, sandbox._MPROTECT]
    return {numbers[column] for numbers in named}


def not_refused() -> dict[int, int]:
    """The number of each other call that the filter lets pass, and its errno."""
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    sandbox.confine()
    found = {}
    for number in [*range(NUMBERS), *range(X32, X32 + NUMBERS)]:
        if number not in allowed() | OF_PROBES:
            outcome = library.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
            if outcome != -1 or ctypes.get_errno() != errno.EPERM:
                found[number] = ctypes.get_errno()
    return found


def main(way: str) -> None:
    if way == "numbers":
        print(json.dumps(not_refused()), flush=True)
    else:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(GETPID_OF_32_BITS)
        call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        assert call() == os.getpid()
        print("without the filter it works", flush=True)
        sandbox.confine()
        call()
        print("and with it", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
