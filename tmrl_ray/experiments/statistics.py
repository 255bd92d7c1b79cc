"""How sure a figure is that was measured with a few seeds on a few maps.

Over seeds: Student's interval of the mean. Over maps: a bootstrap, for the pictures of a map are much alike, so that a
few maps are few samples, however many pictures they have. Interquartile mean and probability of improvement are those
of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".

Shape letters: M maps, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 1000
"""Of the maps; the ends of an interval then have 25 of them beyond."""
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
          2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045)  # fmt: skip
"""Student's t at 0.975 for 1 to 29 degrees of freedom; more are taken as 29, which makes intervals a little wider."""


def student_interval(values: Sequence[float]) -> Interval | None:
    """Return that of 95 % for the mean; None: a single value has none."""
    count = len(values)
    if count < 2:
        return None
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    half = _T_975[min(count - 1, len(_T_975)) - 1] * math.sqrt(variance / count)
    return mean - half, mean + half


def bootstrap_interval(statistic: Callable[[Array], Array], maps: int) -> Interval:
    """Return the 95 % interval of a statistic over maps drawn with replacement, the same draws each time.

    Args:
        statistic: makes of how often each map was drawn (R, M) its values (R,).
        maps: M.
    """
    draws = np.random.default_rng(0).multinomial(maps, np.full(maps, 1 / maps), size=RESAMPLES)
    low, high = np.quantile(statistic(draws.astype(np.float64)), (0.025, 0.975))
    return float(low), float(high)


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean without the lowest and the highest quarter, each rounded down to whole values."""
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)


def probability_of_more(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of all pairs in which the first value is above the second, ties counting half.

    Where more is better it is the probability of improvement.
    """
    pairs = [(one > other) + 0.5 * (one == other) for one in first for other in second]
    return sum(pairs) / len(pairs)
