"""From rows of a race to transitions: how far each one goes, what it earns, and what its end is worth.

A transition begins at row ``i`` and leads to row ``i + steps``. It goes over at most n decisions, and stops

* at the end of the race, if that is nearer. After a ``finish`` nothing follows: the discount is 0. After a ``cut_off``
  values go on from the last observation, over the steps that there are. After a ``lost`` game likewise: the last
  observation was seen, only what would have come after it is unknown;
* before the first decision, other than its own, that the policy did not hold for the best (the *greedy cut*), since
  the return should be that of the policy;
* at the end of the mini-race, where the discount is 0 too.

All of a transition lies in one chunk, which brings enough rows for it, so that none crosses from race to race.

Shape letters: B batch, N the most decisions in a transition, R terms of the reward.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.experience.columns import UNKNOWN_STEPS, HowEnded

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def reached_rows(rows: Ints, steps_to_end: NDArray[np.int32], n: int) -> Ints:
    """Return the rows (B, N) from which a transition may take rewards; none lies beyond its race's last row.

    Args:
        rows: (B,) where the transitions begin.
        steps_to_end: (B,) of these rows.
        n: the most decisions in a transition; the rows' chunks look ahead at least as far.
    """
    ahead = np.minimum(np.arange(n), known_steps(steps_to_end, n)[:, np.newaxis])
    reached: Ints = rows[:, np.newaxis] + ahead
    return reached


def known_steps(steps_to_end: NDArray[np.int32], n: int) -> Ints:
    """Return how far transitions (B,) may go before their race ends, ``n`` where its end is farther away or unknown."""
    known: Ints = np.where(steps_to_end == UNKNOWN_STEPS, n, np.minimum(steps_to_end, n)).astype(np.int64)
    return known


def steps_to_cut(greedy: NDArray[np.uint8]) -> Ints:
    """Return how far transitions (B,) may go before the first decision after their own that is not greedy.

    Args:
        greedy: (B, N) the flags of the ``reached_rows``.
    """
    follows: Ints = np.logical_and.accumulate(greedy[:, 1:] != 0, axis=1).sum(axis=1, dtype=np.int64)
    return 1 + follows


def discounted_sum(rewards: Floats, steps: Ints, gamma: float) -> Floats:
    """Return (B,) the sum of gamma ** j * reward j over the first ``steps`` (B,) of the ``rewards`` (B, N)."""
    each = np.arange(rewards.shape[1])
    total: Floats = np.where(each < steps[:, np.newaxis], rewards * gamma**each, 0.0).sum(axis=1)
    return total


def reaches_finish(steps: Ints, steps_to_end: NDArray[np.int32], how_ended: NDArray[np.uint8]) -> Mask:
    """Return which transitions (B,) lead to the finish of their race: nothing follows."""
    finished: Mask = (steps == steps_to_end) & (how_ended == HowEnded.FINISH)
    return finished


def discounts(steps: Ints, terminal: Mask, gamma: float) -> Floats:
    """Return what the value at the end of each transition (B,) counts: gamma ** steps, 0 at a terminal end."""
    return np.where(terminal, 0.0, gamma**steps)
