"""Rings that killed runs left behind in shared memory, where nothing but a reboot would remove them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tmrl_ray.errors import RingError
from tmrl_ray.experience.memory import RING_PREFIX, SHARED_MEMORY, size_of
from tmrl_ray.experience.ring_files import LOCK_FILE, Description, WriterLock

log = logging.getLogger(__name__)

_BEING_MADE_S = 60.0
"""A folder without a description is a ring that is being made, up to this age."""


@dataclass(frozen=True)
class LeftOverRing:
    """A ring that nobody needs."""

    directory: Path
    run: str | None
    """None: it was never whole."""
    size_bytes: int


def left_over_rings(base: Path = SHARED_MEMORY) -> list[LeftOverRing]:
    """Return the rings under ``base`` that nobody writes to and whose owner is dead; nothing is changed."""
    found = []
    for ring, lock in _find(base):
        lock.release()
        found.append(ring)
    return found


def remove_left_over_rings(base: Path = SHARED_MEMORY) -> list[LeftOverRing]:
    """Remove what ``left_over_rings`` finds under ``base`` and return it."""
    removed = []
    for ring, lock in _find(base):
        shutil.rmtree(ring.directory)
        log.warning("removed %s, which a killed run left behind: %d bytes", ring.directory, ring.size_bytes)
        removed.append(ring)
        lock.release()
    return removed


def _find(base: Path) -> Iterator[tuple[LeftOverRing, WriterLock]]:
    """Yield left-over rings, each with the right to write to it, so that nobody attaches to it in the meantime."""
    for directory in sorted(path.parent for path in base.glob(f"{RING_PREFIX}*/{LOCK_FILE}")):
        try:
            lock = WriterLock(directory)
        except (RingError, OSError):  # in use, of another user, or gone in this moment
            continue
        run: str | None = None
        try:
            description = Description.read(directory)
            run, needed = description.run, description.owner.find() is not None
        except RingError:
            needed = time.time() - directory.stat().st_mtime < _BEING_MADE_S
        if needed:
            lock.release()
            continue
        yield LeftOverRing(directory, run, size_of(directory)), lock
