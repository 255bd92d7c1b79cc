"""What the fault tests are made of: triggers across processes, and parts that fail on demand.

Actors import what is here in processes of their own; what they have to know travels in ``partial`` arguments.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil


class Trigger:
    """Lets a process that is told so misbehave once; a file, so that it works across processes and their deaths."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def arm(self, how: str = "") -> None:
        """Let the next one who asks misbehave, in a way that has a name."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(how)
        partial.rename(self._path)

    @property
    def is_armed(self) -> bool:
        """Whether nobody has asked yet."""
        return self._path.exists()

    def fires(self) -> str | None:
        """Return how to misbehave, and disarm it; None: it is not armed, or somebody else was faster."""
        taken = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.rename(taken)
        except FileNotFoundError:
            return None
        return taken.read_text()


def die() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory of its own, shared pages (the ring, the object store) not counted."""
    memory: Any = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def spilled_bytes(directory: Path) -> int:
    """Return what the object store of a cluster has written to the disk."""
    return sum(path.stat().st_size for path in directory.glob("session_*/ray_spilled_objects*/**/*") if path.is_file())
