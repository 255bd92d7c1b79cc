"""How fast a car can follow a line: the fastest speeds that its steering, grip, engine and brakes allow.

First the limit at each point by itself: the steering must be able to turn the car as the line bends, with its lag, and
no wheel may slide. Then backwards, so that the car can slow down to each limit in time, and forwards, so that its
engine can reach it. Ref. for the two passes: Brayshaw and Harrison, "A quasi steady state approach to race car lap
simulation" (2005).

Shape letters: N points of the line, V rows of a table over speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.car_limits import SPEEDS, STEP_MPS, TOP_MPS, CarLimits, SurfaceLimits
from tmrl_ray.racing.driving_line import SPACING_M, DrivingLine
from tmrl_ray.simulator.contact import NOTHING
from tmrl_ray.simulator.track import Material

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MARGIN: Final = 0.85
"""Of the steering, what a plan uses; the rest is for corrections."""
GRIP_MARGIN: Final = 0.85
"""Of ``MARGIN``, what it uses of the grip: keys turn the wheels by jerks, and a wheel that slides has lost."""
BRAKE_SHARE: Final = 0.9
"""Of the brakes, what a plan counts on."""
BRAKING_TURN_SHARE: Final = 0.5
"""Where more of the steering than this is in use, a plan does not brake: wheels that brake slide early."""
_SLOWEST_MPS: Final = 4.0
"""No limit is lower: a car that waits for a better moment would never get there."""
_STRAIGHT: Final = 1e-5
"""1/m: what bends less than this does not count as a bend."""
_ROUNDS: Final = 4
"""How far a car flies and a turbo pushes depends on its speed, so that the plan is made again with what was found."""
TURBO_PADS: Final = (int(Material.TURBO), int(Material.TURBO2))
_SETTLE_M: Final = 8.0
"""After a flight, until all wheels carry the car again."""
SLIPPERY: Final = 0.98
"""Where wheels slide below this share of full lock, it is the grip that limits the car, not the steering."""
_LIGHT: Final = 0.3
"""Share of its weight from which on a car steers fully; on a crest it has less."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SpeedProfile:
    """The fastest speeds along a line."""

    limit: Floats
    """(N,) m/s: from which the car can still slow down in time for all that comes."""
    speed: Floats
    """(N,) m/s: what a car reaches that keeps to the limits."""
    times_s: Floats
    """(N,) when that car is at each point; on a closed line, in a lap with a flying start."""
    flying: Bools
    """(N,) where that car is in the air."""
    lap_s: float
    """How long the car takes for the whole line, the way back to the start included where it is closed."""


def speed_profile(
    line: DrivingLine, limits: CarLimits, *, margin: float = MARGIN, brake_share: float = BRAKE_SHARE
) -> SpeedProfile:
    """Return the fastest speeds at which a car can follow a line from a standing start.

    Args:
        line: the line; a closed one is driven round and round.
        limits: what the car can do.
        margin: the share of steering and grip that is used.
        brake_share: the share of the brakes that is counted on; 0: the car only releases the gas.
    """
    alone = point_limits(line, limits, margin)
    flying, boosted = ~line.on_road, np.zeros(len(line.points), dtype=np.bool_)
    for _ in range(_ROUNDS):
        limit = _slowed(line, _slowing(line, limits, alone, flying, boosted, brake_share), alone, limits)
        speed, times_s = _reached(line, _pushing(line, limits, flying, boosted), limit, limits)
        known = flying.sum() + boosted.sum()
        flying = flying | _flights(line, limits, speed)
        boosted = boosted | _boosts(line, limits, speed)
        if flying.sum() + boosted.sum() == known:
            break
    return SpeedProfile(limit=limit, speed=speed, times_s=times_s[:-1], flying=flying, lap_s=float(times_s[-1]))


def point_limits(line: DrivingLine, limits: CarLimits, margin: float) -> Floats:
    """Return the speed (N,), m/s, up to which the car can bend its way as the line bends at each point."""
    v = SPEEDS[None, :]  # (1, V)
    load = _load(line, limits, v)
    turn = np.stack([_surface(line, limits, i).turn for i in range(len(line.points))])
    held = np.where(turn < SLIPPERY * limits.lock, GRIP_MARGIN, 1.0) * turn * load
    steered = limits.lock[None, :] * np.clip(load / _LIGHT, 0.0, 1.0)
    bend = line.bend[:, None]
    asked = np.abs(v * bend + limits.yaw_lag_s * v**2 * line.bend_growth[:, None])
    fits = (asked <= margin * steered) & (v * np.abs(bend) <= margin * held)
    fits |= (~line.on_road | (np.abs(line.bend) < _STRAIGHT))[:, None]
    fits[:, 0] = False
    fits |= fits.argmax(axis=1)[:, None] > np.arange(len(SPEEDS))  # upside down a car needs some speed to begin with
    rows = np.where(fits.all(axis=1), len(SPEEDS), np.argmin(fits, axis=1))
    return np.asarray(np.maximum(SPEEDS[np.maximum(rows, 1) - 1], _SLOWEST_MPS))


def _load(line: DrivingLine, limits: CarLimits, v: Floats) -> Floats:
    """Return the weight on the road at the speeds ``v`` (1, V) as a share of that on level ground, (N, V)."""
    pressed = v**2 * line.crest[:, None] + limits.gravity_mps2 * line.up[:, 1:2]
    return np.maximum(pressed, 0.0) / limits.gravity_mps2


def _slowing(
    line: DrivingLine, limits: CarLimits, alone: Floats, flying: Bools, boosted: Bools, brake_share: float
) -> list[Floats]:
    """Return, for each of the N points, the slow-down (V,) in m/s2 that a plan counts on there."""
    in_bend = np.abs(alone * line.bend) > BRAKING_TURN_SHARE * np.interp(alone, SPEEDS, limits.lock)
    slowing = []
    for i in range(len(alone)):
        surface = _surface(line, limits, i)
        slow = surface.coast if in_bend[i] else np.maximum(brake_share * surface.brake, surface.coast)
        slow = slow - limits.boost if boosted[i] else slow
        slowing.append(np.zeros_like(SPEEDS) if flying[i] else slow)
    return slowing


def _pushing(line: DrivingLine, limits: CarLimits, flying: Bools, boosted: Bools) -> list[Floats]:
    """Return, for each of the N points, the acceleration (V,) in m/s2 at full gas."""
    pushing = []
    for i in range(len(line.points)):
        push = _surface(line, limits, i).push
        push = push + limits.boost if boosted[i] else push
        pushing.append(np.zeros_like(SPEEDS) if flying[i] else push)
    return pushing


def _slowed(line: DrivingLine, slowing: list[Floats], alone: Floats, limits: CarLimits) -> Floats:
    """Lower the limits (N,) of the points where the car could not slow down to the next one in time."""
    climb = limits.gravity_mps2 * line.tangents[:, 1]
    result, spacing = alone.tolist(), line.spacing.tolist()
    n = len(result)
    for k in range((2 * n if line.closed else n - 1) - 1, -1, -1):
        i, after = k % n, result[(k + 1) % n]
        slow = slowing[i][int(after / STEP_MPS)] + climb[i]
        before = max(after * after + 2.0 * slow * spacing[i], _SLOWEST_MPS**2) ** 0.5
        result[i] = min(result[i], before)
    return np.array(result)


def _reached(line: DrivingLine, pushing: list[Floats], limit: Floats, limits: CarLimits) -> tuple[Floats, Floats]:
    """Return the speeds (N,) of a car that goes as fast as engine and limits let it, and its times (N + 1,)."""
    climb = limits.gravity_mps2 * line.tangents[:, 1]
    limit_at, spacing = limit.tolist(), line.spacing.tolist()
    n = len(limit_at)
    speeds, times_s = [0.0] * n, [0.0] * (n + 1)
    speed, time_s = 0.0, 0.0
    for k in range(2 * n if line.closed else n):
        i = k % n
        if i == 0:
            time_s = 0.0
        speeds[i] = speed = min(speed, limit_at[i])
        push = pushing[i][int(speed / STEP_MPS)] - climb[i]
        after = min(max(speed * speed + 2.0 * push * spacing[i], 1.0) ** 0.5, limit_at[(i + 1) % n], TOP_MPS)
        time_s += 2.0 * spacing[i] / (speed + after)
        times_s[i + 1] = time_s
        speed = after
    return np.array(speeds), np.array(times_s)


def _boosts(line: DrivingLine, limits: CarLimits, speed: Floats) -> Bools:
    """Tell where a turbo pushes a car at ``speed`` (N,): on its pad and for a while after it."""
    boosted = np.zeros(len(speed), dtype=np.bool_)
    for pad in np.flatnonzero(np.isin(line.materials, TURBO_PADS)):
        ahead = line.along - line.along[pad]
        boosted |= (ahead >= 0.0) & (ahead <= limits.boost_s * speed[pad] + SPACING_M)
    return boosted


def _flights(line: DrivingLine, limits: CarLimits, speed: Floats) -> Bools:
    """Tell where a car at ``speed`` (N,) is in the air: over gaps, and where the road falls away faster than it."""
    heights, steps, on_road = line.points[:, 1].tolist(), line.spacing.tolist(), line.on_road.tolist()
    falls_away = (speed**2 * line.crest + limits.gravity_mps2 * line.up[:, 1] < 0.0) & (line.up[:, 1] > 0.5)
    n = len(heights)
    flying = [False] * n
    i = 1
    while i < n - 1:
        if on_road[i] and not falls_away[i]:
            i += 1
            continue
        first = max(i - 1, 0)
        rise = (heights[first] - heights[first - 1]) / max(steps[first - 1], 1e-3) if first > 0 else 0.0
        metres, height = 0.0, heights[first]
        i = first
        while i < n - 1:
            metres += steps[i]
            i += 1
            flying[i] = True
            fall = limits.air_gravity_mps2 * (metres / max(float(speed[first]), _SLOWEST_MPS)) ** 2 / 2
            if on_road[i] and metres > _SETTLE_M and height + rise * metres - fall <= heights[i]:
                break
        for j in range(i, min(i + int(_SETTLE_M / max(steps[i], 0.5)), n)):
            flying[j] = True
        i += 1
    return np.array(flying)


def _surface(line: DrivingLine, limits: CarLimits, point: int) -> SurfaceLimits:
    """Return what the car can do on the road at a point; where there is none, as if it were asphalt."""
    material = int(line.materials[point])
    return limits.surfaces[int(Material.ASPHALT) if material == NOTHING else material]
