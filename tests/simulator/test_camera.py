"""The cameras: where the issue puts them, and sensible whatever the car does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.simulator.posed_car import car_on_road
from tests.simulator.street import street
from tmrl_ray.simulator import camera as cam
from tmrl_ray.simulator import car_state as cs

Floats = NDArray[np.float64]
CHASE = (cam.FAR_CHASE, cam.NEAR_CHASE)
EVERY = (*CHASE, cam.INTERNAL)


def pose_of(car: cs.CarState, number: int) -> Floats:
    pose = np.full(cam.POSE_SIZE, np.nan)
    cam.camera_pose(car, number, pose)
    assert np.isfinite(pose).all()
    return pose


def axes(pose: Floats) -> Floats:
    """(3, 3): rows right, up, forward."""
    return pose[cam.RIGHT : cam.RIGHT + 9].reshape(3, 3)


def car_at(rotation: Floats, velocity: Floats, spin: Floats | None = None) -> cs.CarState:
    car = cs.at_rest(np.array([11.0, 7.0, -5.0]), rotation)
    car[cs.VELOCITY : cs.VELOCITY + 3] = velocity
    car[cs.SPIN : cs.SPIN + 3] = np.zeros(3) if spin is None else spin
    return car


def pitched(angle_rad: float) -> Floats:
    """The rotation of a car that faces +z with its nose raised."""
    up, forward = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1.0, 0, 0], [0, up, forward], [0, -forward, up]])


def test_near_chase_is_where_the_game_has_it() -> None:
    car = car_at(np.eye(3), np.zeros(3))
    pose = pose_of(car, cam.NEAR_CHASE)
    np.testing.assert_allclose(pose[:3] - car[:3], [0, 3.0, -7.5])
    ahead = car[:3] + [0, 0.8, 3.0] - pose[:3]
    np.testing.assert_allclose(np.cross(ahead, pose[cam.FORWARD : cam.FORWARD + 3]), 0, atol=0.03)


@pytest.mark.parametrize("number", EVERY)
def test_axes_are_a_right_handed_frame_with_left_at_the_left(number: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation[:, 0] *= np.sign(np.linalg.det(rotation))
        right, up, forward = axes(pose_of(car_at(rotation, rng.normal(size=3) * 40, rng.normal(size=3)), number))
        np.testing.assert_allclose(
            np.stack([right, up, forward]) @ np.stack([right, up, forward]).T, np.eye(3), atol=1e-9
        )
        np.testing.assert_allclose(np.cross(forward, up), right, atol=1e-9)
        np.testing.assert_allclose(right, -rotation[:, 0], atol=1e-12)


@pytest.mark.parametrize("number", EVERY)
def test_view_turns_with_the_car_upside_down_too(number: int) -> None:
    velocity, spin = np.array([1.0, 2.0, 45.0]), np.array([-0.7, 0.2, 0.1])
    straight = pose_of(car_at(np.eye(3), velocity, spin), number)
    over = np.diag([-1.0, -1.0, 1.0])  # rolled by half a turn
    rolled = pose_of(car_at(over, over @ velocity, over @ spin), number)
    centre = np.array([11.0, 7.0, -5.0])
    np.testing.assert_allclose(rolled[:3] - centre, over @ (straight[:3] - centre), atol=1e-12)
    np.testing.assert_allclose(axes(rolled), axes(straight) @ over, atol=1e-12)


def test_field_widens_with_speed_from_70_to_90_degrees() -> None:
    speeds = (0.0, 20.0, 60.0, 110.0, 250.0)
    fields = [
        np.degrees(2 * np.arctan(pose_of(car_at(np.eye(3), np.array([0, 0, v])), 2)[cam.TAN_HALF_WIDTH]))
        for v in speeds
    ]
    np.testing.assert_allclose([fields[0], fields[3], fields[4]], [70, 90, 90], atol=1e-6)
    assert fields[0] < fields[1] < fields[2] < fields[3]


@pytest.mark.parametrize("number", CHASE)
def test_raised_nose_in_flight_does_not_sink_the_eye(number: int) -> None:
    level = pose_of(car_at(np.eye(3), np.array([0, 0, 50.0])), number)
    raised = pose_of(car_at(pitched(np.radians(30)), np.array([0, 0, 50.0])), number)
    np.testing.assert_allclose(raised[:3], level[:3], atol=1e-9)


@pytest.mark.parametrize("number", CHASE)
@pytest.mark.parametrize("radius_m", [10.0, 14.0, 25.0])
def test_eye_stays_inside_a_loop(number: int, radius_m: float) -> None:
    speed = 30.0
    car = car_at(np.eye(3), np.array([0, 0, speed]), np.array([-speed / radius_m, 0, 0]))
    centre = car[:3] + [0, radius_m, 0]
    assert np.linalg.norm(pose_of(car, number)[:3] - centre) < radius_m - 0.5


def test_eye_does_not_bob_on_a_flat_road() -> None:
    car = car_at(np.eye(3), np.array([0, 0, 40.0]), np.array([-0.3, 0, 0]))
    still = car_at(np.eye(3), np.array([0, 0, 40.0]))
    np.testing.assert_array_equal(pose_of(car, 2), pose_of(still, 2))


@pytest.mark.parametrize("number", EVERY)
def test_standstill_and_reverse_leave_the_rig_rigid(number: int) -> None:
    still = pose_of(car_at(np.eye(3), np.zeros(3)), number)
    for velocity in ([0.3, -0.4, 0.5], [0, 2.0, -8.0]):
        moving = pose_of(car_at(np.eye(3), np.array(velocity)), number)
        np.testing.assert_array_equal(moving[: cam.TAN_HALF_WIDTH], still[: cam.TAN_HALF_WIDTH])


def test_pose_depends_on_the_state_alone() -> None:
    track = street()
    cars = [car_on_road(track, distance) for distance in (20.0, 150.0, 20.0)]
    before = [car.copy() for car in cars]
    poses = [pose_of(car, 2) for car in cars]
    np.testing.assert_array_equal(poses[0], poses[2])
    np.testing.assert_array_equal(cars, before)
