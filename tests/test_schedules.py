"""Schedules: their values, by hand and in general."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tmrl_ray import schedules
from tmrl_ray.config.schedule import ScheduleSettings

POINTS = ((10.0, 4.0), (30.0, 1.0), (50.0, 0.25))


def test_linear_by_hand() -> None:
    steps = (0, 10, 15, 20, 30, 40, 50, 99)
    assert [schedules.linear(POINTS, step) for step in steps] == [4, 4, 3.25, 2.5, 1, 0.625, 0.25, 0.25]


def test_log_linear_by_hand() -> None:
    steps = (0, 10, 20, 30, 40, 50, 99)
    assert [schedules.log_linear(POINTS, step) for step in steps] == [4, 4, 2, 1, 0.5, 0.25, 0.25]


def test_steps_by_hand() -> None:
    assert [schedules.steps(POINTS, step) for step in (0, 10, 29, 30, 49, 50, 99)] == [4, 4, 4, 1, 1, 0.25, 0.25]


def test_stretched_means_slower() -> None:
    stretched = schedules.stretched(POINTS, 8)
    assert [step for step, _ in stretched] == [80, 240, 400]
    assert schedules.linear(stretched, 160) == schedules.linear(POINTS, 20)


@st.composite
def points(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    steps = draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=7, unique=True).map(sorted))
    values = draw(st.lists(st.floats(1e-6, 1e3), min_size=len(steps), max_size=len(steps)))
    return tuple((float(step), value) for step, value in zip(steps, values, strict=True))


@given(points(), st.floats(-1e3, 2e9))
def test_every_kind_stays_between_its_values_and_goes_through_its_points(
    given_points: tuple[tuple[float, float], ...], step: float
) -> None:
    values = [value for _, value in given_points]
    for schedule in (schedules.linear, schedules.log_linear, schedules.steps):
        assert min(values) * (1 - 1e-9) <= schedule(given_points, step) <= max(values) * (1 + 1e-9)
        assert [schedule(given_points, at) for at, _ in given_points] == values


def test_speed_stretches_the_points_of_a_setting() -> None:
    setting = ScheduleSettings(kind="log_linear", points=((0, 1e-3), (3_000_000, 5e-5)))
    assert setting.at(12_000_000, speed=8) == setting.at(1_500_000)
    assert setting.at(1_500_000) == pytest.approx(math.sqrt(1e-3 * 5e-5))


def test_a_number_stands_for_a_constant() -> None:
    assert ScheduleSettings.model_validate(0.25) == ScheduleSettings.constant(0.25)
    assert ScheduleSettings.constant(0.25).at(10**9) == 0.25


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"points": ()}, "at least 1 item"),
        ({"points": ((5, 1), (5, 2))}, "5 follows 5"),
        ({"kind": "log_linear", "points": ((0, 1), (5, 0))}, "values above 0"),
        (True, "valid dictionary"),
    ],
)
def test_what_is_no_schedule_is_refused(value: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ScheduleSettings.model_validate(value)
