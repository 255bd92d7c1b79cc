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


def known_steps(steps_to_end: NDArray[np.int32], n: int) -> Ints:
    """Return how far transitions (B,) may go before their race ends, ``n`` where its end is farther away or unknown."""
    known: Ints = np.where(steps_to_end == UNKNOWN_STEPS, n, np.minimum(steps_to_end, n)).astype(np.int64)
    return known


def reached_rows(rows: Ints, known: Ints, n: int) -> Ints:
    """Return the rows (N, B) from which a transition may take rewards; none lies beyond its race's last row.

    Args:
        rows: (B,) where the transitions begin.
        known: (B,) how far their races go on, from ``known_steps``.
        n: the most decisions in a transition; the rows' chunks look ahead at least as far.
    """
    reached: Ints = rows + np.minimum(np.arange(n)[:, np.newaxis], known)
    return reached


def steps_to_cut(greedy: NDArray[np.uint8]) -> Ints:
    """Return how far transitions (B,) may go before the first decision after their own that is not greedy.

    Args:
        greedy: (N, B) the flags of the ``reached_rows``.
    """
    steps = np.ones(greedy.shape[1], np.int64)
    goes_on = np.ones(greedy.shape[1], np.bool_)
    for later in greedy[1:]:
        goes_on &= later != 0
        steps += goes_on
    return steps


def discounted_sum(rewards: Floats, steps: Ints, gamma: float) -> Floats:
    """Return (B,) the sum of gamma ** j * reward j over the first ``steps`` (B,) of the ``rewards`` (N, B)."""
    total: Floats = rewards[0].copy()
    for later in range(1, len(rewards)):
        total += np.where(steps > later, rewards[later], 0.0) * gamma**later
    return total


def reaches_end(
    steps: Ints, steps_to_end: NDArray[np.int32], how_ended: NDArray[np.uint8], *, cut_off_ends: bool = False
) -> Mask:
    """Return which transitions (B,) lead to the end of their race, after which nothing follows: the finish.

    Args:
        steps: (B,) decisions in each.
        steps_to_end: (B,) of the rows where they begin.
        how_ended: (B,) how the race ended.
        cut_off_ends: whether a cut-off is such an end too.
    """
    ends = how_ended == HowEnded.FINISH
    if cut_off_ends:
        ends |= how_ended == HowEnded.CUT_OFF
    reached: Mask = (steps == steps_to_end) & ends
    return reached


def discounts(steps: Ints, terminal: Mask, gamma: float) -> Floats:
    """Return what the value at the end of each transition (B,) counts: gamma ** steps, 0 at a terminal end."""
    powers = gamma ** np.arange(steps.max(initial=0) + 1)
    values: Floats = np.where(terminal, 0.0, powers[steps])
    return values
