"""The plateau breaker on a best time that stands still."""

from __future__ import annotations

import json

import pytest

from learner.plateau import PlateauBreaker
from tmrl_ray.config.learner import PlateauSettings

SETTINGS = PlateauSettings(patience_env_steps=1000, lr_factor=4.0, length_env_steps=200)


def test_one_raise_for_each_patience_that_comes_back_to_one() -> None:
    breaker = PlateauBreaker(SETTINGS)
    breaker.observe(25.0, 100)
    breaker.observe(25.1, 500)
    assert [breaker.factor(step) for step in (100, 500, 1099)] == [1, 1, 1]
    assert [breaker.factor(step) for step in (1100, 1200, 1300, 2099)] == pytest.approx([4, 2, 1, 1])
    assert breaker.factor(2100) == 4
    assert breaker.raises == 2


def test_a_better_time_renews_the_patience() -> None:
    breaker = PlateauBreaker(SETTINGS)
    breaker.observe(25.0, 100)
    breaker.observe(24.9, 900)
    assert breaker.factor(1899) == 1
    assert breaker.factor(1900) == 4


def test_nothing_is_raised_before_the_first_finish_nor_without_settings() -> None:
    breaker = PlateauBreaker(SETTINGS)
    assert breaker.factor(10**9) == 1
    without = PlateauBreaker(None)
    without.observe(25.0, 0)
    assert without.factor(10**9) == 1


def test_it_goes_on_from_a_saved_state() -> None:
    breaker, resumed = PlateauBreaker(SETTINGS), PlateauBreaker(SETTINGS)
    breaker.observe(25.0, 100)
    breaker.factor(1100)
    resumed.load_state_dict(json.loads(json.dumps(breaker.state_dict())))
    assert resumed.factor(1200) == breaker.factor(1200) == pytest.approx(2)
