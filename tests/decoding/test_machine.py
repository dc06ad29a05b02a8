"""Whether a machine is idle: by figures as the kernel prints them, and beside a real load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.decoding import machine as machine_module
from app.decoding.machine import Machine, unused_ticks

from .processes import every_core_taken

#: Two cores, as proc_stat(5) has them: user nice system idle iowait irq softirq steal guest guest_nice.
STAT = """\
cpu  10 20 30 4000 500 6 7 8 0 0
cpu0 1 2 3 1000 100 6 7 8 0 0
cpu1 9 18 27 3000 400 0 0 0 0 0
intr 1 2 3
procs_running 1
"""


def test_cores_that_this_process_may_not_use_do_not_count() -> None:
    assert unused_ticks(STAT, {0, 1}) == 4500
    assert unused_ticks(STAT, {1}) == 3400
    assert unused_ticks(STAT, {2}) == 0
    assert unused_ticks("", {0}) == 0


class Scripted(Machine):
    """Figures that were written down, each read in turn."""

    def __init__(self, *stats: str, vmstat: str = "oom_kill 3\n") -> None:
        self.figures = {"stat": list(stats), "vmstat": [vmstat]}

    def _read(self, name: str) -> str:
        return self.figures[name].pop(0) if len(self.figures[name]) > 1 else self.figures[name][0]


def core(idle: int, waiting: int = 0) -> str:
    return "".join(f"cpu{number} 1 1 1 {idle} {waiting} 0 0\n" for number in os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("after", "idle"), [(core(1), False), (core(10_000), True), (core(0, 10_000), True), (core(0), False)]
)
def test_a_machine_is_idle_if_half_a_core_is_unused(monkeypatch: pytest.MonkeyPatch, after: str, idle: bool) -> None:
    monkeypatch.setattr(machine_module, "WATCHED_SECONDS", 0.2)
    assert Scripted(core(0), after).is_idle(3) is idle


def test_a_machine_that_kills_for_want_of_memory_is_not_idle() -> None:
    assert Scripted(core(0), core(10_000)).memory_kills() == 3
    assert not Scripted(core(0), core(10_000)).is_idle(2)


def test_where_the_kernel_tells_nothing_a_machine_is_not_idle(tmp_path: Path) -> None:
    assert Machine(tmp_path).memory_kills() == 0
    assert not Machine(tmp_path).is_idle(0)


def test_a_load_that_takes_every_core_is_seen() -> None:
    """It has the figures of this kernel; that it is idle without one cannot be promised where other tests run."""
    assert unused_ticks(Path("/proc/stat").read_text(), os.sched_getaffinity(0)) > 0
    with every_core_taken():
        assert not Machine().is_idle(Machine().memory_kills())
