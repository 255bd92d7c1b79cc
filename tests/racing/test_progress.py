"""The advance and retreat rules, the link to real checkpoints, metres and the distance left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.racing.fake_game import line_from, straight_line
from tmrl_ray.config.race import LineSettings
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import Checkpoint, line_of_points

START = (100.0, 10.0, 200.0)
FIRST = 20


def at(along: float, left: float = 0.0, up: float = 0.0) -> tuple[float, float, float]:
    return 100.0 + left, 10.0 + up, 200.0 + along


def begun(length_m: float = 100.0, **line_settings: float) -> Progress:
    progress = Progress(line_from(straight_line(length_m), **line_settings))
    progress.begin(START)
    return progress


def test_a_race_begins_in_the_first_zone():
    progress = begun()
    assert (progress.zone, progress.furthest_zone, progress.metres) == (FIRST, FIRST, 0.0)
    assert progress.metres_left == 100.0


def test_the_next_zone_is_taken_when_it_is_as_near():
    progress = begun()
    progress.update(at(0.24))
    assert progress.zone == FIRST
    progress.update(at(0.25))  # just in the middle
    assert progress.zone == FIRST + 1
    progress.update(at(0.24))
    assert progress.zone == FIRST
    assert progress.furthest_zone == FIRST + 1


def test_many_zones_are_taken_at_once():
    progress = begun()
    progress.update(at(31.1, left=4.0))
    assert progress.zone == FIRST + 62
    assert progress.metres == pytest.approx(31.1)
    assert progress.metres_left == pytest.approx(68.9)


def test_metres_are_signed():
    progress = begun()
    progress.update(at(31.1))
    progress.update(at(11.3))
    assert progress.zone == FIRST + 23
    assert progress.metres == pytest.approx(11.3)
    progress.update(at(-3.2))
    assert progress.metres == pytest.approx(-3.2)
    assert progress.furthest_zone == FIRST + 62


def test_it_falls_back_no_further_than_zone_1():
    progress = begun()
    progress.update(at(-500.0))
    assert progress.zone == FIRST  # out of reach: nothing moves
    progress.update(at(-15.0))
    assert progress.zone == 1
    assert progress.metres == pytest.approx(-9.75)  # the projection is clipped to the zone


def test_zones_out_of_reach_are_not_taken():
    reach = float(np.hypot(0.25, 45.0))
    near, far = begun(), begun()
    near.update(at(0.25, left=44.999))
    far.update(at(0.25, left=reach))
    assert (near.zone, far.zone) == (FIRST + 1, FIRST)


def test_the_last_zone_is_not_left():
    progress = begun(30.0)
    progress.update(at(33.0))
    assert progress.zone == progress.line.last_zone
    assert progress.metres == pytest.approx(30.25)  # to the end of the zone
    assert progress.metres_left == 0.0
    progress.finish()
    assert progress.metres == progress.line.length_m == pytest.approx(30.0)


def test_the_finish_counts_the_whole_line():
    progress = begun(100.0)
    progress.update(at(70.0))
    progress.finish()
    assert progress.metres == pytest.approx(100.0)
    assert progress.furthest_zone == progress.line.last_zone


def test_a_height_below_the_deck_changes_no_zone():
    progress = begun(deck_height_m=8.0)
    progress.update(at(20.0, up=-2.0))
    assert progress.zone == FIRST
    progress.update(at(20.0, up=-1.9))
    assert progress.zone == FIRST + 40


def with_gate(left: float = 0.0) -> Progress:
    gate = Checkpoint(position=np.array(at(40.0, left=left)), radius_m=12.0)
    progress = Progress(line_of_points(straight_line(100.0), [gate], LineSettings(smoothing_zones=0)))
    progress.begin(START)
    return progress


def test_a_checkpoint_that_is_missed_holds_the_car():
    progress = with_gate()
    for along in np.arange(0.0, 60.0, 5.0):
        progress.update(at(along, left=12.1))
    assert progress.zone == FIRST + 80


@pytest.mark.parametrize("left", [0.0, 11.0, 11.9])
@pytest.mark.parametrize("stride", [0.5, 5.0, 7.0, 33.0])
def test_a_checkpoint_that_is_passed_does_not_at_any_speed(left, stride):
    progress = with_gate()
    for along in np.arange(0.0, 90.0, stride):
        progress.update(at(along, left=left))
    assert progress.zone > FIRST + 80 + 10


def test_a_held_car_may_come_back_for_the_checkpoint():
    progress = with_gate()
    progress.update(at(38.0, left=20.0))
    progress.update(at(44.0, left=20.0))
    assert progress.zone == FIRST + 80
    progress.update(at(43.0, left=9.0))
    assert progress.zone == FIRST + 86


places = st.lists(st.tuples(st.floats(-30, 130), st.floats(-44, 44), st.floats(-5, 5)), min_size=1, max_size=30)


@given(places)
@settings(max_examples=60, deadline=None)
def test_metres_are_within_the_zone_however_the_car_jumps(way):
    progress = begun(100.0)
    line, furthest = progress.line, FIRST
    for along, left, up in way:
        progress.update(at(along, left, up))
        furthest = max(furthest, progress.zone)
        assert 1 <= progress.zone <= line.last_zone
        assert progress.furthest_zone == furthest
        low, high = line.transitions_m[progress.zone - 1], line.transitions_m[progress.zone]
        assert low - 1e-9 <= progress.metres <= high + 1e-9
        assert progress.metres_left == pytest.approx(max(0.0, 100.0 - progress.metres))


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_small_steps_forwards_follow_the_car(steps):
    progress = begun(200.0)
    along = 0.0
    for step in steps:
        along += step
        progress.update(at(along, left=3.0))
        assert progress.metres == pytest.approx(along, abs=1e-6)
        assert progress.zone == progress.furthest_zone


@given(places)
@settings(max_examples=60, deadline=None)
def test_it_is_the_same_seen_in_a_mirror(way):
    progress, mirrored = with_gate(left=6.0), with_gate(left=-6.0)
    for along, left, up in way:
        progress.update(at(along, left, up))
        mirrored.update(at(along, -left, up))
        assert (progress.zone, progress.furthest_zone) == (mirrored.zone, mirrored.furthest_zone)
        assert progress.metres == pytest.approx(mirrored.metres, abs=1e-9)
