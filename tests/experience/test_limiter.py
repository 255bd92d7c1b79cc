"""The limiter: inside its band whatever comes, and nothing bursts when its settings change."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS
from tmrl_ray.experience.limiter import Pace, RateLimiter

paces = st.builds(
    Pace,
    samples_per_insert=st.sampled_from([0.5, 1.0, 7.0, 32.0]),
    min_size=st.integers(1, 5_000),
    tolerance=st.sampled_from([0.0, 0.1, 0.7]),
    max_draw=st.sampled_from([11, 512, 4096]),
)


def offer(limiter: RateLimiter, rows: int) -> bool:
    """Insert if that is allowed; nothing is ever evicted."""
    if rows > limiter.credits():
        return False
    limiter.insert(rows, rows_after=limiter.rows + rows)
    return True


def ask(limiter: RateLimiter, samples: int) -> bool:
    if not limiter.can_sample(samples):
        return False
    limiter.sample(samples)
    return True


@settings(max_examples=100, deadline=None)
@given(
    pace=paces,
    moves=st.lists(st.tuples(st.booleans(), st.integers(1, MAX_CORE_ROWS)), min_size=1, max_size=200),
)
def test_reverbs_inequality_holds_and_somebody_can_always_go_on(pace: Pace, moves: list[tuple[bool, int]]) -> None:
    limiter = RateLimiter(pace)
    for inserts, size in moves:
        if inserts:
            offer(limiter, size)
        else:
            ask(limiter, min(size * 16, pace.max_draw))
        assert limiter.credits() >= MAX_CORE_ROWS or limiter.can_sample(pace.max_draw)
        if limiter.rows >= pace.min_size:
            ratio = pace.samples_per_insert
            assert ratio is not None
            error = limiter.inserted * ratio - limiter.sampled - pace.min_size * ratio
            assert -pace.error_buffer <= error <= pace.error_buffer
            assert limiter.balance == pytest.approx(error)
        else:
            assert limiter.sampled == 0


def test_credits_are_exactly_the_rows_that_may_come() -> None:
    limiter = RateLimiter(Pace(4.0, min_size=10_000, tolerance=0.1, max_draw=100))
    assert limiter.credits() == 11_000
    limiter.insert(11_000, rows_after=11_000)
    assert limiter.credits() == 0
    limiter.sample(100)
    assert limiter.credits() == 25


def test_nothing_is_drawn_before_enough_is_there_and_then_only_for_what_came_after() -> None:
    limiter = RateLimiter(Pace(2.0, min_size=10_000, tolerance=0.1, max_draw=100))
    assert offer(limiter, 9_999)
    assert not ask(limiter, 1)
    assert offer(limiter, 1)
    drawn = sum(100 for _ in range(1000) if ask(limiter, 100))
    assert drawn == 2_000  # the lower half of the band, and nothing for the first 10,000 rows
    assert offer(limiter, 500)
    assert sum(100 for _ in range(1000) if ask(limiter, 100)) == 1_000


def worked(pace: Pace) -> RateLimiter:
    """Return a limiter in the middle of a run."""
    limiter = RateLimiter(pace)
    for _ in range(400):
        offer(limiter, 200)
        while ask(limiter, 512):
            pass
    return limiter


@pytest.mark.parametrize("ratio", [1.0, 4.0, 64.0])
def test_a_change_of_the_ratio_releases_no_burst(ratio: float) -> None:
    limiter = worked(Pace(16.0, min_size=2_000, max_draw=512))
    inserted, sampled = limiter.inserted, limiter.sampled
    pace = Pace(ratio, min_size=2_000, max_draw=512)
    limiter.set_pace(pace)
    while ask(limiter, 512):
        pass
    assert limiter.sampled - sampled <= 2 * pace.error_buffer
    while offer(limiter, 100):
        pass
    assert (limiter.inserted - inserted) * ratio <= 2 * pace.error_buffer
    assert (limiter.inserted, limiter.sampled) >= (inserted, sampled)


def test_the_counters_are_resumed_and_the_settings_are_not() -> None:
    old = worked(Pace(16.0, min_size=2_000, max_draw=512))
    new_pace = Pace(3.0, min_size=7_000, max_draw=64)
    new = RateLimiter(new_pace, rows=old.rows)
    new.load_state_dict(old.state_dict())
    assert (new.inserted, new.sampled, new.pace) == (old.inserted, old.sampled, new_pace)
    assert abs(new.balance) <= new_pace.error_buffer
    same = RateLimiter(old.pace, rows=old.rows)
    same.load_state_dict(old.state_dict())
    assert same.balance == old.balance
    assert same.credits() == old.credits()


def test_rows_that_fill_up_to_a_raised_start_are_not_drawn_for_later() -> None:
    limiter = worked(Pace(16.0, min_size=2_000, max_draw=512))
    balance, rows = limiter.balance, limiter.rows
    limiter.set_pace(Pace(16.0, min_size=rows + 50_000, max_draw=512))
    assert not limiter.can_sample(1)
    for _ in range(250):
        assert offer(limiter, 200)
    assert limiter.balance == balance
    assert limiter.can_sample(1)


def test_extra_samples_are_drawn_once_beside_the_pace() -> None:
    limiter = worked(Pace(2.0, min_size=1_000, max_draw=512))
    while ask(limiter, 1):
        pass
    balance = limiter.balance
    limiter.allow_extra(700)
    assert [ask(limiter, 512), ask(limiter, 512), ask(limiter, 188)] == [True, False, True]
    assert limiter.balance == balance
    assert not ask(limiter, 1)


def test_without_a_ratio_only_the_start_is_waited_for() -> None:
    limiter = RateLimiter(Pace(None, min_size=100))
    assert limiter.credits() == inf
    assert not limiter.can_sample(1)
    assert offer(limiter, 100_000)
    assert limiter.can_sample(10**9)
    limiter.sample(10**9)
    limiter.set_pace(Pace(8.0, min_size=100))
    assert limiter.balance == 0


@pytest.mark.parametrize("ratio", [0.0, -1.0, inf])
def test_ratios_that_nothing_can_hold_are_refused(ratio: float) -> None:
    with pytest.raises(InvalidInputError, match="no limiter can hold"):
        Pace(ratio, min_size=1)
