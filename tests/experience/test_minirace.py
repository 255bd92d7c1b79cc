"""Mini-races: the distribution of the clock, and where they end."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.config.replay import MiniRaceSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.minirace import MiniRace

REFERENCE = MiniRace.of(MiniRaceSettings(), mini_race_ms=ObservationSettings().mini_race_ms, decision_period_ms=50)


class EachOnce:
    """A random generator that gives each whole number once, to read a distribution off exactly."""

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        assert size == high - low
        return np.arange(low, high)


def test_the_clock_has_the_distribution_of_the_reference() -> None:
    clocks = REFERENCE.draw_clocks(EachOnce(), 180)  # type: ignore[arg-type]
    share = [Fraction(int(count), 180) for count in np.bincount(clocks)]
    assert len(share) == 140
    assert share[0] == Fraction(11, 180)
    assert set(share[1:31]) == {Fraction(2, 180)}
    assert set(share[31:]) == {Fraction(1, 180)}


def test_random_clocks_follow_it() -> None:
    draws = 180_000
    counts = np.bincount(REFERENCE.draw_clocks(np.random.default_rng(2), draws), minlength=140)
    expected = np.bincount(REFERENCE.draw_clocks(EachOnce(), 180), minlength=140) * (draws / 180)  # type: ignore[arg-type]
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 139) < 4 * np.sqrt(2 * 139)


def test_no_transition_goes_beyond_the_end() -> None:
    clocks = np.array([0, 136, 137, 138, 139])
    steps = REFERENCE.shorten(np.full(5, 3), clocks)
    assert steps.tolist() == [3, 3, 3, 2, 1]
    assert REFERENCE.is_over(clocks + steps).tolist() == [False, False, True, True, True]


def test_impossible_mini_races_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no whole number of decisions"):
        MiniRace.of(MiniRaceSettings(), mini_race_ms=7010, decision_period_ms=50)
    with pytest.raises(InvalidInputError, match="cannot favour"):
        MiniRace.of(MiniRaceSettings(), mini_race_ms=2000, decision_period_ms=50)
