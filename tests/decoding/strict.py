"""A zygote whose children are killed, not refused, where they ask the system for what a decoder is not allowed."""

from __future__ import annotations

import sys
from functools import partial

from app.decoding import sandbox, zygote

if __name__ == "__main__":
    sandbox.confine = partial(sandbox.confine, 0x80000000)  # SECCOMP_RET_KILL_PROCESS
    sandbox.fault = lambda: None  # which expects a refusal
    zygote.main(sys.argv[1:])
