"""Meters and distributions: what is told of many values, against numpy."""

from __future__ import annotations

import json
import logging
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmrl_ray.runs.declared.experience import AGES
from tmrl_ray.runs.declared.learning import MILLISECONDS
from tmrl_ray.runs.distribution import Distribution, DistributionWindow, logarithmic_bounds
from tmrl_ray.runs.meter import Meter

values_lists = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=101)


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spread(values: list[float], bounds: tuple[float, ...] = MILLISECONDS) -> Distribution:
    window = DistributionWindow(bounds)
    for value in values:
        window.add(value)
    taken = window.take()
    assert taken is not None and window.take() is None
    return taken


@given(values=values_lists)
def test_a_distribution_is_that_of_the_values(values: list[float]) -> None:
    one_by_one = spread(values)
    window = DistributionWindow(MILLISECONDS)
    window.add_all(np.array(values))
    at_once = window.take()
    assert at_once is not None
    assert one_by_one.counts.tolist() == at_once.counts.tolist()
    assert one_by_one.count == len(values)
    assert one_by_one.mean == pytest.approx(np.mean(values)) == pytest.approx(at_once.mean)
    assert (one_by_one.lowest, one_by_one.highest) == (min(values), max(values))
    edges = one_by_one.edges()
    for (start, end), count in zip(edges, one_by_one.counts, strict=True):
        assert count == 0 or sum(start <= value <= end for value in values) >= count


@given(values=values_lists, share=st.floats(0, 1))
def test_a_quantile_is_off_by_at_most_its_bucket(values: list[float], share: float) -> None:
    found = spread(values).quantile(share)
    assert min(values) <= found <= max(values)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    bounds = np.array([0, *MILLISECONDS, np.inf])
    here, there = np.searchsorted(bounds, found), np.searchsorted(bounds, exact)
    between = [value for value in values if min(found, exact) < value < max(found, exact)]
    assert abs(int(here) - int(there)) <= 1 or not between


@given(values=values_lists, others=values_lists)
def test_distributions_add_up(values: list[float], others: list[float]) -> None:
    both, together = spread(values) + spread(others), spread(values + others)
    assert both.counts.tolist() == together.counts.tolist()
    assert both.summary() == pytest.approx(together.summary())


def test_distributions_with_other_buckets_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="other buckets"):
        spread([1.0]) + spread([1.0], AGES)


def test_bounds_belong_to_the_bucket_below() -> None:
    assert spread([1.0, 2.0, 3.0], (1.0, 2.0)).counts.tolist() == [1, 1, 1]
    assert logarithmic_bounds(1, 100, per_decade=2) == (1.0, 3.2, 10.0, 32.0, 100.0)
    assert spread([0, 1, 2], AGES).counts[:3].tolist() == [1, 1, 1]


def test_a_row_tells_what_came_since_the_last_one() -> None:
    clock = Seconds()
    meter = Meter("test", clock=clock)
    meter.add("experience/rows_ingested", 100)
    for value in (2.0, 4.0, 9.0):
        meter.observe("learner/loss", value)
        meter.observe("learner/step_ms", value)
    meter.set("learner/learning_rate", 0.5)
    meter.set("learner/learning_rate", 0.25)
    meter.set("run/times", "| map | best |")
    clock.now += 5
    row = meter.row()
    steps = row.pop("learner/step_ms")
    assert isinstance(steps, Distribution) and (steps.count, steps.mean) == (3, 5.0)
    assert row == {
        "experience/rows_ingested": 100,
        "experience/ingested_per_s": 20.0,
        "learner/loss": 5.0,
        "learner/learning_rate": 0.25,
        "run/times": "| map | best |",
    }
    clock.now += 10
    meter.add("experience/rows_ingested", 7)
    assert meter.row() == {"experience/rows_ingested": 107, "experience/ingested_per_s": 0.7}


def test_totals_of_others_are_taken_over() -> None:
    clock = Seconds()
    meter = Meter("test", clock=clock)
    meter.count_to("collector/env_steps/3", 500)
    meter.row()
    meter.count_to("collector/env_steps/3", 560)
    clock.now += 2
    assert meter.row() == {"collector/env_steps/3": 560, "collector/env_steps_per_s/3": 30.0}
    meter.count_to("collector/env_steps/3", 10)  # another incarnation
    clock.now += 2
    assert meter.row() == {"collector/env_steps/3": 10, "collector/env_steps_per_s/3": 0.0}


def test_a_resumed_meter_goes_on_counting() -> None:
    clock = Seconds()
    before, after = Meter("test", clock=clock), Meter("test", clock=clock)
    before.add("learner/samples", 512)
    state = json.loads(json.dumps(before.state_dict()))
    after.load_state_dict({**state, "learner/of_an_older_program": 3})
    after.add("learner/samples", 100)
    clock.now += 10
    assert after.row() == {"learner/samples": 612, "learner/samples_per_s": 10.0}


def test_values_that_are_not_finite_are_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter("learner")
    with caplog.at_level(logging.WARNING):
        for value in (1.0, float("nan"), 3.0, float("inf")):
            meter.observe("learner/loss", value)
        meter.observe_all("learner/step_ms", [[1.0, float("nan")], [float("-inf"), 2.0]])
        meter.set("learner/discount", float("nan"))
    row = meter.row()
    assert row["learner/loss"] == 2.0
    steps = row["learner/step_ms"]
    assert isinstance(steps, Distribution) and steps.count == 2
    assert "learner/discount" not in row
    assert row["metrics/dropped_values/learner"] == 5
    assert [record.message.split()[5] for record in caplog.records] == [
        "learner/loss",
        "learner/step_ms",
        "learner/discount",
    ]


def test_names_and_kinds_are_held_to_what_is_declared() -> None:
    meter = Meter("test")
    with pytest.raises(ValueError, match="learner/los is not declared"):
        meter.observe("learner/los", 1.0)
    with pytest.raises(ValueError, match="learner/loss is a scalar, not a counter"):
        meter.add("learner/loss")
    with pytest.raises(ValueError, match="learner/samples is a counter, not a scalar"):
        meter.set("learner/samples", 1)
    with pytest.raises(ValueError, match="run/times is a text, not a scalar or a histogram"):
        meter.observe("run/times", 1)
    with pytest.raises(ValueError, match="cannot go down by 3"):
        meter.add("learner/samples", -3)
    assert meter.row() == {}


def test_a_block_is_timed_unless_it_fails() -> None:
    meter = Meter("test")
    with meter.time("learner/step_ms"):
        pass
    with pytest.raises(KeyError), meter.time("learner/step_ms"):
        raise KeyError
    steps = meter.row()["learner/step_ms"]
    assert isinstance(steps, Distribution) and steps.count == 1 and 0 <= steps.highest < 1000


def test_threads_lose_nothing() -> None:
    meter = Meter("test")

    def work() -> None:
        for _ in range(1009):
            meter.add("learner/samples", 3)
            meter.observe("learner/step_ms", 1.0)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = meter.row()
    assert row["learner/samples"] == 5 * 3 * 1009
    steps = row["learner/step_ms"]
    assert isinstance(steps, Distribution) and steps.count == 5 * 1009


def test_a_meter_takes_in_what_others_tell() -> None:
    now_s = iter([0.0, 2.0, 2.0])
    whole, first, second = Meter("all", clock=lambda: next(now_s)), Meter("one"), Meter("other")
    for meter, amount in ((first, 5), (second, 7)):
        meter.add("experience/rows_sampled", amount)
        meter.observe("learner/step_ms", float(amount))
        meter.set("learner/loss", float(amount))
        whole.take_in(meter.tell())
    first.add("experience/rows_sampled", 2)
    whole.take_in(first.tell())
    row = whole.row()
    assert (row["experience/rows_sampled"], row["experience/sampled_per_s"]) == (14, 7.0)
    assert row["learner/loss"] == 7.0
    steps = row["learner/step_ms"]
    assert (steps.count, steps.lowest, steps.highest, steps.total) == (2, 5.0, 7.0, 12.0)
    again = Meter("one")  # after a kill, it begins at 0
    again.add("experience/rows_sampled", 3)
    whole.take_in(again.tell())
    assert whole.row()["experience/rows_sampled"] == 17


def test_a_telling_that_gets_lost_costs_no_count() -> None:
    whole, part = Meter("all"), Meter("part")
    part.add("learner/samples", 11)
    part.tell()
    part.add("learner/samples", 13)
    whole.take_in(part.tell())
    assert whole.row()["learner/samples"] == 24


def test_totals_of_a_session_before_are_added_to() -> None:
    whole, part = Meter("all"), Meter("part")
    whole.load_state_dict({"learner/samples": 500})
    part.add("learner/samples", 20)
    whole.take_in(part.tell())
    assert whole.row()["learner/samples"] == 520
