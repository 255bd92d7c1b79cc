"""Where races start: what a store keeps, and what the start policies draw from it."""

import json

import numpy as np
import pytest

from tests.racing.fake_game import line_from, straight_line
from tmrl_ray.errors import StateError
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.rollout import RaceEnd
from tmrl_ray.racing.start_states import (
    DOOMED_MS,
    MixedStart,
    NearBestStart,
    RaceStart,
    ReverseCurriculum,
    StateStore,
    UniformStart,
)

LINE = line_from(straight_line(200.0))  # zones 20 to 420
RNG_SEED = 11


def saved(zone: int, race_time_ms: int = 0, tag: int = 0) -> SavedState:
    return SavedState(bytes([tag]) * 17, race_time_ms, zone, (1, 2, 3), 5)


def end(*, how="cut_off", race_time_ms=60_000, furthest_zone=120, from_start_line=True) -> RaceEnd:
    return RaceEnd(
        how=how,
        cut_off="stuck" if how == "cut_off" else None,
        lost=None,
        frame=None,
        floats=np.zeros(3, dtype=np.float32),
        race_time_ms=race_time_ms,
        started_ms=0,
        from_start_line=from_start_line,
        split_times_ms=(),
        steps=7,
        metres=0.0,
        furthest_zone=furthest_zone,
        furthest_share=0.0,
        wall_s=0.0,
    )


def finish(race_time_ms: int, **changes) -> RaceEnd:
    return end(how="finish", race_time_ms=race_time_ms, furthest_zone=LINE.last_zone, **changes)


def store(**changes) -> StateStore:
    return StateStore(LINE, **{"seed": 3, "stretch_m": 20.0, "per_stretch": 5} | changes)


def test_an_empty_store_starts_every_race_at_the_start_line():
    rng = np.random.default_rng(RNG_SEED)
    for policy in (RaceStart(), UniformStart(), NearBestStart(), ReverseCurriculum()):
        assert policy.draw(store(), rng) is None


def test_the_store_is_bounded_and_keeps_what_is_new():
    states = store()
    for race in range(50):
        states.add([saved(zone, tag=race) for zone in range(20, 420, 3)], end(from_start_line=False))
    assert len(states) == 10 * 5
    assert states.size_bytes == 10 * 5 * 17
    newest = [kept for stretch in states.between(0, 420) for kept in stretch if kept.state[0] == 49]
    assert len(newest) >= 10


def test_states_just_before_a_failure_are_left_out():
    states = store()
    way = [saved(20 + 10 * k, race_time_ms=1000 * k) for k in range(9)]
    states.add(way, end(race_time_ms=8000))
    kept = [one.race_time_ms for stretch in states.between(0, 420) for one in stretch]
    assert max(kept) == 8000 - DOOMED_MS
    states.add(way, finish(8000))
    kept = [one.race_time_ms for stretch in states.between(0, 420) for one in stretch]
    assert max(kept) == 8000


def test_states_outside_of_the_line_are_left_out():
    states = store()
    states.add([saved(19), saved(20), saved(419), saved(420)], finish(9000))
    assert sorted(one.zone for stretch in states.between(0, 999) for one in stretch) == [20, 419]


def test_uniform_starts_do_not_prefer_where_many_states_are():
    states = store()
    states.add([saved(20 + k) for k in range(5)] + [saved(300)], finish(9000))
    rng = np.random.default_rng(RNG_SEED)
    zones = [UniformStart().draw(states, rng).zone for _ in range(400)]
    assert 150 < sum(zone == 300 for zone in zones) < 250
    assert {zone for zone in zones if zone < 300} == {20, 21, 22, 23, 24}


def test_the_best_race_is_the_fastest_finish_or_else_the_furthest():
    states = store()

    def best_after(tag: int, how: RaceEnd) -> int:
        states.add([saved(zone, tag=tag) for zone in (30, 130, 230)], how)
        return states.best[0].state[0]

    assert best_after(1, end(furthest_zone=250)) == 1
    assert best_after(2, end(furthest_zone=240)) == 1
    assert best_after(3, end(furthest_zone=260)) == 3
    assert best_after(4, finish(90_000)) == 4
    assert best_after(5, end(furthest_zone=419, race_time_ms=80_000)) == 4
    assert best_after(6, finish(91_000)) == 4
    assert best_after(7, finish(50_000, from_start_line=False)) == 4
    assert best_after(8, finish(89_990)) == 8
    assert [one.zone for one in states.best] == [30, 130, 230]


def test_near_best_draws_from_the_best_race_only():
    states = store()
    states.add([saved(zone, tag=1) for zone in (30, 130, 230)], finish(9000))
    states.add([saved(zone, tag=2) for zone in (31, 131, 231)], finish(9010))
    rng = np.random.default_rng(RNG_SEED)
    assert {NearBestStart().draw(states, rng).zone for _ in range(60)} == {30, 130, 230}


def test_the_reverse_curriculum_moves_away_from_the_goal_as_lessons_are_learned():
    states = store()
    states.add([saved(zone) for zone in range(20, 420, 10)], finish(9000))
    rng = np.random.default_rng(RNG_SEED)
    lessons = ReverseCurriculum(step_m=50.0, success_share=0.8, window=5)
    farthest = []
    for _ in range(5):
        zones = []
        for attempt in range(5):
            start = lessons.draw(states, rng)
            zones.append(20 if start is None else start.zone)
            lessons.report(start, finish(9000) if attempt else end())  # four of five
        farthest.append(lessons.before_goal_m)
        assert min(zones) >= 420 - 2 * (lessons.before_goal_m - 50.0)
    assert farthest == [100.0, 150.0, 200.0, 250.0, 300.0]
    assert lessons.draw(states, rng) is None


def test_a_lesson_that_is_not_learned_is_repeated():
    states = store()
    states.add([saved(zone) for zone in range(20, 420, 10)], finish(9000))
    rng = np.random.default_rng(RNG_SEED)
    lessons = ReverseCurriculum(step_m=50.0, success_share=0.8, window=5)
    for attempt in range(40):
        lessons.report(lessons.draw(states, rng), finish(9000) if attempt % 2 else end())
    assert lessons.before_goal_m == 50.0


def test_before_the_first_finish_the_goal_is_the_furthest_zone():
    states = store()
    states.add([saved(zone) for zone in range(20, 200, 10)], end(furthest_zone=199))
    rng = np.random.default_rng(RNG_SEED)
    lessons = ReverseCurriculum(step_m=30.0, window=1)
    assert {lessons.draw(states, rng).zone for _ in range(50)} == {140, 150, 160, 170, 180, 190}
    lessons.report(None, end(furthest_zone=198))
    assert lessons.before_goal_m == 30.0
    lessons.report(None, end(furthest_zone=199))
    assert lessons.before_goal_m == 60.0


def test_without_states_near_the_goal_the_nearest_before_it_are_drawn():
    states = store()
    states.add([saved(30), saved(95)], end(furthest_zone=400))
    rng = np.random.default_rng(RNG_SEED)
    assert {ReverseCurriculum(step_m=10.0).draw(states, rng).zone for _ in range(20)} == {95}


def test_a_mixture_draws_by_weight_and_reports_to_who_drew():
    states = store()
    states.add([saved(zone) for zone in range(20, 420, 10)], finish(9000))
    rng = np.random.default_rng(RNG_SEED)
    lessons = ReverseCurriculum(step_m=50.0, window=1)
    mixed = MixedStart([(RaceStart(), 3.0), (lessons, 1.0)])
    for _ in range(400):
        start = mixed.draw(states, rng)
        learned = lessons.before_goal_m
        mixed.report(start, finish(9000))
        assert lessons.before_goal_m == learned + (50.0 if start is not None or mixed._drawn is lessons else 0.0)
    assert 60 < (lessons.before_goal_m - 50.0) / 50.0 < 140


def test_the_same_seed_draws_the_same_starts():
    def draws() -> list[int]:
        states = store()
        for race in range(9):
            states.add([saved(zone, tag=race) for zone in range(20, 420, 3)], end())
        rng = np.random.default_rng(RNG_SEED)
        return [(one.zone, one.state[0]) for one in (UniformStart().draw(states, rng) for _ in range(30))]

    assert draws() == draws()


def test_a_store_goes_on_from_its_state():
    def race(states: StateStore, tag: int) -> None:
        states.add([saved(zone, tag=tag) for zone in range(20, 420, 3)], finish(9000 - tag))

    one, other = store(), store(seed=999)
    for tag in range(7):
        race(one, tag)
    states, values = one.state_dict()
    other.load_state_dict(states, json.loads(json.dumps(values)))
    for store_of_both in (one, other):
        race(store_of_both, 7)
    assert other.best == one.best
    (states, values), (other_states, other_values) = one.state_dict(), other.state_dict()
    assert (other_states.tobytes(), other_values) == (states.tobytes(), values)


def test_the_state_of_another_line_is_refused():
    other = StateStore(line_from(straight_line(100.0)), seed=1)
    with pytest.raises(StateError, match="start states are of"):
        other.load_state_dict(*store().state_dict())
