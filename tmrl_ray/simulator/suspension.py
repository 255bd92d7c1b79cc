"""Wheels on the ground: where each one stands, the push of its spring, and the hard stop at the end of its travel.

First of the forces of a tick. The ground under the wheels is sensed once a tick, at the pose to which the car has
moved; everything else of the tick (tyres, engine, turbo) reads it from the table ``wheels``, a row for each wheel.

Sums over wheels add left to right within an axle, then front to rear: a mirrored car on a mirrored track then moves
mirrored to the last bit.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.car_state import (
    POSITION,
    ROTATION,
    SPIN,
    VELOCITY,
    WHEEL_ABSORB,
    WHEEL_ABSORB_RATE,
    WHEEL_CONTACT,
    WHEEL_MATERIAL,
)
from tmrl_ray.simulator.contact import NOTHING, cast_ray
from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.rigid import add_spin, add_velocity, move_pose, spin_change, to_world
from tmrl_ray.simulator.track import ContactArrays, Floats
from tmrl_ray.simulator.tuning import BUMP, TICK_S, TuningArrays

WHEELS = 4
NORMAL = 0  # 3: of the ground, world
LEVER = 3  # 3: arm x normal, the angular impulse about the centre of mass of a unit impulse along the normal
GAP = 6  # metres of travel left; below suspension_stop_m the wheel is inside the ground
LOAD = 7  # the spring's force, m/s2
NEAR = 8  # 1: there is ground within the reach of this tick
PUSH = 9  # an impulse along the normal that waits to be applied, m/s
TOTAL = 10  # the impulses of the hard stop so far, m/s
MASS = 11  # the mass that an impulse along the normal feels at the contact
WHEEL_FIELDS = 12

ABOVE_WHEEL_M = 0.4
"""A ray begins this far above the wheel's centre: ground that rose by so much within a tick is still found."""
RELAXATION = 0.74
"""Each wheel's impulse counts this much, because four wheels share one blow: then a flat landing is right at once
(together four wheels give 1.21 to 1.44 times what each one alone would need)."""
STOP_ROUNDS = 4
"""Rounds of the hard stop: enough for one wheel alone to reach 99.5 % of what it needs."""
PUSH_OUT = 0.4
"""Share of a penetration that is undone in a tick."""
BUMP_CELL_M = 0.25
BUMP_MASK = 127
"""The unevenness repeats every 128 cells, 32 m, as in the game."""


@inlined
def sense_ground(car: Floats, contacts: ContactArrays, tuning: TuningArrays, wheels: Floats) -> int:
    """Find the ground under each wheel, fill ``wheels`` (4, WHEEL_FIELDS), and return how many wheels touch it."""
    up_x, up_y, up_z = car[ROTATION + 1], car[ROTATION + 4], car[ROTATION + 7]
    falling = -(car[VELOCITY] * up_x + car[VELOCITY + 1] * up_y + car[VELOCITY + 2] * up_z)
    ray_to_wheel = ABOVE_WHEEL_M + tuning.wheel_radius_m
    reach = ray_to_wheel + tuning.suspension_rest_m + max(falling * TICK_S, 0.0)
    touching = 0
    for i in range(WHEELS):
        left, up, forward = tuning.wheel_offsets[i, 0], tuning.wheel_offsets[i, 1], tuning.wheel_offsets[i, 2]
        up += ABOVE_WHEEL_M
        x, y, z = to_world(car, left, up, forward)
        x, y, z = x + car[POSITION], y + car[POSITION + 1], z + car[POSITION + 2]
        distance, triangle = cast_ray(contacts, x, y, z, -up_x, -up_y, -up_z, reach)
        wheels[i, NEAR] = 0.0
        car[WHEEL_CONTACT + i] = 0.0
        if triangle == NOTHING:
            for k in range(LEVER + 3):
                wheels[i, k] = 0.0  # no normal, no lever: whatever is summed over all wheels stays clean
            extended = car[WHEEL_ABSORB + i] + tuning.suspension_drop_mps * TICK_S
            car[WHEEL_ABSORB + i] = min(extended, tuning.suspension_rest_m)
            continue
        material = int(contacts.materials[triangle])
        gap = distance - ray_to_wheel
        bump = tuning.materials[material, BUMP]
        if bump > 0.0:
            gap -= bump * bump_height(x - distance * up_x, z - distance * up_z)
        _note_ground(car, tuning, wheels[i], contacts.planes[triangle, 0], left, up - distance, forward)
        wheels[i, GAP] = gap
        if gap < tuning.suspension_rest_m:
            touching += 1
            car[WHEEL_CONTACT + i] = 1.0
            car[WHEEL_MATERIAL + i] = material
        car[WHEEL_ABSORB + i] = min(max(gap, tuning.suspension_stop_m), tuning.suspension_rest_m)
    return touching


@inlined
def _note_ground(
    car: Floats, tuning: TuningArrays, wheel: Floats, normal: Floats, left: float, up: float, forward: float
) -> None:
    com = tuning.centre_of_mass
    ax, ay, az = to_world(car, left - com[0], up - com[1], forward - com[2])
    wheel[NEAR] = 1.0
    wheel[NORMAL], wheel[NORMAL + 1], wheel[NORMAL + 2] = normal[0], normal[1], normal[2]
    wheel[LEVER] = ay * normal[2] - az * normal[1]
    wheel[LEVER + 1] = az * normal[0] - ax * normal[2]
    wheel[LEVER + 2] = ax * normal[1] - ay * normal[0]


@inlined
def bump_height(x: float, z: float) -> float:
    """Return the unevenness at a place, -0.5 to 0.5: pseudo-random heights 0.25 m apart, repeated every 32 m.

    It is the same on both sides of x = 0 and of z = 0, so that mirrored tracks shake mirrored cars alike.
    """
    u, v = abs(x) / BUMP_CELL_M, abs(z) / BUMP_CELL_M
    iu, iv = int(math.floor(u)), int(math.floor(v))
    u, v = u - iu, v - iv
    near = _bump_node(iu, iv) * (1.0 - u) + _bump_node(iu + 1, iv) * u
    far = _bump_node(iu, iv + 1) * (1.0 - u) + _bump_node(iu + 1, iv + 1) * u
    return near * (1.0 - v) + far * v


@inlined
def _bump_node(iu: int, iv: int) -> float:
    """Return a height for a node of the lattice: the bits of its two indices, mixed."""
    bits = ((iu & BUMP_MASK) * 374761393 + (iv & BUMP_MASK) * 668265263) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((bits ^ (bits >> 16)) & 0xFFFF) / 65536.0 - 0.5


@inlined
def closing_speed(car: Floats, wheel: Floats) -> float:
    """Return how fast the car moves into the ground at a wheel, m/s; negative: away from it."""
    return -float(
        (car[VELOCITY] * wheel[NORMAL] + car[VELOCITY + 1] * wheel[NORMAL + 1] + car[VELOCITY + 2] * wheel[NORMAL + 2])
        + (car[SPIN] * wheel[LEVER] + car[SPIN + 1] * wheel[LEVER + 1] + car[SPIN + 2] * wheel[LEVER + 2])
    )


@inlined
def _sum_pushes(car: Floats, tuning: TuningArrays, wheels: Floats) -> tuple[float, float, float, float, float, float]:
    """Return the changes of velocity and of spin that the waiting pushes of all wheels cause."""
    px, py, pz, tx, ty, tz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for axle in range(2):
        a, b = wheels[2 * axle], wheels[2 * axle + 1]
        p, q = a[PUSH], b[PUSH]
        px += p * a[NORMAL] + q * b[NORMAL]
        py += p * a[NORMAL + 1] + q * b[NORMAL + 1]
        pz += p * a[NORMAL + 2] + q * b[NORMAL + 2]
        tx += p * a[LEVER] + q * b[LEVER]
        ty += p * a[LEVER + 1] + q * b[LEVER + 1]
        tz += p * a[LEVER + 2] + q * b[LEVER + 2]
    wx, wy, wz = spin_change(car, tuning, tx, ty, tz)
    return px, py, pz, wx, wy, wz


@inlined
def _apply_pushes(car: Floats, tuning: TuningArrays, wheels: Floats) -> None:
    px, py, pz, wx, wy, wz = _sum_pushes(car, tuning, wheels)
    add_velocity(car, px, py, pz)
    add_spin(car, wx, wy, wz)


@inlined
def push_springs(car: Floats, tuning: TuningArrays, wheels: Floats) -> None:
    """Let spring and damper of each wheel on the ground push the car up for one tick; note each wheel's ``LOAD``.

    They push along the car's own up axis: a car that squats under its engine loses a little of the push forwards, as
    in recorded races (15.8 of 16 m/s2 in first gear).
    """
    lift, pitch, roll = 0.0, 0.0, 0.0
    for axle in range(2):
        a, b = 2 * axle, 2 * axle + 1
        push_a = _spring(car, tuning, wheels, a)
        push_b = _spring(car, tuning, wheels, b)
        lift += push_a + push_b
        left, forward = tuning.wheel_offsets[a, 0], tuning.wheel_offsets[a, 2] - tuning.centre_of_mass[2]
        pitch -= (push_a + push_b) * forward
        roll += push_a * left + push_b * tuning.wheel_offsets[b, 0]
    lift *= TICK_S
    add_velocity(car, lift * car[ROTATION + 1], lift * car[ROTATION + 4], lift * car[ROTATION + 7])
    inverse = tuning.inverse_inertia
    wx, wy, wz = to_world(car, pitch * inverse[0] * TICK_S, 0.0, roll * inverse[2] * TICK_S)
    add_spin(car, wx, wy, wz)


@inlined
def _spring(car: Floats, tuning: TuningArrays, wheels: Floats, i: int) -> float:
    """Return the force of a wheel's spring and damper, m/s2."""
    wheels[i, LOAD] = 0.0
    car[WHEEL_ABSORB_RATE + i] = 0.0
    if car[WHEEL_CONTACT + i] == 0.0:
        return 0.0
    closing = closing_speed(car, wheels[i])
    car[WHEEL_ABSORB_RATE + i] = -closing
    wheels[i, LOAD] = tuning.suspension_stiffness * (tuning.suspension_rest_m - car[WHEEL_ABSORB + i])
    return float(max(wheels[i, LOAD] + tuning.suspension_damping * closing, 0.0))


@inlined
def stop_hard(car: Floats, tuning: TuningArrays, wheels: Floats) -> bool:
    """Take from the car's velocity what would press a wheel beyond its stop within this tick.

    The blow is inelastic and along the ground's normal, so a landing keeps the speed along the ground and no more.

    Returns:
        whether a wheel is inside the ground already: then :func:`push_out` has work.
    """
    stop = tuning.suspension_stop_m
    inside, blow = False, False
    for i in range(WHEELS):
        wheel = wheels[i]
        wheel[TOTAL] = 0.0
        if wheel[NEAR] == 1.0:
            inside = inside or wheel[GAP] < stop
            blow = blow or closing_speed(car, wheel) * TICK_S > max(wheel[GAP] - stop, 0.0)
    if not (blow or inside):
        return False
    for i in range(WHEELS):
        wheel = wheels[i]
        wx, wy, wz = spin_change(car, tuning, wheel[LEVER], wheel[LEVER + 1], wheel[LEVER + 2])
        wheel[MASS] = RELAXATION / (1.0 + (wx * wheel[LEVER] + wy * wheel[LEVER + 1] + wz * wheel[LEVER + 2]))
    if blow:
        for _ in range(STOP_ROUNDS):
            for i in range(WHEELS):
                wheel = wheels[i]
                wheel[PUSH] = 0.0
                if wheel[NEAR] == 1.0:
                    excess = closing_speed(car, wheel) - max(wheel[GAP] - stop, 0.0) / TICK_S
                    total = max(wheel[TOTAL] + excess * wheel[MASS], 0.0)
                    wheel[PUSH] = total - wheel[TOTAL]
                    wheel[TOTAL] = total
            _apply_pushes(car, tuning, wheels)
    return inside


@inlined
def push_out(car: Floats, tuning: TuningArrays, wheels: Floats) -> None:
    """Move and turn the car so that wheels come out of the ground, without a change of velocity or spin."""
    for i in range(WHEELS):
        wheel = wheels[i]
        depth = tuning.suspension_stop_m - wheel[GAP]
        wheel[PUSH] = PUSH_OUT * depth * wheel[MASS] if wheel[NEAR] == 1.0 and depth > 0.0 else 0.0
    dx, dy, dz, ax, ay, az = _sum_pushes(car, tuning, wheels)
    move_pose(car, tuning, dx, dy, dz, ax, ay, az)
