"""Who a process is, told from a later one with the same id: what a killed run left behind is found by it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

_SAME_TIME_S = 2.0
"""Creation times this close are the same: they are computed from the time of boot, which the clock's corrections
shift a little. A process id is not used again so soon."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that is told from a later one with the same id."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, process: psutil.Process) -> ProcessIdentity:
        """Return the identity of a running process."""
        return cls(process.pid, process.create_time())

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < _SAME_TIME_S
        except psutil.Error:
            return None
        return process if same and is_running(process) else None


def is_running(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie has ended, its own parent must bury it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
