"""A fork server whose children are killed, not refused, where they ask the system for what a decoder is not allowed."""

from __future__ import annotations

import sys
from functools import partial

from app.decoding import fork_server, sandbox

if __name__ == "__main__":
    sandbox.confine = partial(sandbox.confine, 0x80000000)  # SECCOMP_RET_KILL_PROCESS
    sandbox.fault = lambda: None  # which expects a refusal
    fork_server.main(sys.argv[1:])
