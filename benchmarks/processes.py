"""A server with all its processes: started, watched (Linux's /proc), and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PERIOD = 2.0  # seconds between looks; each walks all pages of all processes, on the cores that are measured


def _stat(pid: int) -> tuple[int, int, float] | None:
    """Parent, start time in ticks, and CPU seconds of a process, or None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) * TICK


def tree(root: int) -> dict[tuple[int, int], float]:
    """(pid, start time) -> CPU seconds, of a process and all that descend from it."""
    seen = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := _stat(int(name)))}
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in seen.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            found[pid, seen[pid][1]] = seen[pid][2]
            waiting += children.get(pid, [])
    return found


def proportional_megabytes(pid: int) -> float:
    """Memory of a process, with its part of shared memory (PSS)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0


class Server:
    """A process tree under watch; use as a context."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._output = log.open("wb")
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._cpu: dict[tuple[int, int], float] = {}
        self._peak = 0.0
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id of the first process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """The first process has not ended."""
        return self._process.poll() is None

    def _watch(self) -> None:
        while not self._ending.wait(PERIOD):
            self._look()
            self._weigh()

    def _weigh(self) -> None:
        self._peak = max(self._peak, sum(proportional_megabytes(pid) for pid, _ in tree(self._process.pid)))

    def _look(self) -> None:
        self._cpu.update(tree(self._process.pid))

    def cpu_seconds(self) -> float:
        """CPU seconds of all processes so far, also of those that ended since the last look."""
        self._look()
        return sum(dict(self._cpu).values())

    def take_peak_megabytes(self) -> float:
        """The most memory that all processes had together since the last call."""
        self._weigh()
        peak, self._peak = self._peak, 0.0
        return peak

    def stop(self) -> None:
        """Ask for the end, wait for it, and end what is left."""
        self._ending.set()
        self._watcher.join()
        self._look()
        mine = set(self._cpu)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=15)
        deadline = time.monotonic() + 5
        while (left := self._left(mine)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._output.close()

    def _left(self, mine: set[tuple[int, int]]) -> list[int]:
        """Our processes that live; the start time tells them from others that got their number."""
        return [pid for pid, started in mine if (stat := _stat(pid)) and stat[1] == started and not _zombie(pid)]


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
