"""How much memory a process has for itself."""

from __future__ import annotations

import psutil

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Telling

MEMORY = "memory/process_bytes/{process}"


def memory_of(process: str) -> Telling:
    """Return the memory of the calling process, without what it shares with others: the ring, Ray's object store.

    Args:
        process: what to call it.
    """
    memory = psutil.Process().memory_info()
    shared: int = getattr(memory, "shared", 0)  # not everywhere
    name = METRICS.name(MEMORY, process=process)
    return Telling(f"memory of {process}", {name: memory.rss - shared})
