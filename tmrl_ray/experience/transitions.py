"""Transitions read from a ring: where each begins and ends, what it earned, what its end counts.

Only small columns are read here, for all batches of a draw at once; pictures and floats are gathered batch by batch
(see ``batch_builder``). Weights of the reward and gamma are given with each draw, so a change of them holds at once
for all experience there is.

Shape letters: B transitions, N the most decisions in one, R terms of the reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.experience import nstep
from tmrl_ray.experience.minirace import MiniRace
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.racing.reward import weigh

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TransitionRules:
    """How far transitions go."""

    n_steps: int = 3
    """The most decisions in one; at most the look-ahead of the ring's chunks."""
    cut_at_exploration: bool = True
    """Stop before a decision that the policy did not hold for the best."""
    mini_race: MiniRace | None = None
    """None: there are none, the clock stands at 0."""
    cut_off_ends: bool = False
    """Nothing comes after a cut-off, as after the finish."""


class Valuation(NamedTuple):
    """What is counted how much at the moment of a draw."""

    gamma: float
    """What a value counts one decision earlier."""
    term_weights: Floats
    """(R,) of the terms of the reward; see ``racing.reward.weight_vector``."""


class Transitions(NamedTuple):
    """Transitions without what was seen."""

    rows: Ints
    """(B,) where they begin."""
    next_rows: Ints
    """(B,) where they lead to."""
    last_rows: Ints
    """(B,) the last row that was read for them, in the same chunk."""
    step_in_race: Ints
    """(B,) decisions before ``rows`` in the race."""
    actions: NDArray[np.uint8]
    """(B,)."""
    policy_versions: Ints
    """(B,)."""
    rewards: Floats
    """(B,) discounted sum over the decisions."""
    discounts: Floats
    """(B,) of the value at ``next_rows``; 0: terminal."""
    clocks: Ints
    """(B,) of the mini-race at ``rows``."""
    next_clocks: Ints
    """(B,) of the mini-race at ``next_rows``."""

    def part(self, samples: slice) -> Transitions:
        """Return some of them, as views."""
        return Transitions(*(each[samples] for each in self))  # type: ignore[arg-type]


def read_transitions(
    ring: RingReader, rows: Ints, rules: TransitionRules, valuation: Valuation, rng: np.random.Generator
) -> Transitions:
    """Read the transitions that begin at ``rows``.

    Rows that were overwritten since they were drawn give any numbers, but no error; who gathers the rest of them asks
    afterwards whether they are intact.

    Args:
        ring: to read from.
        rows: (B,) core rows of it.
        rules: how far transitions go.
        valuation: of the rewards.
        rng: draws the clocks.
    """
    n, last = rules.n_steps, ring.rows - 1
    clocks = np.zeros(len(rows), np.int64) if rules.mini_race is None else rules.mini_race.draw_clocks(rng, len(rows))
    steps_to_end = ring.column("steps_to_end")[rows]
    steps = nstep.known_steps(steps_to_end, n)
    reached = np.minimum(nstep.reached_rows(rows, steps, n), last)
    if rules.cut_at_exploration:
        steps = np.minimum(steps, nstep.steps_to_cut(ring.column("greedy")[reached]))
    if rules.mini_race is not None:
        steps = rules.mini_race.shorten(steps, clocks)
    how_ended = ring.column("how_ended")[rows]
    terminal = nstep.reaches_end(steps, steps_to_end, how_ended, cut_off_ends=rules.cut_off_ends)
    if rules.mini_race is not None:
        terminal |= rules.mini_race.is_over(clocks + steps)
    terms = ring.column("terms").take(reached.ravel(), axis=0)  # (N * B, R)
    rewards = weigh(terms, valuation.term_weights).reshape(reached.shape)
    next_rows = np.minimum(rows + steps, last)
    return Transitions(
        rows=rows,
        next_rows=next_rows,
        last_rows=np.maximum(reached[-1], next_rows),
        step_in_race=ring.column("step_in_race")[rows].astype(np.int64),
        actions=ring.column("action")[rows],
        policy_versions=ring.column("policy_version")[rows],
        rewards=nstep.discounted_sum(rewards, steps, valuation.gamma),
        discounts=nstep.discounts(steps, terminal, valuation.gamma),
        clocks=clocks,
        next_clocks=clocks if rules.mini_race is None else clocks + steps,
    )
