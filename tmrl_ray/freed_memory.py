"""Keeps memory that was freed for the next use, in processes that train on the CPU.

The C library of Linux hands large blocks back to the kernel when they are freed. An update of a network frees dozens of
them and takes as many again at once, each as new pages that are zeroed one by one: a sixth of its time on the
quickstart. See ``mallopt`` in the manual of the GNU C library.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``."""
LARGEST_MMAP_THRESHOLD_BYTES = 32 * 2**20
"""The GNU C library refuses more."""
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; return whether its C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD_BYTES) and mallopt(M_TRIM_THRESHOLD, NEVER))
