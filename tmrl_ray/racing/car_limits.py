"""What the car can do, measured on flat ground: how hard it pushes, slows down and turns, at each speed.

The speed profile plans with these tables. They are read off the simulated car itself, in a fraction of a second, so
that they hold for any :class:`CarTuning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.car_state import CAR_SIZE, IS_SLIDING, LOCAL_SPEED, TURNING_RATE
from tmrl_ray.simulator.proving_ground import Station, car_at, plane, road
from tmrl_ray.simulator.track import ContactArrays, Material
from tmrl_ray.simulator.tuning import GRAVITY_MPS2, TICK_S, CarTuning
from tmrl_ray.simulator.vehicle import run_ticks, settle_car

Floats = NDArray[np.float64]

TOP_MPS: Final = 160.0
"""The tables end here, 576 km/h: more than any recorded race of the Stadium car shows."""
STEP_MPS: Final = 0.5
"""Between two rows of a table."""
SPEEDS: Final = np.arange(0.0, TOP_MPS + STEP_MPS, STEP_MPS)
"""(V,) m/s, the rows of every table."""

_STANDS_IN: Final = {
    Material.DIRT_ROAD: Material.DIRT,
    Material.TURBO: Material.ASPHALT,
    Material.TURBO2: Material.ASPHALT,
    Material.FREE_WHEELING: Material.ASPHALT,
}
"""Measured in place of materials on which a car does not go on steadily, or that behave alike."""
_STRAIGHT_M: Final = 9000.0
_SQUARE_M: Final = 300.0
_SETTLE_TICKS: Final = 60
_PUSH_TICKS: Final = 7000
_SLOW_TICKS: Final = 2500
_TURN_TICKS: Final = 100
_TURN_SPEEDS: Final = (3.0, 6.0, 10.0, 15.0, 20.0, 30.0, 40.0, 55.0, 70.0, 85.0, 100.0, 115.0, 130.0, 145.0)
_LEAST_PUSH: Final = 0.1
"""m/s2: stands where a car does not get to in ``_PUSH_TICKS``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SurfaceLimits:
    """What the car can do on one material. V rows, see ``SPEEDS``."""

    push: Floats
    """(V,) m/s2 at full gas, the pauses of the gearbox included."""
    coast: Floats
    """(V,) m/s2 of slow-down with nothing pressed."""
    brake: Floats
    """(V,) m/s2 of slow-down with the brake pressed."""
    turn: Floats
    """(V,) rad/s: the fastest steady yaw rate at which no wheel slides."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CarLimits:
    """What the car can do."""

    surfaces: dict[int, SurfaceLimits]
    """By contact material id."""
    lock: Floats
    """(V,) rad/s: the steady yaw rate at full lock on asphalt."""
    yaw_lag_s: float
    """Seconds until the yaw rate has come 63 % of the way to what full lock asks for."""
    gravity_mps2: float
    """On the ground."""
    air_gravity_mps2: float
    """In the air."""
    boost: Floats
    """(V,) m/s2 that a turbo adds, gas or not."""
    boost_s: float
    """For so long after its pad."""


@lru_cache(maxsize=8)
def measure_limits(tuning: CarTuning) -> CarLimits:
    """Measure what a car can do on each material."""
    kinds = [kind for kind in Material if kind not in _STANDS_IN]
    measured = {int(kind): _measure_surface(tuning, kind) for kind in kinds}
    surfaces = measured | {int(kind): measured[int(other)] for kind, other in _STANDS_IN.items()}
    asphalt = plane(Material.ASPHALT, half_size_m=_SQUARE_M)
    rates = [abs(_turned(tuning, asphalt, speed, 1.0)[-1, TURNING_RATE]) for speed in _TURN_SPEEDS]
    step = np.abs(_turned(tuning, asphalt, 40.0, 1.0)[:, TURNING_RATE])
    return CarLimits(
        surfaces=surfaces,
        lock=np.interp(SPEEDS, (0.0, *_TURN_SPEEDS), (0.0, *rates)),
        yaw_lag_s=float(np.argmax(step > 0.63 * step[-1])) * TICK_S,
        gravity_mps2=tuning.gravity_grounded * GRAVITY_MPS2,
        air_gravity_mps2=tuning.gravity_airborne * GRAVITY_MPS2,
        boost=_push(tuning, Material.TURBO) - surfaces[int(Material.ASPHALT)].push,
        boost_s=tuning.turbo_ticks * TICK_S,
    )


def _measure_surface(tuning: CarTuning, material: Material) -> SurfaceLimits:
    ground = _straight(material)
    square = plane(material, half_size_m=_SQUARE_M)
    turn = [_steady_turn(tuning, square, speed) for speed in _TURN_SPEEDS]
    return SurfaceLimits(
        push=_push(tuning, material),
        coast=_loss(_forward(tuning, ground, TOP_MPS, (0.0, 0.0), _SLOW_TICKS)),
        brake=_loss(_forward(tuning, ground, TOP_MPS, (0.0, 1.0), _SLOW_TICKS)),
        turn=np.interp(SPEEDS, (0.0, *_TURN_SPEEDS), (0.0, *turn)),
    )


def _straight(material: Material) -> ContactArrays:
    return road((Station(-20.0, 0.0, material), Station(_STRAIGHT_M, 0.0)))


def _push(tuning: CarTuning, material: Material) -> Floats:
    return _gain(_forward(tuning, _straight(material), 0.0, (1.0, 0.0), _PUSH_TICKS))


def _run(
    tuning: CarTuning, ground: ContactArrays, speed_mps: float, pressed: tuple[float, float, float], ticks: int
) -> Floats:
    """Return the trace (T, CAR_SIZE) of a car that drives on from ``speed_mps`` with the same inputs held."""
    car = car_at()
    settle_car(car, ground, tuning.arrays, _SETTLE_TICKS)
    rolling = car_at(speed_mps=speed_mps)
    rolling[1] = car[1]
    trace = np.empty((ticks, CAR_SIZE))
    run_ticks(rolling, np.tile(pressed, (ticks, 1)), ground, tuning.arrays, trace)
    return trace


def _forward(
    tuning: CarTuning, ground: ContactArrays, speed_mps: float, pedals: tuple[float, float], ticks: int
) -> Floats:
    """Return the forward speed after each tick (T,)."""
    return _run(tuning, ground, speed_mps, (*pedals, 0.0), ticks)[:, LOCAL_SPEED + 2]


def _gain(speed: Floats) -> Floats:
    """Return the mean acceleration (V,) from each row's speed to the next, from the speeds (T,) of a start."""
    rising = np.concatenate(([True], np.diff(np.maximum.accumulate(speed)) > 0))
    reached_s = np.interp(np.append(SPEEDS, TOP_MPS + STEP_MPS), speed[rising], np.flatnonzero(rising) * TICK_S)
    took_s = np.diff(reached_s)
    return np.where(took_s > 0, STEP_MPS / np.where(took_s > 0, took_s, 1.0), _LEAST_PUSH)


def _loss(speed: Floats) -> Floats:
    """Return the deceleration (V,) at each row's speed, from speeds that fall; that of the lowest speed below it."""
    falling = speed[: max(int(np.argmax(speed < 1.0)), 2)] if (speed < 1.0).any() else speed
    loss = -np.gradient(falling, TICK_S)
    order = np.argsort(falling)
    at_speeds: Floats = np.interp(SPEEDS, falling[order], loss[order])
    return np.asarray(np.maximum(at_speeds, 0.0))


def _turned(tuning: CarTuning, ground: ContactArrays, speed_mps: float, steer: float) -> Floats:
    """Return the trace (T, CAR_SIZE) of a car that steers from straight ahead, with just enough gas to go on."""
    return _run(tuning, ground, speed_mps, (0.5, 0.0, steer), _TURN_TICKS)


def _steady_turn(tuning: CarTuning, ground: ContactArrays, speed_mps: float) -> float:
    """Return the fastest yaw rate, rad/s, without a slide: bisect on how far the wheel is turned."""
    low, high = 0.0, 1.0
    full = _turned(tuning, ground, speed_mps, 1.0)
    if not full[:, IS_SLIDING].any():
        return float(abs(full[-1, TURNING_RATE]))
    rate = 0.0
    for _ in range(6):
        steer = (low + high) / 2
        trace = _turned(tuning, ground, speed_mps, steer)
        if trace[:, IS_SLIDING].any():
            high = steer
        else:
            low, rate = steer, float(abs(trace[-1, TURNING_RATE]))
    return rate
