"""Statistics against what is worked out by hand."""

from __future__ import annotations

import pytest

from tmrl_ray.experiments.statistics import (
    Array,
    bootstrap_interval,
    interquartile_mean,
    probability_of_more,
    student_interval,
)


def test_intervals_over_seeds_are_students() -> None:
    """Mean 2, standard deviation 1, and 4.303 / sqrt(3) for two degrees of freedom."""
    assert student_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert student_interval([1.0]) is None


def test_maps_are_drawn_with_replacement() -> None:
    """Of two maps each alone is drawn in a quarter of all cases, far more than the 2.5 % beyond an end."""
    drawn: list[Array] = []

    def mean(draws: Array) -> Array:
        drawn.append(draws)
        return draws @ [5.0, 7.0] / 2  # type: ignore[no-any-return]

    assert bootstrap_interval(mean, 2) == (5.0, 7.0)
    (draws,) = drawn
    assert set(draws.sum(axis=1)) == {2.0}
    assert (draws[:, 0] == 2).mean() == pytest.approx(0.25, abs=0.05)
    assert bootstrap_interval(mean, 2) == (5.0, 7.0)


def test_many_maps_are_more_certain_than_few() -> None:
    """The mean of M maps, half 0 and half 1, has a standard error of 0.5 / sqrt(M), and 1.96 of it lie on each side."""
    low, high = bootstrap_interval(lambda draws: draws[:, :50].sum(axis=1) / 100, 100)
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.021)


@pytest.mark.parametrize(
    ("values", "mean"),
    [([3.0], 3.0), ([9.0, 1.0, 2.0], 4.0), ([100.0, 1.0, 2.0, 4.0], 3.0), ([8, 1, 2, 3, 4, 5, 6, 70], 4.5)],
)
def test_interquartile_means_leave_a_quarter_out_at_each_end(values: list[float], mean: float) -> None:
    assert interquartile_mean(values) == mean


def test_the_probability_of_more_counts_pairs() -> None:
    """3 is above 1 and 2, 2 is above 1 and like 2, 0 is above none: 3.5 of 6 pairs."""
    assert probability_of_more([3.0, 2.0, 0.0], [1.0, 2.0]) == pytest.approx(3.5 / 6)
    assert probability_of_more([1.0], [1.0]) == 0.5
