"""Lines to drive, what the car can do, and the plans that follow from both."""

from __future__ import annotations

import numpy as np
import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.racing.car_limits import SPEEDS, CarLimits, measure_limits
from tmrl_ray.racing.driving_line import DrivingLine, centre_line, line_of_points
from tmrl_ray.racing.speed_profile import point_limits, speed_profile
from tmrl_ray.simulator.contact import NOTHING
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.track import Material
from tmrl_ray.simulator.tuning import CarTuning


@pytest.fixture(scope="module")
def limits() -> CarLimits:
    return measure_limits(CarTuning())


def circle(radius: float, *, turns: float = 1.0, left: bool = True) -> DrivingLine:
    angles = np.linspace(0, 2 * np.pi * turns, round(4 * np.pi * radius * turns))
    side = 1.0 if left else -1.0
    return line_of_points(radius * np.stack((side * np.cos(angles), 0 * angles, np.sin(angles)), axis=1))


def straight_and_bend(straight_m: float, radius: float) -> DrivingLine:
    way = np.arange(0.0, straight_m, 0.5)
    angles = np.arange(0.0, np.pi, 0.5 / radius)
    bend = np.stack((radius - radius * np.cos(angles), 0 * angles, straight_m + radius * np.sin(angles)), axis=1)
    return line_of_points(np.vstack((np.stack((0 * way, 0 * way, way), axis=1), bend)))


def at_mps(table: np.ndarray, speed: float) -> float:
    return float(np.interp(speed, SPEEDS, table))


@pytest.mark.parametrize(("left", "sign"), [(True, 1), (False, -1)])
def test_a_circle_bends_evenly(left: bool, sign: int) -> None:
    line = circle(40.0, left=not left)  # seen from above with y up, x and z are mirrored
    inside = slice(10, -10)
    assert line.bend[inside] == pytest.approx(sign / 40.0, rel=0.02)
    assert np.abs(line.bend_growth[inside]).max() < 1e-4
    assert line.left[inside] @ np.array((0.0, 1.0, 0.0)) == pytest.approx(0.0)


def test_a_line_beside_a_circle_has_another_radius() -> None:
    line = circle(40.0, left=False)
    beside = line.beside(np.full(len(line.points), 7.0))
    assert beside.bend[10:-10] == pytest.approx(1 / 33.0, rel=0.02)


def test_a_closed_line_has_no_seam() -> None:
    line = centre_line(load_track("oval"))
    assert line.closed
    assert line.spacing.min() > 0
    assert np.abs(line.bend_growth).max() < 0.002
    assert line.length_m == pytest.approx(
        np.linalg.norm(np.diff(load_track("oval").line, axis=0), axis=1).sum(), rel=0.01
    )


def test_a_gap_is_no_road_and_pads_are_seen() -> None:
    line = centre_line(load_track("full"))
    assert 15 < line.spacing[line.materials == NOTHING].sum() < 30
    assert {int(Material.TURBO), int(Material.DIRT)} <= set(line.materials.tolist())


def test_the_way_over_a_branch_joins_the_road_at_both_ends() -> None:
    track = load_track("shortcut")
    main, leap = centre_line(track), centre_line(track, "leap")
    assert leap.length_m < main.length_m - 50
    assert np.linalg.norm(np.diff(leap.points, axis=0), axis=1).max() < 2.5
    assert leap.points[0] == pytest.approx(main.points[0])
    assert leap.points[-1] == pytest.approx(main.points[-1])
    with pytest.raises(TrackError, match="no branch 'tunnel'; its branches: leap"):
        centre_line(track, "tunnel")


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.zeros((5, 2)), np.full((4, 3), np.nan)])
def test_what_is_no_line_is_refused(points: np.ndarray) -> None:
    with pytest.raises(TrackError, match="2 or more finite points"):
        line_of_points(points)


def test_the_measured_car_is_the_public_one(limits: CarLimits) -> None:
    """Public figures and ghosts: yaw at full lock, engine bands, slow-down with gas released, brakes."""
    asphalt = limits.surfaces[int(Material.ASPHALT)]
    assert at_mps(limits.lock, 284 / 3.6) == pytest.approx(0.94, rel=0.08)
    assert at_mps(limits.lock, 381 / 3.6) == pytest.approx(0.843, rel=0.08)
    assert at_mps(asphalt.push, 250 / 3.6) == pytest.approx(7.0, rel=0.1)
    assert at_mps(asphalt.coast, 345 / 3.6) == pytest.approx(29.8, rel=0.05)
    assert at_mps(asphalt.brake, 110 / 3.6) == pytest.approx(39.8, rel=0.05)
    assert at_mps(limits.boost, 300 / 3.6) == pytest.approx(35.0, rel=0.1)
    dirt = limits.surfaces[int(Material.DIRT)]
    assert at_mps(dirt.turn, 40) < 0.9 * at_mps(asphalt.turn, 40)
    assert at_mps(limits.surfaces[int(Material.ICE)].turn, 40) == 0.0


@pytest.mark.parametrize("radius", [19.0, 43.0, 97.0])
def test_the_speed_in_a_circle_is_that_of_the_steering(radius: float, limits: CarLimits) -> None:
    speed = np.median(point_limits(circle(radius, left=False), limits, 1.0)[20:-20])
    assert at_mps(limits.lock, speed) == pytest.approx(speed / radius, rel=0.05)


def test_a_margin_slows_down(limits: CarLimits) -> None:
    line = circle(43.0)
    speeds = [np.median(point_limits(line, limits, margin)[20:-20]) for margin in (0.7, 0.85, 1.0)]
    assert speeds[0] < speeds[1] < speeds[2]


def test_a_plan_never_asks_for_more_than_the_brakes_give(limits: CarLimits) -> None:
    line = straight_and_bend(331.0, 23.0)
    profile = speed_profile(line, limits)
    braking = -np.diff(profile.limit[:150] ** 2) / (2 * line.spacing[:149])
    brake = limits.surfaces[int(Material.ASPHALT)].brake
    assert (braking <= np.interp(profile.limit[:149], SPEEDS, brake) + 1e-6).all()
    assert (profile.speed <= profile.limit + 1e-9).all()
    assert profile.speed.argmax() < 331 / 2


def test_braking_later_is_faster_than_coasting(limits: CarLimits) -> None:
    line = straight_and_bend(331.0, 13.0)
    with_brakes, without = speed_profile(line, limits), speed_profile(line, limits, brake_share=0.0)
    assert with_brakes.lap_s < without.lap_s - 0.4
    assert (with_brakes.limit >= without.limit - 1e-9).all()


def test_a_plan_knows_its_flights(limits: CarLimits) -> None:
    line = centre_line(load_track("full"))
    profile = speed_profile(line, limits)
    gap = np.flatnonzero(~line.on_road)
    assert profile.flying[gap].all()
    assert profile.flying[gap[-1] + 1]  # it lands behind the gap, not at its edge
    assert profile.flying.mean() < 0.15


def test_the_times_of_a_plan_add_up(limits: CarLimits) -> None:
    line = centre_line(load_track("loop"))
    profile = speed_profile(line, limits)
    assert (np.diff(profile.times_s) > 0).all()
    assert profile.lap_s == pytest.approx(profile.times_s[-1], abs=0.1)
    mean = line.length_m / profile.lap_s
    assert profile.speed.min() < mean < profile.speed.max()


def test_a_loop_is_entered_fast_enough(limits: CarLimits) -> None:
    """Upside down only speed holds the car: the plan must not take the slowest speed that steers for the limit."""
    line = centre_line(load_track("looping"))
    profile = speed_profile(line, limits)
    upside_down = line.up[:, 1] < -0.5
    assert upside_down.any()
    assert (profile.limit[upside_down] > np.sqrt(limits.gravity_mps2 * 14)).all()
