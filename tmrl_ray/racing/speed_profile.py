"""How fast a car can follow a line: the fastest speeds that its grip, steering, engine and brakes allow.

First the limit at each point by itself: the steering must be able to turn the car as the line bends, with its lag, and
no wheel may slide. Then backwards, so that the car can brake to each limit in time, and forwards, so that its engine can
reach it. The limits come from :class:`CarTuning`, in closed form; Ref.: the two-pass method of Brayshaw and Harrison,
"A quasi steady state approach to race car lap simulation" (2005).

Shape letters: N points of the line, K lines at once, V rows of a table over speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.driving_line import DrivingLine
from tmrl_ray.simulator.contact import NOTHING
from tmrl_ray.simulator.tuning import BRAKE_LIMIT, ENGINE, GRAVITY_MPS2, GRIP, KMH_PER_MPS, TICK_S, TOP_SPEED, CarTuning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP_MPS: Final = 160.0
"""The tables end here, 576 km/h: more than any ghost of the Stadium car shows."""
_STEP_MPS: Final = 0.5
_CREEP_MPS: Final = 3.0
"""No limit is lower than this: a car that goes round a hairpin on the spot would never get there."""
_WHEELS: Final = 4
BRAKE_SHARE: Final = 0.8
"""Of the brakes' force, what a plan counts on."""


@dataclass(frozen=True, eq=False)
class CarLimits:
    """What the car can do at each speed of a table: ``speeds`` (V,), m/s."""

    tuning: CarTuning

    @cached_property
    def speeds(self) -> Floats:
        """(V,) m/s."""
        return np.arange(0.0, TOP_MPS + _STEP_MPS, _STEP_MPS)

    @cached_property
    def yaw_lag_s(self) -> float:
        """Seconds in which the yaw rate comes within 37 % of what the steering asks for."""
        return 1.0 / (self._yaw_damping * self.tuning.inverse_inertia[1])

    @cached_property
    def yaw_rate(self) -> Floats:
        """(V,) rad/s: the steady yaw rate at full lock."""
        tuning = self.tuning
        fade = np.sin(np.pi / 2 * np.minimum(self.speeds / tuning.steer_fade_mps, 1.0))
        return fade * _interpolate(tuning.steer_torque, self.speeds) / self._yaw_damping

    @property
    def _yaw_damping(self) -> float:
        front, rear = self.tuning.wheel_offsets[0][2], self.tuning.wheel_offsets[2][2]
        return self.tuning.grip_stiffness * self.tuning.yaw_damping * (front - rear)

    @cached_property
    def grip(self) -> Floats:
        """(V,) m/s2: the largest lateral force of a wheel of a level car on asphalt."""
        return _interpolate(self.tuning.grip_cap, self.speeds) * self.tuning.grip_load

    def wheel_force(self, lateral: Floats, yaw_rate: Floats) -> Floats:
        """Return the force on the wheel that is loaded most, m/s2, for a lateral acceleration and a yaw rate."""
        arm = (self.tuning.wheel_offsets[0][2] - self.tuning.wheel_offsets[2][2]) / 2
        return np.abs(lateral) / _WHEELS + self.tuning.grip_stiffness * arm * np.abs(yaw_rate)

    def push(self, material: int) -> Floats:
        """Return the engine's acceleration at full gas (V,), m/s2, with the share of time that shifting costs."""
        row = self.tuning.arrays["materials"][material]
        table = np.array(self.tuning.acceleration)
        kmh = self.speeds * KMH_PER_MPS / row[TOP_SPEED]
        return np.asarray(table[np.searchsorted(table[:, 0], kmh, side="right") - 1, 1] * row[ENGINE])

    def coast(self) -> Floats:
        """Return the slow-down with the gas released (V,), m/s2."""
        return self.tuning.engine_drag + self.tuning.engine_drag_per_mps * self.speeds

    def brake(self, material: int) -> Floats:
        """Return the slow-down of the brakes that a plan counts on (V,), m/s2, in addition to coasting."""
        limit = self.tuning.brake_limit * self.tuning.arrays["materials"][material, BRAKE_LIMIT]
        return BRAKE_SHARE * np.minimum(self.tuning.brake_base + self.tuning.brake_per_mps * self.speeds, limit)

    def grip_factor(self, material: int) -> float:
        """Return the grip of a material, 1 on asphalt."""
        return float(self.tuning.arrays["materials"][material, GRIP])

    @cached_property
    def shift_speeds_mps(self) -> tuple[float, ...]:
        """At which speeds the gears shift up."""
        tuning = self.tuning
        ratios = tuning.gear_ratios[:-1]
        return tuple(share * tuning.max_rpm / ratio for share, ratio in zip(tuning.shift_up, ratios, strict=True))

    @property
    def shift_s(self) -> float:
        """How long the engine does not push in a shift."""
        return self.tuning.shift_ticks * TICK_S


@dataclass(frozen=True, eq=False, kw_only=True)
class SpeedProfile:
    """The fastest speeds along a line."""

    limit: Floats
    """(N,) m/s: what the point itself allows, and what can still be slowed down from in time."""
    speed: Floats
    """(N,) m/s: what a car that starts at ``start_mps`` reaches."""
    time_s: float
    """How long that car takes for the line."""


def speed_profile(
    line: DrivingLine,
    limits: CarLimits,
    *,
    margin: float = 0.9,
    use_brakes: bool = True,
    start_mps: float = 0.0,
) -> SpeedProfile:
    """Return the fastest speeds at which a car can follow a line.

    Args:
        line: the line; a closed one is driven round and round.
        limits: what the car can do.
        margin: the share of steering and grip that is used; the rest is for errors and corrections.
        use_brakes: whether the car may brake, or only release the gas.
        start_mps: the speed at the first point of a line that is not closed.
    """
    limit = _slowed(line, limits, point_limits(line, limits, margin), use_brakes=use_brakes)
    return SpeedProfile(limit=limit, **_reached(line, limits, limit, start_mps))


def point_limits(line: DrivingLine, limits: CarLimits, margin: float) -> Floats:
    """Return the speed (N,), m/s, up to which the car can bend its way as the line bends at each point."""
    v = limits.speeds[None, :]  # (1, V)
    bend, growth = line.bend[:, None], line.bend_growth[:, None]  # (N, 1)
    yaw_rate = v * bend  # (N, V)
    asked = np.abs(yaw_rate + limits.yaw_lag_s * v**2 * growth)
    gravity = limits.tuning.gravity_grounded * GRAVITY_MPS2
    load = np.maximum(v**2 * line.crest[:, None] + gravity * line.up[:, 1:2], 0.0) / gravity
    factor = np.array([1.0 if m == NOTHING else limits.grip_factor(int(m)) for m in line.materials])[:, None]
    needed = limits.wheel_force(v**2 * bend + gravity * line.left[:, 1:2], yaw_rate)
    fits = (asked <= margin * limits.yaw_rate) & (needed <= margin * limits.grip * load * factor)
    fits |= ~line.on_road[:, None]
    fits |= (np.abs(line.bend) < 1e-5)[:, None]
    fits[:, : int(_CREEP_MPS / _STEP_MPS) + 1] = True
    first_unfit = np.where(fits.all(axis=1), fits.shape[1], np.argmin(fits, axis=1))
    return limits.speeds[np.minimum(first_unfit, fits.shape[1]) - 1]


def _slowed(line: DrivingLine, limits: CarLimits, limit: Floats, *, use_brakes: bool) -> Floats:
    """Lower the limits where the car could not slow down to the next one in time."""
    slow_by = _tables(line, lambda m: limits.coast() + (limits.brake(m) if use_brakes else 0.0))
    coast_by = limits.coast().tolist()
    gravity = limits.tuning.gravity_grounded * GRAVITY_MPS2
    turning = _is_turning(line, limits, limit).tolist()
    n = len(limit)
    result, spacing, climb = limit.tolist(), line.spacing.tolist(), (line.tangents[:, 1] * gravity).tolist()
    materials, on_road = line.materials.tolist(), line.on_road.tolist()
    rounds = 2 * n if line.closed else n - 1
    for k in range(rounds - 1, -1, -1):
        i, j = k % n, (k + 1) % n
        after = result[j]
        row = int(after / _STEP_MPS)
        if not on_road[i]:
            slow = climb[i]
        elif turning[i]:
            slow = coast_by[row] + climb[i]
        else:
            slow = slow_by[materials[i]][row] + climb[i]
        result[i] = min(result[i], max(after * after + 2.0 * slow * spacing[i], 0.0) ** 0.5)
    return np.array(result)


def _is_turning(line: DrivingLine, limits: CarLimits, limit: Floats) -> NDArray[np.bool_]:
    """Tell where the wheels are loaded so much at the limit that braking would make them slide."""
    gravity = limits.tuning.gravity_grounded * GRAVITY_MPS2
    force = limits.wheel_force(limit**2 * line.bend + gravity * line.left[:, 1], limit * line.bend)
    return force > 0.8 * limits.tuning.brake_trigger * np.interp(limit, limits.speeds, limits.grip)


def _reached(line: DrivingLine, limits: CarLimits, limit: Floats, start_mps: float) -> dict[str, Floats | float]:
    """Return ``speed`` and ``time_s`` of a car that goes as fast as engine and limits let it."""
    push_by = _tables(line, limits.push)
    gravity = limits.tuning.gravity_grounded * GRAVITY_MPS2
    limit_at, spacing = limit.tolist(), line.spacing.tolist()
    climb, materials, on_road = (line.tangents[:, 1] * gravity).tolist(), line.materials.tolist(), line.on_road.tolist()
    shifts = sorted(limits.shift_speeds_mps)
    n = len(limit_at)
    speed, time_s, shift_left_s, speeds = start_mps, 0.0, 0.0, [0.0] * n
    for k in range(2 * n if line.closed else n):
        i = k % n
        if k == n:
            time_s = 0.0
        speed = min(speed, limit_at[i])
        speeds[i] = speed
        push = push_by[materials[i]][int(speed / _STEP_MPS)] if on_road[i] and shift_left_s <= 0.0 else 0.0
        after = max(speed * speed + 2.0 * (push - climb[i]) * spacing[i], 1.0) ** 0.5
        if spacing[i] == 0.0:
            break
        took_s = 2.0 * spacing[i] / (speed + min(after, limit_at[(i + 1) % n]))
        shift_left_s -= took_s
        if any(speed < shift <= after for shift in shifts):
            shift_left_s = limits.shift_s
        time_s += took_s
        speed = min(after, TOP_MPS - _STEP_MPS)
    return {"speed": np.array(speeds), "time_s": time_s}


def _tables(line: DrivingLine, make: object) -> dict[int, list[float]]:
    """Return a table over speed for each material of the line, as lists: the loops read single numbers."""
    assert callable(make)
    kinds = sorted(set(line.materials.tolist()) - {NOTHING})
    return {kind: np.asarray(make(kind)).tolist() for kind in kinds}


def _interpolate(table: tuple[tuple[float, float], ...], speeds: Floats) -> Floats:
    rows = np.array(table)
    return np.interp(speeds * KMH_PER_MPS, rows[:, 0], rows[:, 1])
