"""What the car does on flat ground: rest, gears, pedals, materials, pads, slides, air."""

from __future__ import annotations

import numpy as np
import pytest

from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.manoeuvres import (
    FORWARD,
    accelerating_mps2,
    drive_inputs,
    flat,
    held,
    launch_kmh,
    rolling_car,
    speeds_kmh,
    turbo_mps2,
)
from tmrl_ray.simulator.proving_ground import Station, car_at, road
from tmrl_ray.simulator.track import Floats, Material
from tmrl_ray.simulator.tuning import CarTuning
from tmrl_ray.simulator.vehicle import settle_car, tick_car

T = CarTuning().arrays
WHEELS = slice(cs.WHEEL_CONTACT, cs.WHEEL_CONTACT + 4)
SLIDING = slice(cs.WHEEL_SLIDING, cs.WHEEL_SLIDING + 4)
ABSORB = slice(cs.WHEEL_ABSORB, cs.WHEEL_ABSORB + 4)
SPIN = slice(cs.SPIN, cs.SPIN + 3)


def pitched(nose_up_rad: float) -> Floats:
    c, s = np.cos(nose_up_rad), np.sin(nose_up_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])


class TestRest:
    def test_stands_as_high_as_in_recorded_races(self) -> None:
        car = car_at()
        settle_car(car, flat(), T, 300)
        assert car[cs.POSITION + 1] == pytest.approx(0.0275, abs=0.001)
        np.testing.assert_allclose(car[ABSORB], 0.016, atol=0.001)
        assert car[WHEELS].tolist() == [1.0] * 4

    def test_is_held_in_place_on_a_slope_while_it_settles(self) -> None:
        slope = road((Station(-50.0, -10.0), Station(50.0, 10.0)))
        car = car_at(0.25, rotation=pitched(np.arctan(0.2)))
        settle_car(car, slope, T, 260)
        assert car[cs.POSITION] == 0.0
        assert car[cs.POSITION + 2] == 0.0

    def test_stands_still_without_inputs(self) -> None:
        car = car_at()
        settle_car(car, flat(), T, 300)
        trace = drive_inputs(car, held(300), flat(), T)
        assert np.abs(trace[-1, FORWARD]) < 1e-3
        assert np.abs(trace[-1, cs.POSITION + 2] - trace[0, cs.POSITION + 2]) < 1e-3


class TestGears:
    def test_first_shift_is_a_plateau_of_028_seconds(self) -> None:
        trace = drive_inputs(rolling_car(T, 90.0), held(80, gas=1.0), flat(), T)
        shifting = trace[:, cs.GEARBOX_STATE] == 1.0
        assert 27 <= shifting.sum() <= 30
        assert np.ptp(speeds_kmh(trace)[shifting]) < 0.8
        assert trace[0, cs.GEAR] == 1.0
        assert trace[-1, cs.GEAR] == 2.0

    @pytest.mark.parametrize(("gear", "speed_kmh"), [(1, 101.7), (2, 162.0), (3, 235.0), (4, 342.0)])
    def test_shifts_up_at_the_speeds_that_players_know(self, gear: int, speed_kmh: float) -> None:
        trace = drive_inputs(rolling_car(T, speed_kmh - 10.0), held(250, gas=1.0), flat(), T)
        last = np.flatnonzero(trace[:, cs.GEAR] == gear)[-1]
        assert speeds_kmh(trace)[last] == pytest.approx(speed_kmh, abs=1.0)
        assert trace[last + 1, cs.GEAR] == gear + 1

    @pytest.mark.parametrize(("gear", "speed_kmh"), [(2, 90.0), (3, 141.0), (4, 198.0), (5, 280.0)])
    def test_shifts_down_while_it_rolls_out(self, gear: int, speed_kmh: float) -> None:
        car = rolling_car(T, speed_kmh + 15.0)
        car[cs.GEAR] = gear
        trace = drive_inputs(car, held(120), flat(), T)
        last = np.flatnonzero(trace[:, cs.GEAR] == gear)[-1]
        assert speeds_kmh(trace)[last] == pytest.approx(speed_kmh, abs=2.5)
        assert trace[last + 1, cs.GEAR] == gear - 1

    def test_standing_start_ends_soon_after_the_gas(self) -> None:
        trace = drive_inputs(car_at(), held(40, gas=1.0), flat(), T)
        assert trace[0, cs.GEARBOX_STATE] == 2.0
        assert trace[-1, cs.GEARBOX_STATE] == 0.0
        assert trace[7, cs.RPM] == pytest.approx(800.0)
        assert trace[29, cs.RPM] == pytest.approx(trace[28, FORWARD] * 370.0, rel=0.1)

    def test_reverse_after_braking_to_a_stand(self) -> None:
        trace = drive_inputs(rolling_car(T, 30.0), held(150, brake=1.0), flat(), T)
        assert trace[-1, cs.GEAR] == 0.0
        assert -60.0 < trace[-1, FORWARD] * 3.6 < -30.0
        again = drive_inputs(trace[-1].copy(), held(300, gas=1.0), flat(), T)
        assert again[-1, cs.GEAR] >= 1.0
        assert again[-1, FORWARD] > 10.0


class TestPedals:
    def test_flat_run_from_standstill(self) -> None:
        # The only public flat run, by a model fitted to launches: 57.6, 102, 140, 169, 206 km/h after 1 .. 5 s.
        speeds = speeds_kmh(drive_inputs(car_at(), held(500, gas=1.0), flat(), T))
        np.testing.assert_allclose(speeds[[99, 199, 299, 399, 499]], [57.6, 102.0, 140.0, 169.0, 206.0], rtol=0.02)

    def test_gas_and_brake_together_slow_less_than_the_brake_alone(self) -> None:
        both = drive_inputs(rolling_car(T, 200.0), held(50, gas=1.0, brake=1.0), flat(), T)[-1, FORWARD]
        brake = drive_inputs(rolling_car(T, 200.0), held(50, brake=1.0), flat(), T)[-1, FORWARD]
        assert brake < both < 200.0 / 3.6 - 5.0

    def test_brake_and_gas_hold_a_standing_car(self) -> None:
        trace = drive_inputs(rolling_car(T, 20.0), held(200, gas=1.0, brake=1.0), flat(), T)
        assert trace[-1, FORWARD] < trace[0, FORWARD] + 10.0

    def test_speed_limit_of_1000_kmh(self) -> None:
        car = rolling_car(T, 1005.0)
        trace = drive_inputs(car, held(100, gas=1.0), flat(), T)
        assert speeds_kmh(trace)[-1] == pytest.approx(1000.0, abs=2.0)

    def test_steering_follows_within_50_ms(self) -> None:
        car = rolling_car(T, 100.0)
        seen = []
        for _ in range(6):
            tick_car(car, 1.0, 0.0, 1.0, flat(), T)
            seen.append(car[cs.STEER])
        np.testing.assert_allclose(seen, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0], atol=1e-12)

    def test_right_turns_right(self) -> None:
        trace = drive_inputs(rolling_car(T, 100.0), held(50, gas=1.0, steer=1.0), flat(), T)
        assert trace[-1, cs.POSITION] < trace[0, cs.POSITION] - 1.0

    def test_standing_car_does_not_turn(self) -> None:
        trace = drive_inputs(rolling_car(T, 0.0), held(100, steer=1.0), flat(), T)
        assert np.abs(trace[:, cs.TURNING_RATE]).max() < 1e-6


class TestMaterials:
    @pytest.mark.parametrize(
        ("material", "grip_share", "push_share"),
        [(Material.DIRT, 0.25, 0.9), (Material.GRASS, 0.15, 0.4), (Material.ICE, 0.0, 0.1)],
    )
    def test_surface_weakens_engine_and_grip(self, material: Material, grip_share: float, push_share: float) -> None:
        ground = flat(material)
        push = drive_inputs(rolling_car(T, 60.0, material=material), held(10, gas=1.0), ground, T)
        gained = (push[-1, FORWARD] - push[0, FORWARD]) / 0.09
        band = 11.0 if material is Material.GRASS else 16.0  # grass halves the speed axis: 60 counts as 120 km/h
        assert gained == pytest.approx(push_share * band, rel=0.1)
        car = rolling_car(T, 250.0, material=material)
        turn = drive_inputs(car, held(30, gas=1.0, steer=1.0), ground, T)
        sideways = np.abs(np.diff(turn[:, cs.VELOCITY])).max() / 0.01
        assert turn[-1, SLIDING].sum() == 4.0
        assert sideways < grip_share * 4.0 * 80.0 + 20.0  # a slide still gives 1.8 % of the overflow

    def test_brakes_hardly_work_on_grass_and_not_at_all_on_ice(self) -> None:
        left = {}
        for material in (Material.ASPHALT, Material.GRASS, Material.ICE):
            car = rolling_car(T, 150.0, material=material)
            left[material] = drive_inputs(car, held(50, gas=0.5, brake=1.0), flat(material), T)[-1, FORWARD]
        assert left[Material.ASPHALT] < left[Material.GRASS] < left[Material.ICE]

    def test_dirt_shakes_the_car_and_asphalt_does_not(self) -> None:
        shaken = drive_inputs(rolling_car(T, 150.0, material=Material.DIRT), held(100, gas=1.0), flat(Material.DIRT), T)
        smooth = drive_inputs(rolling_car(T, 150.0), held(100, gas=1.0), flat(), T)
        assert np.diff(shaken[:, ABSORB], axis=0).std() > 10.0 * np.diff(smooth[:, ABSORB], axis=0).std()
        assert np.ptp(shaken[:, cs.POSITION + 1]) > 2.0 * np.ptp(smooth[:, cs.POSITION + 1])
        assert shaken[:, WHEELS].mean() > 0.9

    def test_material_is_noted_for_each_wheel(self) -> None:
        ground = road((Station(-50.0, 0.0), Station(0.5, 0.0, Material.DIRT), Station(50.0, 0.0)))
        car = car_at()
        settle_car(car, ground, T, 5)
        materials = car[cs.WHEEL_MATERIAL : cs.WHEEL_MATERIAL + 4]
        assert materials.tolist() == [Material.DIRT, Material.DIRT, Material.ASPHALT, Material.ASPHALT]


class TestPads:
    @pytest.mark.parametrize(("speed_kmh", "band"), [(125.0, 11.0), (300.0, 7.0), (420.0, 5.5)])
    def test_yellow_pad_adds_five_times_the_acceleration(self, speed_kmh: float, band: float) -> None:
        assert turbo_mps2(T, speed_kmh) == pytest.approx(6.0 * band, rel=0.03)
        assert accelerating_mps2(T, speed_kmh) == pytest.approx(band, rel=0.03)

    @pytest.mark.parametrize(("pad", "ticks", "times"), [(Material.TURBO, 25, 5.0), (Material.TURBO2, 10, 20.0)])
    def test_turbo_lasts_for_a_while_after_the_pad(self, pad: Material, ticks: int, times: float) -> None:
        ground = road((Station(-50.0, 0.0), Station(10.0, 0.0, pad), Station(14.0, 0.0), Station(900.0, 0.0)))
        trace = drive_inputs(rolling_car(T, 300.0), held(100, gas=1.0), ground, T)
        on_pad = (trace[:, cs.WHEEL_MATERIAL : cs.WHEEL_MATERIAL + 4] == pad).any(axis=1)
        after = trace[np.flatnonzero(on_pad)[-1] + 1 :]
        running = after[:, cs.TURBO_TICKS_LEFT] > 0.0
        assert running.sum() == ticks - 1
        assert (after[running, cs.TURBO_KIND] == pad).all()
        gain = np.diff(after[: ticks - 2, FORWARD]).mean() / 0.01
        assert gain == pytest.approx(7.0 * (1.0 + times), rel=0.25)
        assert (after[~running, cs.TURBO_KIND] == 0.0).all()

    def test_free_wheel_pad_turns_the_engine_off_for_good(self) -> None:
        pad = Material.FREE_WHEELING
        ground = road((Station(-50.0, 0.0), Station(10.0, 0.0, pad), Station(14.0, 0.0), Station(900.0, 0.0)))
        trace = drive_inputs(rolling_car(T, 200.0), held(200, gas=1.0), ground, T)
        assert trace[-1, cs.FREE_WHEELING] == 1.0
        assert trace[-1, cs.GAS] == 0.0
        assert trace[-1, FORWARD] < trace[50, FORWARD] - 10.0


class TestSlides:
    def test_brake_in_a_full_turn_starts_a_slide_and_a_gentle_turn_does_not(self) -> None:
        def sliding(steer: float) -> float:
            inputs = np.concatenate([held(60, gas=1.0, steer=steer), held(20, gas=1.0, brake=1.0, steer=steer)])
            return float(drive_inputs(rolling_car(T, 300.0), inputs, flat(), T)[-1, SLIDING].sum())

        assert sliding(1.0) == 4.0
        assert sliding(0.2) == 0.0

    def test_no_slide_by_brake_at_low_speed(self) -> None:
        inputs = np.concatenate([held(60, gas=1.0, steer=1.0), held(20, gas=1.0, brake=1.0, steer=1.0)])
        assert drive_inputs(rolling_car(T, 90.0), inputs, flat(), T)[-1, SLIDING].sum() == 0.0

    def test_slide_drifts_and_ends_when_the_wheel_is_straight(self) -> None:
        turn = held(60, gas=1.0, steer=1.0)
        tap = held(25, gas=1.0, brake=1.0, steer=1.0)
        trace = drive_inputs(rolling_car(T, 350.0), np.concatenate([turn, tap, held(200, gas=1.0)]), flat(), T)
        assert np.abs(trace[:85, cs.LOCAL_SPEED]).max() > 3.0
        assert trace[-1, cs.IS_SLIDING] == 0.0
        assert np.abs(trace[-1, cs.LOCAL_SPEED]) < 0.5


class TestAir:
    def test_has_drag_and_no_steering(self) -> None:
        car = car_at(500.0, speed_mps=50.0)
        trace = drive_inputs(car, held(100, gas=1.0, steer=1.0), flat(), T)
        assert trace[-1, cs.TURNING_RATE] == 0.0
        assert trace[-1, FORWARD] == pytest.approx(50.0 * (1.0 - 0.03 * 0.01) ** 100, rel=1e-9)
        assert trace[-1, cs.AIR_TICKS] == 100.0

    def test_brake_stops_a_rising_nose_and_not_a_falling_one(self) -> None:
        for pitch, stopped in ((-2.0, True), (2.0, False)):
            car = car_at(500.0)
            car[cs.SPIN] = pitch
            tick_car(car, 0.0, 1.0, 0.0, flat(), T)
            assert bool(car[cs.SPIN] == 0.0) is stopped

    def test_spin_decays_and_faster_when_steering_with_it(self) -> None:
        left = {}
        for steer in (0.0, -1.0, 1.0):
            car = car_at(500.0)
            car[cs.SPIN + 1] = 3.0
            left[steer] = drive_inputs(car, held(50, steer=steer), flat(), T)[-1, cs.SPIN + 1]
        assert left[-1.0] < left[0.0] < 3.0
        assert left[1.0] == left[0.0]

    def test_launch_from_a_drop_equals_the_recorded_start(self) -> None:
        assert launch_kmh(T, 30)[8] == pytest.approx(9.0, abs=1.0)  # a ghost at 0.1 s: 9.0 km/h, mostly downwards
