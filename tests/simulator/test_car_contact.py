"""The car against what stands in its way: loops, jumps, walls, roofs, bridges, and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.manoeuvres import FORWARD, drive_inputs, flat, held, speeds_kmh
from tmrl_ray.simulator.proving_ground import Station, car_at, road
from tmrl_ray.simulator.track import ContactArrays, Floats, Material, build_contacts
from tmrl_ray.simulator.tuning import KMH_PER_MPS, CarTuning
from tmrl_ray.simulator.vehicle import settle_car

T = CarTuning().arrays
UP_Y = cs.ROTATION + 4
HEIGHT = cs.POSITION + 1
CONTACT = slice(cs.WHEEL_CONTACT, cs.WHEEL_CONTACT + 4)
LOOP_RADIUS_M, LOOP_SHIFT_M = 20.0, 18.0


def heading(rad: float) -> Floats:
    c, s = np.cos(rad), np.sin(rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def quad(*corners: tuple[float, float, float]) -> list[tuple[tuple[float, float, float], ...]]:
    """Two triangles; the corners run counter-clockwise seen from the front."""
    a, b, c, d = corners
    return [(a, b, c), (a, c, d)]


def ground_with(*triangles: tuple[tuple[float, float, float], ...], size: float = 400.0) -> ContactArrays:
    floor = quad((-size, 0.0, -size), (-size, 0.0, size), (size, 0.0, size), (size, 0.0, -size))
    corners = np.array([*floor, *triangles], dtype=np.float64)
    return build_contacts(corners, np.full(len(corners), Material.ASPHALT, dtype=np.uint8))


def wall_across(
    z: float, *, turned_rad: float = 0.0, height: float = 4.0
) -> list[tuple[tuple[float, float, float], ...]]:
    x, dz = 60.0 * np.cos(turned_rad), 60.0 * np.sin(turned_rad)
    return quad((x, 0.0, z + dz), (-x, 0.0, z - dz), (-x, height, z - dz), (x, height, z + dz))


def settled(ground: ContactArrays, speed_kmh: float, *, rotation: Floats | None = None) -> Floats:
    car = car_at(rotation=rotation)
    settle_car(car, ground, T, 100)
    forward = car[cs.ROTATION + 2 : cs.ROTATION + 9 : 3]
    car[cs.VELOCITY : cs.VELOCITY + 3] += forward * speed_kmh / KMH_PER_MPS
    return car


def loop() -> ContactArrays:
    stations = [Station(-20.0, 0.0), Station(4.0, 0.0)]
    for angle in np.linspace(0.0, 2.0 * np.pi, 81)[1:]:
        z, y = 4.0 + LOOP_RADIUS_M * np.sin(angle), LOOP_RADIUS_M * (1.0 - np.cos(angle))
        stations.append(Station(z, y, x=LOOP_SHIFT_M * angle / (2.0 * np.pi)))
    stations.append(Station(200.0, 0.0, x=LOOP_SHIFT_M * (1.0 + 196.0 / (2.0 * np.pi * LOOP_RADIUS_M))))
    return road(stations, half_width_m=8.5)


class TestLoop:
    aside = np.arctan2(LOOP_SHIFT_M, 2.0 * np.pi * LOOP_RADIUS_M)

    def test_is_driven_through_at_speed(self) -> None:
        trace = drive_inputs(settled(loop(), 200.0, rotation=heading(self.aside)), held(280, gas=1.0), loop(), T)
        top = trace[:, HEIGHT].argmax()
        assert trace[top, UP_Y] < -0.99
        assert trace[:top, CONTACT].mean() > 0.98
        assert trace[-1, HEIGHT] < 0.1
        assert trace[-1, UP_Y] > 0.99
        # 200 km/h less 2 * 29.4 m/s2 * 40 m of height, plus some 7 to 11 m/s2 over 63 m
        assert 120.0 < speeds_kmh(trace)[top] < 165.0

    def test_throws_a_slow_car_off(self) -> None:
        trace = drive_inputs(settled(loop(), 90.0, rotation=heading(self.aside)), held(400, gas=1.0), loop(), T)
        assert trace[:, HEIGHT].max() < 36.0
        assert (trace[:, cs.AIR_TICKS] > 20).any()


class TestJump:
    ramp = (Station(-40.0, 0.0), Station(30.0, 0.0), Station(55.0, 4.0))

    def test_flies_a_parabola_and_lands_on_its_wheels(self) -> None:
        both = build_contacts(
            np.concatenate([road(self.ramp).corners, road((Station(80.0, 0.0), Station(300.0, 0.0))).corners]),
            np.full(6, Material.ASPHALT, dtype=np.uint8),
        )
        trace = drive_inputs(settled(both, 180.0), held(300, gas=1.0), both, T)
        air = np.flatnonzero(trace[:, cs.AIR_TICKS] > 0)
        rising = trace[air[2:-2], cs.VELOCITY + 1]
        np.testing.assert_allclose(np.diff(rising) / 0.01, -24.525 - 0.03 * rising[:-1], atol=0.01)
        assert 0.5 < len(air) * 0.01 < 1.5
        assert trace[-1, UP_Y] > 0.99
        assert trace[-1, CONTACT].sum() == 4.0
        assert trace[-1, HEIGHT] == pytest.approx(0.0275, abs=0.01)

    @pytest.mark.parametrize("height_m", [1.0, 5.0, 20.0, 100.0])
    def test_a_drop_ends_at_the_stop_and_does_not_bounce(self, height_m: float) -> None:
        car = car_at(height_m, speed_mps=40.0)
        trace = drive_inputs(car, held(500), flat(), T)
        landed = int(trace[:, HEIGHT].argmin())
        assert trace[landed, HEIGHT] == pytest.approx(0.0165, abs=1e-4)
        assert trace[landed:, HEIGHT].max() < 0.05
        assert trace[landed, FORWARD] > 40.0 * 0.97 ** (landed * 0.01) - 1.0

    def test_a_landing_on_a_slope_costs_the_speed_into_it(self) -> None:
        slope = road((Station(-50.0, -25.0), Station(400.0, 200.0)))
        car = car_at(3.0, speed_mps=40.0)
        before = car[cs.VELOCITY : cs.VELOCITY + 3].copy()
        trace = drive_inputs(car, held(60), slope, T)
        along = np.array([0.0, 0.5, 1.0]) / np.sqrt(1.25)
        landed = np.flatnonzero(trace[:, CONTACT].sum(axis=1) == 4.0)[0] + 5
        assert speeds_kmh(trace)[landed] / KMH_PER_MPS == pytest.approx(before @ along, rel=0.15)


class TestWalls:
    def test_frontal_hit_throws_back_half_the_speed(self) -> None:
        # Measured on a real crash: 107 km/h, two ticks later 53 km/h.
        ground = ground_with(*wall_across(6.0))
        trace = drive_inputs(settled(ground, 107.0), held(60, gas=1.0), ground, T)
        hit = int(np.argmax(trace[:, cs.LATERAL_CONTACT]))
        speeds = speeds_kmh(trace)
        assert speeds[hit - 1] > 107.0
        assert speeds[hit + 2] == pytest.approx(53.0, abs=5.0)
        assert trace[hit + 2, FORWARD] < 0.0
        assert np.abs(trace[: hit + 2, cs.TURNING_RATE]).max() < 1e-9
        assert trace[:, cs.POSITION + 2].max() < 6.0 - 2.0

    @pytest.mark.parametrize("turned_deg", [60.0, 75.0, 85.0])
    def test_glancing_hit_keeps_the_speed_along_the_wall(self, turned_deg: float) -> None:
        turned = np.radians(turned_deg)
        ground = ground_with(*wall_across(12.0, turned_rad=turned))
        trace = drive_inputs(settled(ground, 200.0), held(100), ground, T)
        hit = int(np.argmax(trace[:, cs.LATERAL_CONTACT]))
        assert trace[hit, cs.LATERAL_CONTACT] == 1.0
        along, into = np.sin(turned), np.cos(turned)
        speed = speeds_kmh(trace)[hit - 1]
        assert speeds_kmh(trace)[hit + 1] > speed * (along - 0.3 * 1.5 * into) - 3.0
        assert trace[hit + 80, UP_Y] > 0.98

    def test_slow_down_goes_on_for_half_a_second(self) -> None:
        ground = ground_with(*wall_across(12.0, turned_rad=np.radians(80.0)))
        trace = drive_inputs(settled(ground, 200.0), held(150, gas=1.0), ground, T)
        left = trace[:, cs.WALL_TICKS_LEFT]
        assert left.max() == 50.0
        slowed = np.diff(trace[:, FORWARD]) / 0.01
        last = int(np.flatnonzero(trace[:, cs.LATERAL_CONTACT])[-1])
        assert slowed[last + 3 : last + 40].max() < -10.0
        assert slowed[last + 60 : last + 80].min() > -1.0

    @pytest.mark.parametrize("speed_kmh", [90.0, 300.0, 600.0, 1000.0])
    def test_no_speed_passes_through_a_wall(self, speed_kmh: float) -> None:
        ground = ground_with(*wall_across(40.0, height=30.0))
        trace = drive_inputs(settled(ground, speed_kmh), held(200, gas=1.0), ground, T)
        assert trace[:, cs.POSITION + 2].max() < 40.0 - 1.9
        assert trace[:, cs.LATERAL_CONTACT].any()

    def test_back_of_a_wall_is_not_solid(self) -> None:
        (a, b, c), (_, _, d) = wall_across(20.0)
        ground = ground_with((c, b, a), (d, c, a))
        trace = drive_inputs(settled(ground, 100.0), held(100, gas=1.0), ground, T)
        assert not trace[:, cs.LATERAL_CONTACT].any()
        assert trace[-1, cs.POSITION + 2] > 25.0

    def test_a_kerb_is_driven_over_and_a_step_is_not(self) -> None:
        for height, passes in ((0.12, True), (0.9, False)):
            step = [
                *quad((60.0, 0.0, 15.0), (-60.0, 0.0, 15.0), (-60.0, height, 15.0), (60.0, height, 15.0)),
                *quad((-60.0, height, 15.0), (-60.0, height, 80.0), (60.0, height, 80.0), (60.0, height, 15.0)),
            ]
            ground = ground_with(*step)
            trace = drive_inputs(settled(ground, 60.0), held(120, gas=1.0), ground, T)
            assert bool(trace[-1, cs.POSITION + 2] > 20.0) is passes


class TestPlaces:
    bridge = quad((-20.0, 5.0, -80.0), (-20.0, 5.0, 80.0), (20.0, 5.0, 80.0), (20.0, 5.0, -80.0))
    under = quad((20.0, 4.6, -80.0), (20.0, 4.6, 80.0), (-20.0, 4.6, 80.0), (-20.0, 4.6, -80.0))

    def test_two_roads_above_each_other(self) -> None:
        ground = ground_with(*self.bridge, *self.under)
        below = drive_inputs(settled(ground, 100.0), held(150, gas=1.0), ground, T)
        assert below[:, HEIGHT].max() < 0.1
        car = car_at(5.21, speed_mps=20.0)
        above = drive_inputs(car, held(150, gas=1.0), ground, T)
        assert above[:, HEIGHT].min() > 5.0
        assert above[-1, HEIGHT] < 5.1

    def test_a_jump_under_a_bridge_hits_its_underside(self) -> None:
        ground = ground_with(*self.bridge, *self.under)
        car = car_at(1.0)
        car[cs.VELOCITY + 1] = 30.0
        trace = drive_inputs(car, held(300), ground, T)
        hit = int(np.argmax(trace[:, cs.LATERAL_CONTACT]))
        assert trace[hit, HEIGHT] == pytest.approx(4.6 - 1.1, abs=0.2)
        assert trace[hit, cs.VELOCITY + 1] < 0.0
        assert trace[:, HEIGHT].max() < 4.6

    @pytest.mark.parametrize("falling_mps", [30.0, 120.0, 270.0])
    def test_thin_road_stops_a_fall(self, falling_mps: float) -> None:
        ground = ground_with(*self.bridge, *self.under)
        car = car_at(150.0)
        car[cs.VELOCITY + 1] = -falling_mps
        trace = drive_inputs(car, held(600), ground, T)
        assert trace[:, HEIGHT].min() > 5.0
        assert trace[-1, HEIGHT] == pytest.approx(5.0275, abs=0.01)

    def test_steep_ramp_at_full_speed_is_not_passed_through(self) -> None:
        ramp = quad((-30.0, 0.0, 60.0), (-30.0, 40.0, 110.0), (30.0, 40.0, 110.0), (30.0, 0.0, 60.0))
        ground = ground_with(*ramp)
        trace = drive_inputs(settled(ground, 900.0), held(60, gas=1.0), ground, T)
        z, y = trace[:, cs.POSITION + 2], trace[:, HEIGHT]
        on_ramp = (z > 60.0) & (z < 110.0)
        assert (y[on_ramp] > (z[on_ramp] - 60.0) * 0.8 - 1.0).all()

    def test_a_car_on_its_roof_stays_there(self) -> None:
        car = car_at(1.5, rotation=np.diag([-1.0, -1.0, 1.0]))
        trace = drive_inputs(car, held(800, gas=1.0, steer=1.0), flat(), T)
        assert trace[-1, UP_Y] < -0.99
        assert trace[-1, HEIGHT] == pytest.approx(1.1, abs=0.02)
        assert speeds_kmh(trace)[-1] < 1.5

    def test_outside_the_grid_the_car_falls(self) -> None:
        car = car_at(0.21)
        car[cs.POSITION] = 1e7
        trace = drive_inputs(car, held(100, gas=1.0), flat(), T)
        assert trace[-1, HEIGHT] < -10.0
        assert np.isfinite(trace).all()


@pytest.fixture(scope="module")
def rubble() -> ContactArrays:
    """Random hills of 4 m squares, up to 6 m high, with random materials."""
    random = np.random.default_rng(13)
    n = 31
    x, z = np.meshgrid(np.arange(n) * 4.0 - 60.0, np.arange(n) * 4.0 - 60.0, indexing="ij")
    y = random.uniform(0.0, 6.0, size=(n, n)) * (random.uniform(size=(n, n)) < 0.35)
    p = np.stack([x, y, z], axis=-1)
    a, b, c, d = p[:-1, :-1], p[:-1, 1:], p[1:, 1:], p[1:, :-1]
    corners = np.concatenate(
        [np.stack([a, b, c], axis=2).reshape(-1, 3, 3), np.stack([a, c, d], axis=2).reshape(-1, 3, 3)]
    )
    kinds = np.array([material for material in Material], dtype=np.uint8)
    return build_contacts(corners, random.choice(kinds, size=len(corners)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), speed=st.floats(-40.0, 250.0), spin=st.floats(-20.0, 20.0))
def test_no_input_makes_the_car_anything_but_a_car(rubble: ContactArrays, seed: int, speed: float, spin: float) -> None:
    random = np.random.default_rng(seed)
    car = car_at(random.uniform(0.0, 12.0), speed_mps=speed, rotation=heading(random.uniform(0.0, 6.28)))
    car[cs.SPIN : cs.SPIN + 3] = random.uniform(-1.0, 1.0, 3) * spin
    keys = np.repeat(random.integers(-1, 2, size=(100, 3)), 20, axis=0).astype(float)
    inputs = np.stack([keys[:, 0] > 0, keys[:, 1] > 0, keys[:, 2]], axis=1).astype(float)
    trace = drive_inputs(car, inputs, rubble, T)
    assert np.isfinite(trace).all()
    assert speeds_kmh(trace).max() < 1100.0 + 2.0 * 3.6 * 25.0 * 20.0
    assert np.sqrt((trace[:, cs.SPIN : cs.SPIN + 3] ** 2).sum(axis=1)).max() <= 60.0
    norms = np.sqrt((trace[:, cs.QUATERNION : cs.QUATERNION + 4] ** 2).sum(axis=1))
    np.testing.assert_allclose(norms, 1.0, atol=1e-12)
    absorb = trace[:, cs.WHEEL_ABSORB : cs.WHEEL_ABSORB + 4]
    assert absorb.min() >= 0.005
    assert absorb.max() <= 0.2
