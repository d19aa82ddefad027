"""Reuse of freed memory."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from convsmith.system.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1:]:
    keep_freed_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        torch.ones(2**26, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_reused() -> None:
    """A new page causes a page fault; a huge page counts for 512.

    It takes a few rounds until a free block of the right size is always available.
    """

    def faults(*arguments: str, **environment: str) -> int:
        command = [sys.executable, "-c", FAULTS, *arguments]
        done = subprocess.run(
            command, env=os.environ | environment, check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults() >= 2 * 2**26 // 2**21
    assert faults("keep") < 10
    assert faults("keep", MALLOC_MMAP_THRESHOLD_="1000000") >= 2 * 2**26 // 2**21
