"""What is drawn: rows of the ring, uniformly or by priority, and races that are kept for testing.

This lives with the writer of the ring and gives out numbers of rows only; whoever asked gathers the rows itself (see
``batch_builder``) and sends back priorities. The loop in which it is used::

    sampler.append(chunk)                               as collectors send them
    draw = sampler.draw(batches=8, batch_size=512)      when the learner asks
    sampler.update(priorities)                          with its next question

Prioritised drawing is Schaul et al. 2016 (https://arxiv.org/abs/1511.05952). The priority of each row lies in the
ring and survives this process; the sum tree over priority ** alpha is made anew from there. It holds exactly the rows
that may be drawn: a row leaves it before it enters the guard band ahead of the writer, so long before it is
overwritten.

Shape letters: N batches in a draw, B rows in a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_records import Extent, Place, Record
from tmrl_ray.experience.ring import TEST, TRAIN, AppendResult, Ring
from tmrl_ray.experience.sum_tree import SumTree

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Priorities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draw:
    """Rows for some batches, small enough to be sent within a message: 40 KiB for 8 batches of 512."""

    rows: NDArray[np.uint32]
    """(N, B) rows of the ring, in rising order within a batch of a fresh draw."""
    ages: NDArray[np.uint16] | NDArray[np.uint32]
    """(N, B) how many records the row's chunk is older than the newest record."""
    newest_generation: int
    """Of the newest record."""
    weights: Floats | None
    """(N, B) importance sampling weights, at most 1; None: all are 1."""

    @classmethod
    def of(cls, rows: Ints, generations: Ints, weights: Floats | None = None) -> Draw:
        """Pack rows (N, B) with their generations (N, B) and weights (N, B)."""
        newest = int(generations.max())
        ages = ((newest - generations) // 2).astype(np.uint32)
        fits = int(ages.max()) <= np.iinfo(np.uint16).max
        return cls(rows.astype(np.uint32), ages.astype(np.uint16) if fits else ages, newest, weights)

    @property
    def shape(self) -> tuple[int, int]:
        """Batches, and rows in each."""
        batches, batch_size = self.rows.shape
        return batches, batch_size

    @property
    def generations(self) -> Ints:
        """(N, B) generations of the rows, by which a reader knows whether they are still what was drawn."""
        return self.newest_generation - 2 * self.ages.astype(np.int64)

    @property
    def size_bytes(self) -> int:
        """What it takes in a message, a few bytes aside."""
        return sum(array.nbytes for array in (self.rows, self.ages, self.weights) if array is not None)


@dataclass(frozen=True, eq=False)
class PriorityUpdate:
    """How far off the value of drawn rows was."""

    rows: NDArray[np.uint32]
    """(U,)."""
    generations: Ints
    """(U,) as drawn."""
    td_errors: Floats
    """(U,) temporal difference errors, of any sign."""

    @classmethod
    def of(
        cls, rows: Ints, generations: Ints, td_errors: Floats, *, clock: Floats, below_clock: int | None
    ) -> PriorityUpdate:
        """Return the update of the draws that count.

        Args:
            rows: (B,) of a batch, its ``indices``.
            generations: (B,) of these.
            td_errors: (B,) as the learner found them.
            clock: (B,) where in its mini-race each draw stood.
            below_clock: draws at this clock or later do not count; None: all do.
        """
        counts = np.isfinite(td_errors)
        if below_clock is not None:
            counts &= clock < below_clock
        return cls(rows[counts].astype(np.uint32), generations[counts], td_errors[counts].astype(np.float32))


@dataclass(frozen=True)
class RaceSplit:
    """Keeps every ``every``-th race of a collector for testing.

    A race's number and its collector's incarnation decide, so that all chunks of a race agree, also after a restart,
    and collectors do not keep their races for testing all at once.
    """

    every: int | None
    """None: no race is kept."""

    def __call__(self, chunk: Chunk) -> int:
        """Return the split, TRAIN or TEST, of the chunk's race."""
        if self.every is None:
            return TRAIN
        return TEST if (chunk.race_id + chunk.id.incarnation) % self.every == self.every - 1 else TRAIN


class Sampler:
    """Draws rows of a ring. Safe to append to from one thread while another one draws.

    Args:
        ring: that this process writes to; what it holds already may be drawn at once.
        split: which races are kept for testing.
        priorities: how rows are prioritised; None: all are drawn alike.
        seed: of the draws.
    """

    def __init__(
        self, ring: Ring, *, split: RaceSplit | None = None, priorities: PrioritySettings | None = None, seed: int = 0
    ) -> None:
        self.ring = ring
        self.stale_updates = 0
        """Priorities that came for rows that were there no more."""
        self._split = RaceSplit(None) if split is None else split
        self._appending = Lock()  # the tree takes chunks in the order of their generations
        self._rng = np.random.default_rng(seed)
        self._prioritised = None if priorities is None else _Prioritised(ring, priorities)

    @property
    def drawable_rows(self) -> int:
        """Rows that may be drawn for training."""
        return self.ring.drawable[TRAIN].total

    @property
    def test_rows(self) -> int:
        """Rows that may be drawn for testing."""
        return self.ring.drawable[TEST].total

    @property
    def test_share(self) -> float:
        """Share of rows that are kept for testing; 0 while there are none at all."""
        return self.test_rows / max(1, self.drawable_rows + self.test_rows)

    def append(self, chunk: Chunk) -> AppendResult:
        """Put a chunk into the ring, once however often it comes, with the priorities of new rows.

        Raises:
            ChunkError: the chunk is of another format than the ring.
        """
        with self._appending:
            split, priorities = self._split(chunk), np.ones(chunk.core)
            if self._prioritised is not None and split == TRAIN:
                with self.ring.lock:
                    priorities = self._prioritised.of_new_rows(chunk)
            return self._taken_in(self.ring.append(chunk, split=split, priorities=priorities), split, priorities)

    def restore(self, chunk: Chunk, split: int, priorities: Priorities, at: Place | None) -> AppendResult:
        """Put a chunk of a checkpoint into the ring, as it was.

        Args:
            chunk: as it was appended.
            split: that it belonged to.
            priorities: (core,) of its rows.
            at: see ``Ring.restore``.

        Raises:
            ChunkError: the chunk is of another format than the ring.
        """
        with self._appending:
            result = self.ring.restore(chunk, split=split, priorities=priorities, at=at)
            return self._taken_in(result, split, priorities)

    def draw(self, batches: int, batch_size: int, *, beta: float = 1.0) -> Draw | None:
        """Draw rows to learn from.

        Args:
            batches: how many.
            batch_size: rows in each.
            beta: exponent of the importance sampling weights, where rows are prioritised.

        Returns:
            Rows with replacement, spread as evenly as chance allows; None: there are none to draw.
        """
        with self.ring.lock:
            if not self.drawable_rows:
                return None
            if self._prioritised is None:
                return self._uniform(TRAIN, batches, batch_size)
            return self._prioritised.draw(self._rng, batches, batch_size, beta=beta)

    def draw_test(self, batches: int, batch_size: int) -> Draw | None:
        """Draw rows of the races that are kept for testing, uniformly; None: there are none."""
        with self.ring.lock:
            return self._uniform(TEST, batches, batch_size) if self.test_rows else None

    def update(self, update: PriorityUpdate) -> int:
        """Set the priorities of drawn rows, except of those that are there no more.

        Returns:
            How many were set.
        """
        if self._prioritised is None:
            return 0
        with self.ring.lock:
            current = self._prioritised.update(update)
        self.stale_updates += len(update.rows) - current
        return current

    def some_priorities(self, most: int) -> Priorities | None:
        """Return the priorities of at most ``most`` of the rows that may be drawn; None: all are drawn alike."""
        if self._prioritised is None:
            return None
        with self.ring.lock:
            return self._prioritised.some_priorities(most)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to draw the same rows; priorities lie in the ring."""
        highest = None if self._prioritised is None else self._prioritised.highest
        return {"rng": self._rng.bit_generator.state, "highest_priority": highest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._rng.bit_generator.state = state["rng"]
        if self._prioritised is not None and state["highest_priority"] is not None:
            self._prioritised.highest = float(state["highest_priority"])

    def check_valid(self) -> None:
        """See that exactly the rows that may be drawn have a mass in the tree.

        Raises:
            AssertionError: they have not.
        """
        with self.ring.lock:
            if self._prioritised is not None:
                self._prioritised.check_valid()

    def _taken_in(self, result: AppendResult, split: int, priorities: Priorities) -> AppendResult:
        if self._prioritised is not None and split == TRAIN and result.core is not None:
            with self.ring.lock:
                self._prioritised.add(result.core, result.generation, priorities)
        return result

    def _uniform(self, split: int, batches: int, batch_size: int) -> Draw:
        index = self.ring.drawable[split]
        spread = (np.arange(batch_size) + self._rng.random((batches, batch_size))) * (index.total / batch_size)
        numbers = np.minimum(spread.astype(np.int64), index.total - 1)  # a product may be rounded up to the total
        rows, generations = index.locate(numbers)
        return Draw.of(rows, generations)


class _Prioritised:
    """The sum tree over the rows that may be drawn for training, kept in step with the ring; hold the ring's lock."""

    def __init__(self, ring: Ring, settings: PrioritySettings) -> None:
        self.highest = settings.first
        """The highest priority that was ever given."""
        self._ring = ring
        self._settings = settings
        self._tree = SumTree(ring.rows)
        self._held: deque[tuple[int, Extent]] = deque()  # generation and core rows of the chunks in the tree
        self._rebuild()

    def draw(self, rng: np.random.Generator, batches: int, batch_size: int, *, beta: float) -> Draw | None:
        self._drop_old()
        if not self._tree.total:  # the ring has the first rows, and the tree is about to take them in
            return None
        rows = self._tree.draw(rng, (batches, batch_size))
        masses = self._tree.leaves[rows]
        weights = (masses / masses.min(axis=1, keepdims=True)) ** -beta  # the factor that they share is divided out
        return Draw.of(rows, self._ring.generations(rows), weights.astype(np.float32))

    def of_new_rows(self, chunk: Chunk) -> Priorities:
        """Return the priorities (core,) of a chunk that was never drawn from."""
        self._drop_old()
        settings = self._settings
        if settings.new_rows == "td_error":
            priorities = self._priorities(chunk.core_of("td_error"))
            return np.where(np.isfinite(priorities), priorities, self.highest)
        if settings.new_rows == "maximum":
            return np.full(chunk.core, self.highest)
        rows = sum(extent.rows for _, extent in self._held)
        if not rows:
            return np.full(chunk.core, settings.first)
        mean: float = (settings.mean_factor * self._tree.total / rows) ** (1 / settings.alpha)
        return np.full(chunk.core, mean)

    def add(self, core: Extent, generation: int, priorities: Priorities) -> None:
        """Take rows into the tree that are in the ring now, and let go of those that may not be drawn any more."""
        self._drop_old()  # first: the new rows may lie where old ones lay
        self._hold(core, generation, priorities)

    def update(self, update: PriorityUpdate) -> int:
        self._drop_old()
        rows = update.rows.astype(np.int64)
        priorities = self._priorities(update.td_errors)
        current = self._ring.set_priorities(rows, update.generations, priorities)
        drawable = current & (self._tree.leaves[rows] > 0)
        if drawable.any():
            self._tree.set(rows[drawable], priorities[drawable] ** self._settings.alpha)
            self.highest = max(self.highest, float(priorities[drawable].max()))
        return int(current.sum())

    def some_priorities(self, most: int) -> Priorities:
        self._drop_old()
        rows = np.flatnonzero(self._tree.leaves)
        priorities: Priorities = self._ring.live_priorities()[rows[:: max(1, -(-len(rows) // most))]]
        return priorities

    def check_valid(self) -> None:
        self._drop_old()
        self._tree.check_valid()
        expected = np.zeros(self._ring.rows)
        leaves = self._ring.live_priorities()
        for record in self._drawable_chunks():
            rows = record.core_extent.slice
            expected[rows] = leaves[rows] ** self._settings.alpha
        assert np.array_equal(self._tree.leaves, expected), "the tree does not hold the rows that may be drawn"

    def _priorities(self, td_errors: Floats) -> Priorities:
        priorities: Priorities = np.abs(td_errors.astype(np.float64)) + self._settings.epsilon
        return priorities

    def _rebuild(self) -> None:
        """Take in what the ring holds already, with the priorities that lie there."""
        leaves = self._ring.live_priorities()
        with self._ring.lock:
            for record in self._drawable_chunks():
                core = record.core_extent
                self._hold(core, record.generation, leaves[core.slice])

    def _hold(self, core: Extent, generation: int, priorities: Priorities) -> None:
        self._held.append((generation, core))
        self._tree.set(core.slice, priorities**self._settings.alpha)
        self.highest = max(self.highest, float(priorities.max()))

    def _drawable_chunks(self) -> list[Record]:
        oldest = self._ring.drawable[TRAIN].oldest_generation
        return [record for record in self._ring.live_chunks() if record.split == TRAIN and record.generation >= oldest]

    def _drop_old(self) -> None:
        oldest = self._ring.drawable[TRAIN].oldest_generation
        while self._held and self._held[0][0] < oldest:
            _, core = self._held.popleft()
            self._tree.set(core.slice, 0.0)
