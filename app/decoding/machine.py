"""Is the machine idle? Linux says so, and then a busy machine is not mistaken for a bad film."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Set
from pathlib import Path
from typing import Final

#: Seconds for which the use of the cores is watched.
WATCHED_SECONDS: Final = 0.25
#: So many cores must be idle meanwhile; a decoder that begins then has at least this much.
UNUSED_CORES: Final = 0.5
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Machine:
    """The machine that this process runs on.

    Parameters
    ----------
    proc : Path
        The folder of the kernel's figures.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def memory_kills(self) -> int:
        """How many processes the kernel has killed for lack of memory since it started; 0 if it does not count them."""
        found = re.search(r"^oom_kill (\d+)$", self._read("vmstat"), re.MULTILINE)
        return int(found[1]) if found else 0

    def is_idle(self, memory_kills: int) -> bool:
        """Whether half a core is idle for a quarter of a second, and no process was killed for lack of memory.

        Ask while no film is decoded in a process, so that the measurement shows the work of others.

        Parameters
        ----------
        memory_kills : int
            The number of such kills before.
        """
        if self.memory_kills() > memory_kills:
            return False
        cores = os.sched_getaffinity(0)
        began, before = time.monotonic(), unused_ticks(self._read("stat"), cores)
        time.sleep(WATCHED_SECONDS)
        unused = unused_ticks(self._read("stat"), cores) - before
        return unused / _TICKS_A_SECOND >= UNUSED_CORES * (time.monotonic() - began)

    def _read(self, name: str) -> str:
        try:
            return (self._proc / name).read_text()
        except OSError:  # then the machine never counts as idle, and no film is refused for a crash
            return ""


def unused_ticks(stat: str, cores: Set[int]) -> int:
    """Ticks for which these cores had nothing to run (idle and iowait of proc_stat(5)), since the machine started."""
    lines = re.findall(r"^cpu(\d+) \d+ \d+ \d+ (\d+) (\d+)", stat, re.MULTILINE)
    return sum(int(idle) + int(waiting) for core, idle, waiting in lines if int(core) in cores)
