"""A sum tree: numbers that are drawn in proportion to themselves, and changed, many at a time.

The numbers lie in blocks of 16, with their running sum within the block beside them. A draw looks its targets up in
the running sum of the blocks and then in that of one block: two vectorised steps instead of one per level of a binary
tree. Sums are always added up anew from their numbers, so nothing drifts: the state depends on the numbers alone, and
a tree that is rebuilt from them goes on exactly like the old one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 16
"""Numbers in a block. Of 8, 16, 32 and 64 the fastest to draw from and to change at 200,000 numbers."""


class SumTree:
    """Numbers of at least 0 with their sum.

    Args:
        size: how many; all are 0 at first.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        blocks = -(-size // BLOCK)
        self._leaves: Floats = np.zeros((blocks, BLOCK))
        self._flat = self._leaves.reshape(-1)
        self._within: Floats = np.zeros((blocks, BLOCK))  # sums from the block's first number up to each
        self._running: Floats | None = None  # sums of the blocks up to each; None: to be added up again

    @property
    def leaves(self) -> Floats:
        """(size,) the numbers, a view that must not be written to."""
        view = self._flat[: self.size]
        view.flags.writeable = False
        return view

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._block_sums()[-1])

    def set(self, indices: Ints | slice, values: Floats | float) -> None:
        """Change numbers; of an index that is named twice, the last value holds.

        Args:
            indices: (B,), or a slice without a step.
            values: (B,), or one for all; finite and at least 0.

        Raises:
            InvalidInputError: a value is negative or no number; nothing was changed.
        """
        array = np.asarray(values)
        if array.size and not (np.isfinite(array).all() and array.min() >= 0):
            raise InvalidInputError("numbers of a sum tree are finite and at least 0")
        self._flat[indices] = values
        if isinstance(indices, slice):
            blocks: Ints | slice = slice(indices.start // BLOCK, -(-indices.stop // BLOCK))
        else:
            blocks = indices // BLOCK
        self._within[blocks] = _running_sums(self._leaves[blocks])
        self._running = None

    def find(self, targets: Floats) -> Ints:
        """Return the indices (B,) at which the running sum of the numbers passes ``targets`` (B,).

        Targets spread evenly over 0 to ``total`` find each index in proportion to its number. No index whose number
        is 0 is ever found. Sorted targets are found faster.

        Raises:
            InvalidInputError: all numbers are 0.
        """
        running = self._block_sums()
        if running[-1] <= 0:
            raise InvalidInputError("nothing can be drawn from numbers that are all 0")
        targets = np.minimum(targets, np.nextafter(running[-1], 0))  # a product may be rounded up to the total
        blocks = np.searchsorted(running, targets, side="right")
        # below the block's sum, also when rounded: else that sum would not have led beyond the target
        rest = targets - np.where(blocks > 0, running[blocks - 1], 0.0)
        within = self._within.take(blocks, axis=0)  # (B, BLOCK)
        found: Ints = blocks * BLOCK + (within <= rest[:, np.newaxis]).argmin(axis=1)
        return found

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
        """Draw indices in proportion to their numbers, with replacement.

        Stratified: the total is cut into as many equal parts as there are draws in a batch, and one is drawn from
        each, so that batches differ less from each other. Each batch comes in rising order.

        Args:
            rng: what decides.
            shape: (batches, draws in a batch).

        Returns:
            Of that shape.

        Raises:
            InvalidInputError: all numbers are 0.
        """
        targets = (np.arange(shape[1]) + rng.random(shape)) * (self.total / shape[1])
        return self.find(targets.ravel()).reshape(shape)

    def check_valid(self) -> None:
        """See that numbers and sums agree, bit by bit.

        Raises:
            AssertionError: they do not.
        """
        assert np.isfinite(self._flat).all() and (self._flat >= 0).all(), "a number is negative or none"
        assert not self._flat[self.size :].any(), "there is a number behind the end"
        assert np.array_equal(self._within, _running_sums(self._leaves)), "a block's sums are not those of its numbers"
        running = self._within[:, -1].cumsum()
        assert self._running is None or np.array_equal(self._running, running), "the running sum is stale"

    def _block_sums(self) -> Floats:
        if self._running is None:
            self._running = self._within[:, -1].cumsum()
        return self._running


def _running_sums(numbers: Floats) -> Floats:
    """Return the running sums of each row of ``numbers`` (B, BLOCK); ``cumsum`` takes thrice as long on short rows."""
    sums = numbers.copy()
    for place in range(1, BLOCK):
        sums[:, place] += sums[:, place - 1]
    return sums
