"""Collectors whose weights stand still raise an alarm, once; those that do not act at all raise none."""

from __future__ import annotations

import pytest

from actors.messages import CollectorState, Heartbeat
from actors.weight_watch import WeightWatch
from tests.actors.fakes import Clock

PATIENCE_S = 600.0


def beat(collector: int, version: int, state: CollectorState = CollectorState.RACING) -> Heartbeat:
    return Heartbeat(collector, 1, state, 5, 100, 3, version, 0, 0, 0)


def test_a_collector_whose_weights_stand_still_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    watch = WeightWatch(PATIENCE_S, clock)
    for newest in range(3, 20):
        watch.look([beat(0, newest - 1), beat(1, 2)], newest)
        clock.now_s += 100.0
    assert watch.stale == (1,)
    assert len(caplog.records) == 1
    assert "collector 1 has acted with weights of version 2 for 600 s" in caplog.text
    watch.look([beat(0, 19), beat(1, 18)], 20)
    assert watch.stale == ()


@pytest.mark.parametrize("state", [CollectorState.QUARANTINED, CollectorState.STOPPED])
def test_a_collector_that_acts_no_more_needs_no_weights(
    state: CollectorState, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    watch = WeightWatch(PATIENCE_S, clock)
    for newest in range(3, 20):
        watch.look([beat(1, 2, state)], newest)
        clock.now_s += 100.0
    assert watch.stale == ()
    assert caplog.records == []
