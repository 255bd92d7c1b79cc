"""Mini-races: every draw is given a clock, and the race ends for it when that runs out.

A value then never looks further ahead than a fixed number of decisions, which makes it small, alike all along a track
and quick to learn. The agent drives with the clock at 0 all the time. The construction and its figures are
Linesight's: the clock of a draw is ``max(abs(U) - maximum, 0)`` with U uniform over the whole numbers from
``maximum - long`` to ``horizon + maximum - 1``, so that the beginning of the mini-race is drawn more often. With 140,
40 and 5: 0 in 11 of 180 draws, 1 to 30 in 2 each, 31 to 139 in 1 each.

Shape letter: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.replay import MiniRaceSettings
from tmrl_ray.errors import InvalidInputError

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MiniRace:
    """How long mini-races are, and where draws stand in them."""

    horizon: int
    """Decisions in a mini-race."""
    long: int = 40
    """Decisions at the beginning that are drawn more often, those of ``maximum`` included."""
    maximum: int = 5
    """By how much the very beginning is favoured."""

    def __post_init__(self) -> None:
        if not 0 <= self.maximum <= self.long < self.horizon:
            raise InvalidInputError(
                f"mini-races of {self.horizon} decisions cannot favour {self.long} of them, or {self.maximum} of these",
                hint="Make observation.mini_race_ms longer, or replay.mini_race.oversample_long_steps smaller.",
            )

    @classmethod
    def of(cls, settings: MiniRaceSettings, *, mini_race_ms: int, decision_period_ms: int) -> Self:
        """Return the mini-race of these settings.

        Args:
            settings: where draws stand in it.
            mini_race_ms: its length, milliseconds of race time.
            decision_period_ms: race time between two decisions.

        Raises:
            InvalidInputError: the length is no whole number of decisions, or too short for the settings.
        """
        horizon, rest = divmod(mini_race_ms, decision_period_ms)
        if rest:
            raise InvalidInputError(
                f"a mini-race of {mini_race_ms} ms is no whole number of decisions of {decision_period_ms} ms",
                hint="Set observation.mini_race_ms to a multiple of game.decision_period_ms.",
            )
        return cls(horizon, settings.oversample_long_steps, settings.oversample_maximum_steps)

    def draw_clocks(self, rng: np.random.Generator, size: int) -> Ints:
        """Return (B,) random clocks, decisions since the mini-race began: 0 to ``horizon`` - 1."""
        uniform = rng.integers(self.maximum - self.long, self.horizon + self.maximum, size)
        clocks: Ints = np.maximum(np.abs(uniform) - self.maximum, 0)
        return clocks

    def shorten(self, steps: Ints, clocks: Ints) -> Ints:
        """Return (B,) steps of transitions that do not go beyond the end of the mini-race.

        Args:
            steps: (B,) how far they would go.
            clocks: (B,) where they begin.
        """
        return np.minimum(steps, self.horizon - clocks)

    def is_over(self, clocks: Ints) -> Mask:
        """Return which clocks (B,) have run out: nothing counts from there on."""
        return clocks >= self.horizon
