"""Several collectors in one process."""

from __future__ import annotations

import time

import pytest

from actors.collector import Collector
from actors.collector_threads import CollectorThreads
from actors.messages import CollectorState
from tests.actors.fakes import RACE_STEPS, Surroundings, driving
from tmrl_ray.config.collector import CollectorSettings


def collectors(around: list[Surroundings]) -> list[Collector]:
    settings = CollectorSettings()
    return [Collector(number, settings, driving(), each.ports, run_seed=0) for number, each in enumerate(around)]


def wait_for(condition) -> None:
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_all_drive_and_are_drained():
    around = [Surroundings(), Surroundings(), Surroundings()]
    threads = CollectorThreads(collectors(around))
    threads.start()
    wait_for(lambda: all(beat.races >= 2 for beat in threads.heartbeats()))
    threads.stop()
    assert threads.join(10.0)
    assert [beat.state for beat in threads.heartbeats()] == [CollectorState.STOPPED] * 3
    reports = threads.take_reports()
    assert {report.collector for report in reports} == {0, 1, 2}
    for number, each in enumerate(around):
        complete = sum(report.steps for report in reports if report.collector == number)
        sent = sum(chunk.core for chunk in each.sink.chunks.values())
        assert complete <= sent <= complete + RACE_STEPS
        assert each.keeper.closed


def test_a_failure_that_nobody_foresaw_ends_all():
    around = [Surroundings(), Surroundings()]
    around[1].sink.append = None
    threads = CollectorThreads(collectors(around))
    threads.start()
    with pytest.raises(TypeError):
        while not threads.join(0.1):
            pass
    wait_for(lambda: threads.heartbeats()[0].state is CollectorState.STOPPED)
