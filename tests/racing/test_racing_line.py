"""The optimised line: where it may go, what it is made of, and that it does what least curvature should."""

from __future__ import annotations

import numpy as np
import pytest

from tmrl_ray.racing.car_limits import CarLimits, measure_limits
from tmrl_ray.racing.driving_line import DrivingLine, centre_line
from tmrl_ray.racing.racing_line import EDGE_M, optimise_line
from tmrl_ray.racing.speed_profile import speed_profile
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.track import Material
from tmrl_ray.simulator.tuning import CarTuning


@pytest.fixture(scope="module")
def limits() -> CarLimits:
    return measure_limits(CarTuning())


def chicane(half_width: float) -> DrivingLine:
    """A road that swerves 5 m to the left and back, in the middle of a straight of 300 m."""
    z = np.arange(0.0, 300.0, 2.0)
    x = 5.0 * np.exp(-(((z - 150.0) / 25.0) ** 2))
    n = len(z)
    return DrivingLine(
        points=np.stack((x, 0 * z, z), axis=1),
        up=np.tile((0.0, 1.0, 0.0), (n, 1)),
        half_width=np.full(n, half_width),
        materials=np.full(n, int(Material.ASPHALT)),
    )


def test_a_wide_road_is_driven_straight(limits: CarLimits) -> None:
    line = optimise_line(chicane(11.0), limits, bumps=0).line
    assert np.abs(line.bend).max() < 0.15 * np.abs(chicane(11.0).bend).max()


def test_a_narrow_road_leaves_no_choice(limits: CarLimits) -> None:
    best = optimise_line(chicane(EDGE_M), limits, bumps=20)
    assert (best.offsets == 0).all()


def test_a_bend_is_taken_from_the_outside_over_the_inside(limits: CarLimits) -> None:
    middle = centre_line(load_track("hairpin"))
    best = optimise_line(middle, limits, bumps=0)
    first = np.flatnonzero(middle.bend > 0.03)
    apex = best.offsets[first].max()
    entry = best.offsets[first[0] - 25 : first[0] - 5].min()
    assert apex > 3.0
    assert entry < -1.0
    assert best.profile.lap_s < 0.97 * speed_profile(middle, limits).lap_s


def test_a_jump_is_taken_in_the_middle(limits: CarLimits) -> None:
    middle = centre_line(load_track("full"))
    best = optimise_line(middle, limits, bumps=0)
    flying = speed_profile(middle, limits).flying
    assert np.abs(best.offsets[flying]).max() <= 0.3 + 1e-9
    assert np.abs(best.offsets).max() > 2.0


def test_a_closed_line_stays_closed(limits: CarLimits) -> None:
    best = optimise_line(centre_line(load_track("oval")), limits, bumps=5)
    gap = np.linalg.norm(best.line.points[0] - best.line.points[-1])
    assert gap < 2 * np.median(best.line.spacing)
    assert abs(best.offsets[0] - best.offsets[-1]) < 0.5
