"""What is freed is used again, so that large tensors cost page faults once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PAGES = 64 * 2**20 // 4096
FAULTS = """
import resource, sys
import torch
from offline.training.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("no glibc")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(64, 2**18)
before = faults()
for _ in range(100):
    torch.ones(64, 2**18)
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False, timeout=120)
    if done.stderr == "no glibc\n":
        pytest.skip("another C library than glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(
    HUGE_PAGES.is_file() and "[always]" in HUGE_PAGES.read_text(), reason="huge pages hide how often memory is mapped"
)
def test_large_tensors_fault_a_few_times_and_not_each_time() -> None:
    assert faults("kept") < 25 * PAGES < 90 * PAGES < faults("left")
