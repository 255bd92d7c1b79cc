"""Scripted manoeuvres on the proving ground, each of which ends in the figure that was measured on the real car.

The real figures stand in :mod:`calibrate`, next to the tolerance that each allows. Everything here is a pure function
of the tuning.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tmrl_ray.simulator.car_state import (
    CAR_SIZE,
    IS_SLIDING,
    LOCAL_SPEED,
    POSITION,
    ROTATION,
    TURNING_RATE,
    VELOCITY,
    WHEEL_ABSORB,
    CarState,
)
from tmrl_ray.simulator.proving_ground import B13_START, car_at, plane, road
from tmrl_ray.simulator.track import ContactArrays, Floats, Material
from tmrl_ray.simulator.tuning import KMH_PER_MPS, TICK_S, TuningArrays
from tmrl_ray.simulator.vehicle import run_ticks, settle_car, tick_car

FORWARD = LOCAL_SPEED + 2
REST_TICKS = 200
"""Long enough for the suspension to come to rest."""
YAW_TICKS = 120
"""Eight time constants of the yaw rate."""

flat = cache(plane)
start_of_b13 = cache(lambda: road(B13_START))


def rolling_car(tuning: TuningArrays, speed_kmh: float, *, material: Material = Material.ASPHALT) -> CarState:
    """Return a car over the origin that has settled at a speed: its suspension, and the gear of that speed."""
    car = car_at()
    settle_car(car, flat(material), tuning, REST_TICKS)
    _push(car, speed_kmh / KMH_PER_MPS)
    for _ in range(REST_TICKS):  # let the gears follow
        tick_car(car, 1.0, 0.0, 0.0, flat(material), tuning)
        _push(car, speed_kmh / KMH_PER_MPS)
    car[POSITION], car[POSITION + 2] = 0.0, 0.0
    return car


def _push(car: CarState, speed_mps: float) -> None:
    """Give a car a speed along its forward axis; what it does across and upwards stays."""
    forward = car[ROTATION + 2 : ROTATION + 9 : 3]
    velocity = car[VELOCITY : VELOCITY + 3]
    velocity += (speed_mps - (velocity * forward).sum()) * forward


def drive_inputs(car: CarState, inputs: Floats, ground: ContactArrays, tuning: TuningArrays) -> Floats:
    """Return the states (T, CAR_SIZE) of a car under inputs (T, 3) gas, brake, steer."""
    trace = np.empty((len(inputs), CAR_SIZE))
    run_ticks(car, inputs, ground, tuning, trace)
    return trace


def held(ticks: int, *, gas: float = 0.0, brake: float = 0.0, steer: float = 0.0) -> Floats:
    """Return inputs (T, 3) that stay the same."""
    return np.tile(np.array([gas, brake, steer]), (ticks, 1))


def speeds_kmh(trace: Floats) -> Floats:
    """Return the speed of each state (T, CAR_SIZE), km/h."""
    velocity = trace[:, VELOCITY : VELOCITY + 3]
    kmh: Floats = np.sqrt((velocity**2).sum(axis=1)) * KMH_PER_MPS
    return kmh


def launch_kmh(tuning: TuningArrays, ticks: int) -> Floats:
    """Return the speed after each tick of full gas from B13's start: level, 0.65 m down from 5.2 to 17.1 m, level."""
    return speeds_kmh(drive_inputs(car_at(), held(ticks, gas=1.0), start_of_b13(), tuning))


def shift_plateau(tuning: TuningArrays) -> tuple[float, float]:
    """Return speed, km/h, and duration, s, of the shift from first to second gear on B13's start."""
    gains = np.diff(launch_kmh(tuning, 260))
    still = np.flatnonzero(np.abs(gains) < 0.1) + 1
    return float(launch_kmh(tuning, 260)[still[len(still) // 2]]), len(still) * TICK_S


def coasting_mps2(tuning: TuningArrays, speed_kmh: float) -> float:
    """Return the acceleration along the road with the gas released, mean of 0.1 s around a speed."""
    trace = drive_inputs(rolling_car(tuning, speed_kmh * 1.015), held(10), flat(), tuning)
    return float((trace[-1, FORWARD] - trace[0, FORWARD]) / (9 * TICK_S))


def braking_kmh(tuning: TuningArrays, speed_kmh: float, duration_s: float) -> float:
    """Return the speed that is left after braking for a while, gas released, straight on."""
    ticks = round(duration_s / TICK_S)
    trace = drive_inputs(rolling_car(tuning, speed_kmh), held(ticks, brake=1.0), flat(), tuning)
    return float(trace[-1, FORWARD] * KMH_PER_MPS)


def accelerating_mps2(tuning: TuningArrays, speed_kmh: float) -> float:
    """Return the acceleration at full gas, mean of 0.2 s from a speed on."""
    trace = drive_inputs(rolling_car(tuning, speed_kmh), held(20, gas=1.0), flat(), tuning)
    return float((trace[-1, FORWARD] - trace[0, FORWARD]) / (19 * TICK_S))


def full_lock(tuning: TuningArrays, speed_kmh: float, *, steer: float = -1.0, ticks: int = YAW_TICKS) -> CarState:
    """Return a car in a steady turn at full gas, held at its speed as by a perfect driver."""
    car = rolling_car(tuning, speed_kmh)
    speed_mps = speed_kmh / KMH_PER_MPS
    for _ in range(ticks):
        tick_car(car, 1.0, 0.0, steer, flat(), tuning)
        velocity = car[VELOCITY : VELOCITY + 3]
        velocity *= speed_mps / np.sqrt((velocity**2).sum())
    return car


def yaw_rate(tuning: TuningArrays, speed_kmh: float) -> float:
    """Return the steady yaw rate at full lock, rad/s."""
    return float(full_lock(tuning, speed_kmh)[TURNING_RATE])


def yaw_time_constant_s(tuning: TuningArrays, speed_kmh: float) -> float:
    """Return when the yaw rate reaches 63 % of its steady value after full lock, less the mean lag of the steering."""
    steady = yaw_rate(tuning, speed_kmh)
    trace = drive_inputs(rolling_car(tuning, speed_kmh), held(60, gas=1.0, steer=-1.0), flat(), tuning)
    crossing = int(np.argmax(trace[:, TURNING_RATE] >= 0.632 * steady))
    before, after = trace[crossing - 1, TURNING_RATE], trace[crossing, TURNING_RATE]
    ticks = crossing + (0.632 * steady - before) / (after - before)
    return float(ticks * TICK_S - 0.5 / 20.0)


def slide_onset_kmh(tuning: TuningArrays) -> float:
    """Return the lowest of the speeds 300, 305, ... km/h at which a full turn makes a wheel slide."""
    for speed_kmh in range(300, 600, 5):
        if full_lock(tuning, speed_kmh)[IS_SLIDING] > 0.0:
            return float(speed_kmh)
    return 600.0


def turbo_mps2(tuning: TuningArrays, speed_kmh: float) -> float:
    """Return the acceleration at full gas on turbo pads, mean of 0.1 s from a speed on."""
    car = rolling_car(tuning, speed_kmh)
    trace = drive_inputs(car, held(11, gas=1.0), flat(Material.TURBO), tuning)
    return float((trace[-1, FORWARD] - trace[0, FORWARD]) / (10 * TICK_S))


def turbo_front_travel_m(tuning: TuningArrays) -> float:
    """Return the mean travel of the front wheels from 0.2 to 1.0 s after B13's first turbo pad."""
    trace = drive_inputs(car_at(), held(370, gas=1.0), start_of_b13(), tuning)
    return float(trace[280:370, WHEEL_ABSORB : WHEEL_ABSORB + 2].mean())


def turning_inner_travel_m(tuning: TuningArrays) -> float:
    """Return the travel of the inner wheels in a turn to the left with half lock at 486 km/h."""
    car = full_lock(tuning, 486.0, steer=-0.5)
    return float(0.5 * (car[WHEEL_ABSORB] + car[WHEEL_ABSORB + 3]))


def falling_mps2(tuning: TuningArrays) -> float:
    """Return the downward acceleration of a car that flies level at 200 km/h, mean of its first 0.5 s."""
    car = car_at(1000.0, speed_mps=200.0 / KMH_PER_MPS)
    trace = drive_inputs(car, held(51), flat(), tuning)
    return float((trace[0, VELOCITY + 1] - trace[-1, VELOCITY + 1]) / (50 * TICK_S))
