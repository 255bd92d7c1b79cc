"""The target network keeps up with any size of batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.target import TargetClock
from tmrl_ray.config.learner import TargetSettings


def test_several_updates_are_one_with_a_larger_rate() -> None:
    clock = TargetClock(TargetSettings(rate=0.02, interval_samples=2048))
    rates = [clock.advance(512) for _ in range(9)]
    assert [round(rate, 12) for rate in rates] == [0, 0, 0, 0.02, 0, 0, 0, 0.02, 0]
    clock = TargetClock(TargetSettings(rate=0.02, interval_samples=128))
    assert clock.advance(4096) == pytest.approx(1 - 0.98**32)
    assert (clock.samples, clock.updates) == (4096, 32)


@given(st.lists(st.integers(1, 5000), min_size=1), st.integers(1, 3000), st.floats(0.001, 1))
def test_exactly_as_many_updates_as_are_due(batches: list[int], interval: int, rate: float) -> None:
    clock = TargetClock(TargetSettings(rate=rate, interval_samples=interval))
    left = 1.0
    for batch in batches:
        left *= 1 - clock.advance(batch)
    assert clock.updates == sum(batches) // interval
    assert left == pytest.approx((1 - rate) ** clock.updates, abs=1e-12)


def test_the_defect_of_the_reference_falls_behind() -> None:
    clock = TargetClock(TargetSettings(rate=0.02, interval_samples=128, legacy_counter_lags=True))
    assert [clock.advance(4096) for _ in range(5)] == pytest.approx([0.02] * 5)
    assert clock.samples // 128 - clock.updates == 5 * 31
