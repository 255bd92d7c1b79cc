"""Which chunks came already: what makes an append harmless when it is sent again.

A collector numbers the chunks of each of its incarnations. Retries may repeat them and change their order, within a
window; whatever is older is refused, since nobody can tell any more whether it came.
"""

from __future__ import annotations

from enum import StrEnum

from tmrl_ray.experience.chunk import ChunkId

WINDOW = 64
"""Sequence numbers behind the newest that are told apart. A collector has at most two chunks in flight."""
MAX_INCARNATIONS = 4096
"""Incarnations that are remembered; those granted before are refused and have to ask for another one."""


class Arrival(StrEnum):
    """What becomes of a chunk that arrives."""

    ACCEPTED = "accepted"
    """It was new."""
    DUPLICATE = "duplicate"
    """It came before; the sender may forget it."""
    STALE = "stale"
    """Older than what is remembered, or of an unknown incarnation: it is not taken. Ask for another incarnation."""


class _Window:
    """The sequence numbers of one incarnation that came.

    Args:
        floor: lower numbers are not told apart.
    """

    def __init__(self, floor: int = 0) -> None:
        self._floor = floor
        self._next = floor  # one more than the highest that came
        self._came = 0  # bit k: number next - 1 - k came

    def classify(self, sequence: int) -> Arrival:
        if sequence >= self._next:
            return Arrival.ACCEPTED
        age = self._next - 1 - sequence
        if age >= WINDOW or sequence < self._floor:
            return Arrival.STALE
        return Arrival.DUPLICATE if self._came >> age & 1 else Arrival.ACCEPTED

    def add(self, sequence: int) -> None:
        if sequence >= self._next:
            self._came = (self._came << min(sequence + 1 - self._next, WINDOW)) & ((1 << WINDOW) - 1)
            self._next = sequence + 1
        self._came |= 1 << (self._next - 1 - sequence)


class Incarnations:
    """The incarnations that were granted, and what came of each."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, int], _Window] = {}

    def grant(self, collector: int, incarnation: int) -> None:
        """Expect chunks of another incarnation."""
        self._insert(collector, incarnation, _Window())

    def classify(self, id: ChunkId) -> Arrival:
        """Say what would become of a chunk that arrives now; nothing is changed."""
        window = self._windows.get((id.collector, id.incarnation))
        return Arrival.STALE if window is None else window.classify(id.sequence)

    def add(self, id: ChunkId) -> None:
        """Remember that a chunk came.

        An incarnation whose grant is forgotten (it was replaced among the records) begins with this chunk.
        """
        if (id.collector, id.incarnation) not in self._windows:
            self._insert(id.collector, id.incarnation, _Window(id.sequence))
        self._windows[id.collector, id.incarnation].add(id.sequence)

    def _insert(self, collector: int, incarnation: int, window: _Window) -> None:
        while len(self._windows) >= MAX_INCARNATIONS:
            del self._windows[next(iter(self._windows))]
        self._windows[collector, incarnation] = window
