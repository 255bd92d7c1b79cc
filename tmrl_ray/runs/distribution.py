"""How numbers are spread, in the fixed buckets of a histogram: little memory whatever comes, and exact sums."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Distribution:
    """How numbers were spread; there is at least one."""

    bounds: tuple[float, ...]
    """Upper bound of each bucket, included in it; the last one has none."""
    counts: NDArray[np.int64]
    """(buckets,) numbers in each."""
    total: float
    """Their sum."""
    lowest: float
    highest: float

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean, exact."""
        return self.total / self.count

    def edges(self) -> NDArray[np.float64]:
        """Return (buckets, 2) where each bucket begins and ends, none of them beyond the numbers themselves."""
        upper = np.array([*self.bounds, inf])
        lower = np.array([-inf, *self.bounds])
        edges: NDArray[np.float64] = np.clip(np.stack([lower, upper], axis=1), self.lowest, self.highest)
        return edges

    def quantile(self, share: float) -> float:
        """Return an estimate of the number below which ``share`` of them lie: even within a bucket."""
        filled = self.counts > 0
        below = np.concatenate([[0], np.cumsum(self.counts[filled])])
        edges = self.edges()[filled]
        wanted = share * below[-1]
        index = min(int(np.searchsorted(below[1:], wanted)), len(edges) - 1)
        within = (wanted - below[index]) / (below[index + 1] - below[index])
        start, end = edges[index]
        return float(start + within * (end - start))

    def __add__(self, other: Distribution) -> Distribution:
        if self.bounds != other.bounds:
            raise ValueError("distributions with other buckets cannot be added")
        return Distribution(
            self.bounds,
            self.counts + other.counts,
            self.total + other.total,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )

    def summary(self) -> dict[str, float]:
        """Return the figures that tell most."""
        return {
            "count": self.count,
            "mean": self.mean,
            "lowest": self.lowest,
            "q10": self.quantile(0.1),
            "median": self.quantile(0.5),
            "q90": self.quantile(0.9),
            "q98": self.quantile(0.98),
            "highest": self.highest,
        }


class DistributionWindow:
    """Takes in finite numbers until they are asked for.

    Args:
        bounds: upper bounds of the buckets.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._reset()

    def _reset(self) -> None:
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._lowest, self._highest = inf, -inf

    def add(self, value: float) -> None:
        """Take in a number."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value
        self._lowest, self._highest = min(self._lowest, value), max(self._highest, value)

    def add_all(self, values: ArrayLike) -> None:
        """Take in numbers, of any shape."""
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        if flat.size:
            places = np.bincount(np.searchsorted(self._bounds, flat), minlength=len(self._counts))
            self._counts = [before + int(new) for before, new in zip(self._counts, places, strict=True)]
            self._total += float(flat.sum())
            self._lowest = min(self._lowest, float(flat.min()))
            self._highest = max(self._highest, float(flat.max()))

    def merge(self, other: Distribution) -> None:
        """Take in numbers that were counted elsewhere, in the same buckets."""
        self._counts = [before + int(new) for before, new in zip(self._counts, other.counts, strict=True)]
        self._total += other.total
        self._lowest = min(self._lowest, other.lowest)
        self._highest = max(self._highest, other.highest)

    def take(self) -> Distribution | None:
        """Return what was taken in since the last call; None: nothing."""
        if self._lowest > self._highest:
            return None
        counts = np.array(self._counts, dtype=np.int64)
        taken = Distribution(self._bounds, counts, self._total, self._lowest, self._highest)
        self._reset()
        return taken


def logarithmic_bounds(first: float, last: float, *, per_decade: int = 5) -> tuple[float, ...]:
    """Return rising bounds, so many to each power of ten, rounded to two digits."""
    steps = round(np.log10(last / first) * per_decade)
    values: NDArray[Any] = first * (last / first) ** (np.arange(steps + 1) / steps)
    return tuple(float(f"{value:.2g}") for value in values)
