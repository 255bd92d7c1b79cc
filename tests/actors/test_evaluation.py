"""Intervals against published values, and alarms that are raised only when they are sure."""

from __future__ import annotations

import numpy as np
import pytest

from actors.evaluation import EvaluationScore, alarm_text, mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17, p. 861), table I, method 3, at 95 %
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_the_literature(successes: int, trials: int, low: float, high: float):
    assert wilson_interval(successes, trials, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_wilson_intervals_are_symmetric_and_widen_with_confidence():
    low, high = wilson_interval(3, 11, 0.95)
    assert wilson_interval(8, 11, 0.95) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(11, 11, 0.95).high == 1.0
    assert wilson_interval(3, 11, 0.99)[0] < low < high < wilson_interval(3, 11, 0.99)[1]
    with pytest.raises(ValueError, match="0 successes in 0 trials"):
        wilson_interval(0, 0, 0.95)


def test_mean_intervals_hold_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    intervals = [mean_interval(rng.normal(20.0, 1.0, 40).tolist(), 0.9) for _ in range(200)]
    held = np.mean([low <= 20.0 <= high for low, high in intervals])
    assert 0.82 <= held <= 0.95
    assert np.mean([high - low for low, high in intervals]) == pytest.approx(2 * 1.645 / 40**0.5, rel=0.1)
    assert mean_interval([7.0], 0.95) == (7.0, 7.0)
    assert mean_interval([1.0, 2.0, 5.0], 0.95) == mean_interval([1.0, 2.0, 5.0], 0.95)


def score(finished: int, races: int = 10, mean_time_s: float | None = 20.0, version: int = 1) -> EvaluationScore:
    return EvaluationScore(version, finished, races, mean_time_s)


def test_finishing_comes_before_finishing_fast():
    ranked = [score(0, mean_time_s=None), score(9, mean_time_s=15.0), score(10, mean_time_s=20.0), score(10, 10, 19.9)]
    assert sorted(reversed(ranked), key=lambda each: each.rank) == ranked


@pytest.mark.parametrize(("finished", "alarms"), [(10, False), (7, False), (5, False), (4, True), (0, True)])
def test_an_alarm_is_raised_when_the_finish_rate_has_surely_collapsed(finished: int, alarms: bool):
    text = alarm_text(score(finished, version=9), score(10, version=4), 0.95)
    assert (text is not None) == alarms
    if alarms:
        assert text == f"version 9 finished {finished} of 10 races, version 4 had finished 10 of 10"


def test_nobody_is_alarmed_by_what_was_never_better():
    assert alarm_text(score(0), None, 0.95) is None
    assert alarm_text(score(0), score(2), 0.95) is None
