"""What the fault tests are made of: triggers across processes, clusters, and parts that fail on demand.

Actors import what is here in processes of their own; what they have to know travels in ``partial`` arguments.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from actors.remote.calls import NAMESPACE
from tmrl_ray.errors import PeerUnavailableError

PATIENCE_S = 120.0
"""No bound of a row: what a loaded machine may take before a test gives up."""


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


@contextmanager
def cluster(games: int = 4, cpus: int = 4) -> Iterator[Path]:
    """A cluster of this process; yields its folder, whose name is short since Ray puts sockets there.

    Args:
        games: that may be played.
        cpus: that Ray believes in; more than there are lets more actors start, which share them.
    """
    directory = tempfile.mkdtemp(prefix="r")
    for attempt in range(3):  # Ray gives itself 30 s to start, which a loaded machine may exceed
        try:
            ray.init(
                num_cpus=cpus,
                resources={"game": games},
                object_store_memory=150_000_000,
                include_dashboard=False,
                namespace=NAMESPACE,
                logging_level="error",
                log_to_driver=False,
                _temp_dir=directory,
            )
            break
        except Exception as error:  # noqa: BLE001 - Ray raises nothing else
            ray.shutdown()
            if attempt == 2 or "timed out during startup" not in str(error):
                raise
    try:
        yield Path(directory)
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def eventually(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until something holds, or fail; somebody who is away for a moment holds nothing."""
    end_s = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except PeerUnavailableError:
            pass
        assert time.monotonic() < end_s, f"not within {within_s} s"
        time.sleep(0.05)


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory of its own, shared pages (the ring, the object store) not counted."""
    memory: Any = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def spilled_bytes(directory: Path) -> int:
    """Return what the object store of a cluster has written to the disk."""
    return sum(path.stat().st_size for path in directory.glob("session_*/ray_spilled_objects*/**/*") if path.is_file())
