"""Windows, labels and splits of a cache, against plain loops over the same races."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.datasets.cache import NO_LABEL, RaceArrays, RaceCache, split_maps
from tmrl_ray.errors import InvalidInputError


def race(
    map_name: str, name: str, *, rows: int, interval_ms: int, seed: int = 0, missing: tuple[int, ...] = ()
) -> RaceArrays:
    """Return a race whose frames hold their own number, its finish 10 ms after the last regular frame."""
    rng = np.random.default_rng(seed)
    times_ms = np.append(np.arange(rows - 1) * interval_ms, (rows - 2) * interval_ms + 10)
    frames = np.broadcast_to(np.arange(rows, dtype=np.uint8)[:, None, None], (rows, 3, 5))
    kept = np.setdiff1d(np.arange(rows), missing)
    floats = rng.standard_normal((rows, 7)).astype(np.float32)
    return RaceArrays(
        map=map_name,
        name=name,
        frames=frames[kept],
        times_ms=times_ms[kept].astype(np.int32),
        actions=rng.integers(0, 12, times_ms[-1] // 10).astype(np.uint8),
        floats=floats[kept],
        interval_ms=interval_ms,
    )


races_drawn = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(3, 17), st.sampled_from([10, 20, 50, 100])),
    min_size=1,
    max_size=5,
)


def drawn(chosen: list[tuple[str, int, int]]) -> list[RaceArrays]:
    return [
        race(name, str(number), rows=rows, interval_ms=interval_ms, seed=number)
        for number, (name, rows, interval_ms) in enumerate(chosen)
    ]


@settings(deadline=None, max_examples=60)
@given(chosen=races_drawn, stack=st.integers(1, 5), every=st.integers(1, 3), ahead=st.integers(0, 3))
def test_windows_are_those_of_a_loop_over_each_race(
    chosen: list[tuple[str, int, int]], stack: int, every: int, ahead: int
) -> None:
    races = drawn(chosen)
    cache = RaceCache.of(races)
    expected, first = [], 0
    for each in races:
        rows = len(each.frames)
        for row in range(rows):
            inside = row - (stack - 1) * every >= 0 and row + ahead * every < rows
            if inside and each.times_ms[row] < 10 * len(each.actions):
                expected.append(first + row)
        first += rows
    ends = cache.window_ends(stack=stack, every=every, ahead=ahead)
    assert ends.tolist() == expected
    if len(ends):
        stacks = cache.stacks(ends, stack, every)
        assert stacks.shape == (len(ends), stack, 3, 5)
        assert (np.diff(stacks[:, :, 0, 0].astype(int), axis=1) == every).all()


@settings(deadline=None, max_examples=60)
@given(chosen=races_drawn, offsets_ms=st.lists(st.integers(-150, 150), min_size=1, max_size=4))
def test_labels_are_those_of_a_loop_over_the_timeline(
    chosen: list[tuple[str, int, int]], offsets_ms: list[int]
) -> None:
    races = drawn(chosen)
    cache = RaceCache.of(races)
    expected = []
    for each in races:
        for time_ms in each.times_ms.tolist():
            ticks = [int(np.floor((time_ms + offset) / 10 + 0.5)) for offset in offsets_ms]
            expected.append([int(each.actions[min(max(tick, 0), len(each.actions) - 1)]) for tick in ticks])
    assert cache.labels(np.arange(len(cache)), offsets_ms).tolist() == expected


def test_the_next_tick_is_the_next_frame_of_the_same_race_and_the_last_frames_have_none() -> None:
    races = [race("a", "1", rows=7, interval_ms=50, seed=1), race("a", "2", rows=5, interval_ms=50, seed=2)]
    cache = RaceCache.of(races)
    ends = cache.window_ends(target="next_tick")
    assert ends.tolist() == [0, 1, 2, 3, 4, 7, 8, 9]  # the finish decides nothing: neither it nor the one before it
    assert cache.targets(ends, "next_tick").tolist() == cache.labels(ends + 1)[:, 0].tolist()


def test_no_window_goes_over_a_missing_frame() -> None:
    cache = RaceCache.of([race("a", "1", rows=11, interval_ms=50, missing=(4,))])
    assert cache.window_ends(stack=3, target=None).tolist() == [2, 3, 6, 7, 8, 9]
    assert cache.window_ends(stack=1, target="next_tick").tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_rows_without_floats_and_actions_that_are_none_of_the_twelve_are_left_out() -> None:
    each = race("a", "1", rows=7, interval_ms=50)
    assert each.floats is not None
    each.floats[2, 3] = np.nan
    each.actions[5:10] = 255  # at 50 ms
    cache = RaceCache.of([each])
    assert cache.window_ends().tolist() == [0, 2, 3, 4, 5]
    assert cache.window_ends(with_floats=True).tolist() == [0, 3, 4, 5]
    assert cache.labels(np.array([1])).tolist() == [[NO_LABEL]]


def test_a_cache_without_floats_has_no_window_with_them() -> None:
    each = race("a", "1", rows=7, interval_ms=50)
    cache = RaceCache.of([RaceArrays("a", "1", each.frames, each.times_ms, each.actions)])
    assert cache.floats.shape == (7, 0)
    assert not cache.has_floats
    assert len(cache.window_ends(with_floats=True)) == 0


@settings(deadline=None)
@given(names=st.sets(st.text("abcdefgh", min_size=1), max_size=13), fraction=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_a_split_keeps_maps_whole_and_is_the_same_for_the_same_seed(
    names: set[str], fraction: float, seed: int
) -> None:
    train, val = split_maps(names, fraction, seed)
    assert not set(train) & set(val)
    assert set(train) | set(val) == names
    assert split_maps(reversed(sorted(names)), fraction, seed) == (train, val)
    assert bool(val) == (fraction > 0 and len(names) > 1)


def test_the_races_of_a_split_are_those_of_its_maps() -> None:
    cache = RaceCache.of([race(name, str(n), rows=5, interval_ms=50) for n in range(3) for name in "abcde"])
    split = cache.split(val_fraction=0.4, seed=3)
    sides = [{cache.races[number].map for number in side} for side in (split.train, split.val)]
    assert [len(side) for side in sides] == [3, 2]
    assert not sides[0] & sides[1]
    assert len(split.train) + len(split.val) == 15
    assert set(cache.races_on(sides[1])) == set(split.val)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RaceCache.of([]), "no race"),
        (lambda: RaceCache.of([race("a", "1", rows=5, interval_ms=50)]).races_on(["z"]), "no race on z"),
        (lambda: split_maps(["a"], 1.0, 0), "validation share"),
        (
            lambda: RaceArrays("a", "1", np.zeros((2, 3, 5), np.uint8), np.zeros(2, np.int32), np.zeros(5, np.uint8)),
            "do not rise",
        ),
        (
            lambda: RaceArrays("a", "1", np.zeros((2, 3, 5), np.uint8), np.zeros(1, np.int32), np.zeros(5, np.uint8)),
            "2 frames, but 1 times_ms",
        ),
    ],
)
def test_what_fits_nowhere_is_refused(make: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()  # type: ignore[operator]
