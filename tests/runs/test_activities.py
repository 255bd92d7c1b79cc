"""Where the time of a component goes."""

from __future__ import annotations

import pytest

from tmrl_ray.runs.activities import Activities


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_shares_are_those_since_the_last_call_and_add_up() -> None:
    clock = Clock()
    activities = Activities("waiting", clock=clock)
    clock.now_s += 3.0
    with activities.during("training"):
        clock.now_s += 5.0
        with activities.during("copying"):
            clock.now_s += 2.0
        assert activities.current == "training"
    assert activities.shares() == {"waiting": pytest.approx(0.3), "training": 0.5, "copying": 0.2}
    activities.begin("training")
    clock.now_s += 7.0
    assert activities.seconds("training") == 12.0  # what is done now is counted up to now
    assert activities.shares() == {"waiting": 0.0, "training": 1.0, "copying": 0.0}
    assert activities.shares() == {}
