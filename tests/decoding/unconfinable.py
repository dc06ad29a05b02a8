"""A zygote on a machine that has no filter of system calls."""

from __future__ import annotations

import platform
import sys

from app.decoding import zygote

if __name__ == "__main__":
    platform.machine = lambda: "riscv64"
    zygote.main(sys.argv[1:])
