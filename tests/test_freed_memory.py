"""A process that keeps what it frees gets the same pages again, without asking the kernel for new ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

USES = """
import ctypes, resource, sys
import numpy as np
from tmrl_ray.freed_memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def use():
    [np.ones(4 * 2**20, np.uint8) for _ in range(10)]
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(how: str) -> tuple[bool, int]:
    """Return whether memory is kept, and how many pages ten uses of ten blocks of 4 MiB took from the kernel."""
    command = [sys.executable, "-c", USES, how]
    kept, pages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return bool(int(kept)), int(pages)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is of the GNU C library")
def test_what_was_freed_is_used_again() -> None:
    kept, pages = new_pages("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert pages < 100
    assert new_pages("leave")[1] > 10_000
