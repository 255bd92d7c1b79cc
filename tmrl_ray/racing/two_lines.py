"""Two ways through each bend, as people drive it: one that stays in the middle and one that cuts to the inside.

Shape letter: N points of the line.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.driving_line import SPACING_M, DrivingLine

Floats = NDArray[np.float64]

BEND: Final = 0.004
"""1/m: what bends less, by radius 250 m, is no bend of its own."""
STEEP: Final = 0.9
"""Upward part of the road's normal: where it is less, a wall ride, there is only one line."""
REACH_M: Final = 40.0
"""Before and after a bend, where the car moves over to the inside and back."""
INSIDE_SHARE: Final = 0.45
"""Of the road's half width, how far the inner line goes to the inside."""
LEAST_INSIDE_SHARE: Final = 0.05
"""The same of the line that stays in the middle."""


class TwoLines:
    """The two lines of each bend of a road.

    Args:
        line: the middle of the road.
    """

    def __init__(self, line: DrivingLine) -> None:
        self._line = line
        self._bends = _bends(line)

    @property
    def bend_count(self) -> int:
        """How many bends there are to choose for."""
        return len(self._bends)

    def draw(self, rng: np.random.Generator) -> DrivingLine:
        """Return a line that takes each bend by one of its two lines, as chance has it."""
        return self.choose([bool(inside) for inside in rng.integers(0, 2, self.bend_count)])

    def choose(self, inside: list[bool]) -> DrivingLine:
        """Return the line that takes each bend on the inside or in the middle, as the list says."""
        offsets = np.zeros(len(self._line.points))
        for weight, cut in zip(self._bends, inside, strict=True):
            offsets += weight * (INSIDE_SHARE if cut else LEAST_INSIDE_SHARE)
        return self._line.beside(np.clip(offsets, -1.0, 1.0) * self._line.half_width)


def _bends(line: DrivingLine) -> list[Floats]:
    """Return, for each bend, how much of the way to the inside each point (N,) is: -1 right .. 1 left."""
    side = np.where(line.bend > BEND, 1, np.where(line.bend < -BEND, -1, 0))
    edges = np.flatnonzero(np.diff(side)) + 1
    reach = round(REACH_M / SPACING_M)
    kernel = np.hanning(2 * reach + 1)
    kernel /= kernel.sum()
    bends = []
    for piece in np.split(np.arange(len(side)), edges):
        if side[piece[0]] == 0 or not line.on_road[piece].all() or line.up[piece, 1].min() < STEEP:
            continue
        weight = np.zeros(len(side))
        weight[piece] = float(side[piece[0]])
        bends.append(_smoothed(weight, kernel, closed=line.closed))
    return bends


def _smoothed(weight: Floats, kernel: Floats, *, closed: bool) -> Floats:
    reach = len(kernel) // 2
    padded = np.pad(weight, reach, mode="wrap" if closed else "edge")
    return np.convolve(padded, kernel, mode="valid")
