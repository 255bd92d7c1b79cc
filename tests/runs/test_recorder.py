"""The recorder: what may go on the record, and what becomes of a sink that cannot write."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest

from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.recorder import NullSink, Recorder, Row, Sink


class MemorySink:
    """Keeps rows; cannot write while ``full``."""

    name = "memory"

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.full = False
        self.closed = False

    def write(self, row: Row) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.rows.append(row)

    def close(self) -> None:
        self.closed = True


def test_every_sink_gets_every_row_with_its_clocks() -> None:
    first, second = MemorySink(), MemorySink()
    recorder = Recorder([first, NullSink(), second])
    assert isinstance(first, Sink) and isinstance(NullSink(), Sink)
    clocks = Clocks(1009, 13, 0.25)
    row = recorder.write({"learner/loss": 0.5, "learner/samples": 512}, clocks, time_s=7.0)
    assert first.rows == second.rows == [row]
    own = {"metrics/failed_writes/memory": 0, "metrics/failed_writes/null": 0, "metrics/dropped_values/recorder": 0}
    assert row == Row(clocks, 7.0, {"learner/loss": 0.5, "learner/samples": 512, **own})
    assert recorder.write({}, clocks).time_s == pytest.approx(time.time(), abs=60)
    recorder.close()
    recorder.close()
    assert first.closed and second.closed


def test_what_is_not_declared_is_refused_before_anything_is_written() -> None:
    sink = MemorySink()
    recorder = Recorder([sink])
    other = Distribution((1.0,), np.array([1, 0]), 0.5, 0.5, 0.5)
    for values, message in (
        ({"learner/loss": 1.0, "learner/los": 1.0}, "learner/los is not declared"),
        ({"learner/loss": "0.5"}, "learner/loss is a scalar, not a text"),
        ({"run/times": 3.0}, "run/times is a text"),
        ({"learner/step_ms": 3.0}, "learner/step_ms is a histogram, not a scalar or a counter"),
        ({"learner/loss": other}, "learner/loss is a scalar, not a histogram"),
        ({"learner/step_ms": other}, "learner/step_ms has other buckets"),
    ):
        with pytest.raises(ValueError, match=message):
            recorder.write(values, Clocks())
    assert sink.rows == []


def test_env_steps_do_not_go_back() -> None:
    recorder = Recorder()
    recorder.write({}, Clocks(100, 50))
    recorder.write({}, Clocks(100, 49))  # learner steps may, after a resume
    with pytest.raises(ValueError, match="a row at 99 env steps comes after one at 100"):
        recorder.write({}, Clocks(99, 51))


def test_values_that_are_not_finite_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    row = recorder.write(
        {"learner/loss": float("nan"), "learner/value": np.float32("inf"), "learner/target": 1.0}, Clocks()
    )
    assert row.values == {"learner/target": 1.0, "metrics/dropped_values/recorder": 2}
    assert recorder.write({}, Clocks()).values == {}
    assert "learner/loss, learner/value" in caplog.text


def test_numbers_of_numpy_become_numbers_of_python() -> None:
    given = {"learner/loss": np.float32(0.5), "learner/samples": np.int64(7)}
    row = Recorder().write(given, Clocks())  # type: ignore[arg-type]
    assert {type(row.values[name]) for name in given} == {float}


def test_a_full_disk_costs_rows_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    failing, sound = MemorySink(), MemorySink()
    recorder = Recorder([failing, sound])
    failing.full = True
    with caplog.at_level(logging.ERROR):
        for step in range(3):
            recorder.write({"learner/loss": 1.0}, Clocks(step))
    failing.full = False
    last = recorder.write({"learner/loss": 2.0}, Clocks(3))
    assert len(sound.rows) == 4 and failing.rows == [last]
    assert last.values["metrics/failed_writes/memory"] == 3
    assert len(caplog.records) == 1 and "No space left" in caplog.text
