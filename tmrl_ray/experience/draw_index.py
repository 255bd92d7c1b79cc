"""The rows of a ring that may be drawn, as one range of numbers: what a uniform draw needs.

The core rows of the live chunks are numbered 0 to ``total`` - 1, the oldest first. A draw takes random numbers and
looks up the rows that they stand for, all of a batch at once::

    rows, generations = index.locate(rng.integers(index.total, size=batch))
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_FIRST_SIZE = 1024


class DrawIndex:
    """Live chunks in the order in which they came; an append costs a few microseconds, whatever their number."""

    def __init__(self) -> None:
        self._begins: Ints = np.zeros(_FIRST_SIZE, dtype=np.int64)  # core rows ever appended before the chunk
        self._shifts: Ints = np.zeros(_FIRST_SIZE, dtype=np.int64)  # from there to rows of the ring
        self._generations: Ints = np.zeros(_FIRST_SIZE, dtype=np.int64)
        self._first = 0
        self._stop = 0
        self._appended = 0  # core rows

    @property
    def total(self) -> int:
        """How many rows may be drawn."""
        return self._appended - int(self._begins[self._first]) if self.chunks else 0

    @property
    def chunks(self) -> int:
        """How many chunks they belong to."""
        return self._stop - self._first

    @property
    def oldest_generation(self) -> int:
        """Of the oldest chunk that may be drawn; above all others while there is none."""
        return int(self._generations[self._first]) if self.chunks else sys.maxsize

    def append(self, core_start: int, core: int, generation: int) -> None:
        """Add the ``core`` rows of the newest chunk, the first of which is row ``core_start``."""
        if self._stop == len(self._begins):
            self._make_room()
        self._begins[self._stop] = self._appended
        self._shifts[self._stop] = core_start - self._appended
        self._generations[self._stop] = generation
        self._appended += core
        self._stop += 1

    def drop_before(self, generation: int) -> None:
        """Let go of the chunks with a lower generation: they are evicted, or soon will be."""
        while self.chunks and self._generations[self._first] < generation:
            self._first += 1

    def locate(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return what numbers from 0 to ``total`` - 1 stand for.

        Args:
            numbers: (B,); sorted ones are found faster.

        Returns:
            (B,) rows of the ring, and (B,) their generations.
        """
        first, stop = self._first, self._stop
        numbers = numbers + self._begins[first]
        chunk = first + np.searchsorted(self._begins[first:stop], numbers, side="right") - 1
        return numbers + self._shifts[chunk], self._generations[chunk]

    def _make_room(self) -> None:
        """Forget the chunks that were let go of; twice the room of the others is kept."""
        kept, size = slice(self._first, self._stop), max(_FIRST_SIZE, 2 * self.chunks)
        for name in ("_begins", "_shifts", "_generations"):
            array = np.zeros(size, dtype=np.int64)
            array[: self.chunks] = getattr(self, name)[kept]
            setattr(self, name, array)
        self._first, self._stop = 0, self.chunks
