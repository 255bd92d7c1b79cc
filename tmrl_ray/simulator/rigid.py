"""The car as a rigid body: how impulses change its spin, and how its pose moves on.

A car's vector holds the position of its origin, on the ground between the wheels, and the velocity of its centre of
mass, half a metre above.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.car_state import POSITION, QUATERNION, ROTATION, SPIN, VELOCITY
from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.tuning import TuningArrays


@inlined
def spin_change(car: Floats, tuning: TuningArrays, tx: float, ty: float, tz: float) -> tuple[float, float, float]:
    """Return the change of spin, rad/s, that an angular impulse causes, both in world axes."""
    inverse = tuning.inverse_inertia
    left = (car[ROTATION] * tx + car[ROTATION + 3] * ty + car[ROTATION + 6] * tz) * inverse[0]
    up = (car[ROTATION + 1] * tx + car[ROTATION + 4] * ty + car[ROTATION + 7] * tz) * inverse[1]
    forward = (car[ROTATION + 2] * tx + car[ROTATION + 5] * ty + car[ROTATION + 8] * tz) * inverse[2]
    return (
        car[ROTATION] * left + car[ROTATION + 1] * up + car[ROTATION + 2] * forward,
        car[ROTATION + 3] * left + car[ROTATION + 4] * up + car[ROTATION + 5] * forward,
        car[ROTATION + 6] * left + car[ROTATION + 7] * up + car[ROTATION + 8] * forward,
    )


@inlined
def to_world(car: Floats, left: float, up: float, forward: float) -> tuple[float, float, float]:
    """Return a vector of the car's frame in world axes."""
    return (
        car[ROTATION] * left + car[ROTATION + 1] * up + car[ROTATION + 2] * forward,
        car[ROTATION + 3] * left + car[ROTATION + 4] * up + car[ROTATION + 5] * forward,
        car[ROTATION + 6] * left + car[ROTATION + 7] * up + car[ROTATION + 8] * forward,
    )


@inlined
def to_car(car: Floats, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return a world vector in the car's frame: left, up, forward."""
    return (
        car[ROTATION] * x + car[ROTATION + 3] * y + car[ROTATION + 6] * z,
        car[ROTATION + 1] * x + car[ROTATION + 4] * y + car[ROTATION + 7] * z,
        car[ROTATION + 2] * x + car[ROTATION + 5] * y + car[ROTATION + 8] * z,
    )


@inlined
def speed_at(car: Floats, ax: float, ay: float, az: float) -> tuple[float, float, float]:
    """Return the velocity, m/s, world, of the point of the car at (ax, ay, az) from its centre of mass."""
    wx, wy, wz = car[SPIN], car[SPIN + 1], car[SPIN + 2]
    return (
        car[VELOCITY] + (wy * az - wz * ay),
        car[VELOCITY + 1] + (wz * ax - wx * az),
        car[VELOCITY + 2] + (wx * ay - wy * ax),
    )


@inlined
def add_spin(car: Floats, dx: float, dy: float, dz: float) -> None:
    """Add to the car's spin, rad/s, world."""
    car[SPIN] += dx
    car[SPIN + 1] += dy
    car[SPIN + 2] += dz


@inlined
def add_velocity(car: Floats, dx: float, dy: float, dz: float) -> None:
    """Add to the car's velocity, m/s, world."""
    car[VELOCITY] += dx
    car[VELOCITY + 1] += dy
    car[VELOCITY + 2] += dz


@inlined
def move_pose(
    car: Floats, tuning: TuningArrays, dx: float, dy: float, dz: float, ax: float, ay: float, az: float
) -> None:
    """Move the centre of mass by (dx, dy, dz) metres and turn the car about it by the small angles (ax, ay, az)."""
    com = tuning.centre_of_mass
    before_x, before_y, before_z = to_world(car, com[0], com[1], com[2])
    if ax != 0.0 or ay != 0.0 or az != 0.0:
        _turn(car, 0.5 * ax, 0.5 * ay, 0.5 * az)
    after_x, after_y, after_z = to_world(car, com[0], com[1], com[2])
    car[POSITION] += dx + (before_x - after_x)
    car[POSITION + 1] += dy + (before_y - after_y)
    car[POSITION + 2] += dz + (before_z - after_z)


@inlined
def _turn(car: Floats, hx: float, hy: float, hz: float) -> None:
    """Turn by the vector of half angles: (1, h) normalised is a rotation by 2 atan |h|."""
    q = car[QUATERNION : QUATERNION + 4]
    w = q[0] - (hx * q[1] + hy * q[2] + hz * q[3])
    x = q[1] + (hx * q[0] + (hy * q[3] - hz * q[2]))
    y = q[2] + (hy * q[0] + (hz * q[1] - hx * q[3]))
    z = q[3] + (hz * q[0] + (hx * q[2] - hy * q[1]))
    scale = 1.0 / math.sqrt((w * w + x * x) + (y * y + z * z))
    q[0], q[1], q[2], q[3] = w * scale, x * scale, y * scale, z * scale
    update_rotation(car)


@inlined
def update_rotation(car: Floats) -> None:
    """Write the rotation matrix of the car's unit quaternion into its vector."""
    w, x, y, z = car[QUATERNION], car[QUATERNION + 1], car[QUATERNION + 2], car[QUATERNION + 3]
    car[ROTATION] = 1.0 - 2.0 * (y * y + z * z)
    car[ROTATION + 1] = 2.0 * (x * y - w * z)
    car[ROTATION + 2] = 2.0 * (x * z + w * y)
    car[ROTATION + 3] = 2.0 * (x * y + w * z)
    car[ROTATION + 4] = 1.0 - 2.0 * (x * x + z * z)
    car[ROTATION + 5] = 2.0 * (y * z - w * x)
    car[ROTATION + 6] = 2.0 * (x * z - w * y)
    car[ROTATION + 7] = 2.0 * (y * z + w * x)
    car[ROTATION + 8] = 1.0 - 2.0 * (x * x + y * y)
