"""A fork server on a machine that has no filter of system calls."""

from __future__ import annotations

import platform
import sys

from app.decoding import fork_server

if __name__ == "__main__":
    platform.machine = lambda: "riscv64"
    fork_server.main(sys.argv[1:])
