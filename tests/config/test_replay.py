"""Settings of the experience that contradict each other are refused with what to change."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tmrl_ray.config.replay import MiniRaceSettings, ReplaySettings, WindowSettings


def test_the_window_grows_by_its_schedule() -> None:
    settings = ReplaySettings(schedule_speed=8.0)
    assert settings.capacity_rows == 200_000
    rows = {steps: settings.window_at(steps).rows for steps in (0, 39_999_999, 40_000_000, 56_000_000, 10**9)}
    assert rows == {0: 50_000, 39_999_999: 50_000, 40_000_000: 100_000, 56_000_000: 200_000, 10**9: 200_000}


def test_windows_must_follow_each_other_from_the_beginning() -> None:
    late = WindowSettings(from_env_steps=10)
    with pytest.raises(ValidationError, match="first of the windows must have from_env_steps = 0"):
        ReplaySettings(windows=(late,))
    with pytest.raises(ValidationError, match="must rise, 10 follows 10"):
        ReplaySettings(windows=(WindowSettings(), late, late))


@pytest.mark.parametrize(("test_every", "most"), [(None, 900), (2, 450)])
def test_learning_must_be_sure_to_start(test_every: int | None, most: int) -> None:
    fitting = WindowSettings(rows=1000, learn_start_rows=most)
    assert ReplaySettings(windows=(fitting,), test_every=test_every).windows == (fitting,)
    with pytest.raises(ValidationError, match=f"may never be reached in a window of 1000 rows.*use at most {most}"):
        ReplaySettings(windows=(fitting.replace(learn_start_rows=most + 1),), test_every=test_every)


def test_the_maximum_is_a_part_of_the_long_term() -> None:
    with pytest.raises(ValidationError, match="cannot be larger"):
        MiniRaceSettings(oversample_long_steps=3, oversample_maximum_steps=4)
