"""The body of the car: ten spheres against walls, ceilings and ground, and the move of the car through a tick.

First part of a tick. A tick without a triangle near the body is one straight move. Otherwise the move is cut into steps
shorter than a sphere's radius, so that no wall, ramp or thin road is passed through at any speed.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.car_state import (
    LATERAL_CONTACT,
    POSITION,
    ROTATION,
    SPIN,
    VELOCITY,
    WALL_TICKS_LEFT,
)
from tmrl_ray.simulator.contact import height_above, touch_sphere
from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.rigid import add_spin, add_velocity, move_pose, speed_at, spin_change, to_world
from tmrl_ray.simulator.track import ContactArrays, Floats
from tmrl_ray.simulator.tuning import TICK_S, TuningArrays

SPHERE_M = 0.45
"""Radius of the body's spheres: two rows of five that fill the box ``body_half``."""
ROW = 5
STEP_M = 0.3
"""Longest move between two looks at the walls; shorter than a sphere's radius."""
MOST_STEPS = 16
GROUND_COSINE = 0.7
"""A contact whose normal is this near to the world's vertical is ground; any other is a wall."""


@inlined
def move_body(car: Floats, contacts: ContactArrays, tuning: TuningArrays) -> None:
    """Move the car through one tick with its velocity and spin, and let its body hit what is in the way."""
    speed = math.sqrt(
        car[VELOCITY] * car[VELOCITY] + car[VELOCITY + 1] * car[VELOCITY + 1] + car[VELOCITY + 2] * car[VELOCITY + 2]
    )
    steps = 1
    near = body_is_near(car, contacts, tuning, speed * TICK_S)
    if near:
        steps = min(int(speed * TICK_S / STEP_M) + 1, MOST_STEPS)
    step_s = TICK_S / steps
    for _ in range(steps):
        move_pose(
            car,
            tuning,
            car[VELOCITY] * step_s,
            car[VELOCITY + 1] * step_s,
            car[VELOCITY + 2] * step_s,
            car[SPIN] * step_s,
            car[SPIN + 1] * step_s,
            car[SPIN + 2] * step_s,
        )
        if near:
            _hit(car, contacts, tuning)


@inlined
def body_is_near(car: Floats, contacts: ContactArrays, tuning: TuningArrays, travel: float) -> bool:
    """Tell whether the box of the body, grown by ``travel`` metres, comes in front of any triangle's plane.

    The road under the wheels is a hand's breadth away from the box and does not count.
    """
    half_x, half_y, half_z = tuning.body_half[0], tuning.body_half[1], tuning.body_half[2]
    lx, ly, lz = half_x * car[ROTATION], half_x * car[ROTATION + 3], half_x * car[ROTATION + 6]
    ux, uy, uz = half_y * car[ROTATION + 1], half_y * car[ROTATION + 4], half_y * car[ROTATION + 7]
    fx, fy, fz = half_z * car[ROTATION + 2], half_z * car[ROTATION + 5], half_z * car[ROTATION + 8]
    cx, cy, cz = to_world(car, tuning.body_centre[0], tuning.body_centre[1], tuning.body_centre[2])
    cx, cy, cz = cx + car[POSITION], cy + car[POSITION + 1], cz + car[POSITION + 2]
    wide_x, wide_y = abs(lx) + abs(ux) + abs(fx) + travel, abs(ly) + abs(uy) + abs(fy) + travel
    wide_z = abs(lz) + abs(uz) + abs(fz) + travel
    low_x, low_y, low_z, high_x, high_y, high_z = (
        cx - wide_x,
        cy - wide_y,
        cz - wide_z,
        cx + wide_x,
        cy + wide_y,
        cz + wide_z,
    )
    vx, vy, vz = car[VELOCITY] * TICK_S, car[VELOCITY + 1] * TICK_S, car[VELOCITY + 2] * TICK_S
    cell_m = contacts.origin[2]
    first_x = max(int(math.floor((low_x - contacts.origin[0]) / cell_m)), 0)
    first_z = max(int(math.floor((low_z - contacts.origin[1]) / cell_m)), 0)
    last_x = min(int(math.floor((high_x - contacts.origin[0]) / cell_m)), contacts.size[0] - 1)
    last_z = min(int(math.floor((high_z - contacts.origin[1]) / cell_m)), contacts.size[1] - 1)
    boxes, planes = contacts.boxes, contacts.planes
    for ix in range(first_x, last_x + 1):
        for iz in range(first_z, last_z + 1):
            cell = ix * contacts.size[1] + iz
            for k in range(contacts.cell_start[cell], contacts.cell_start[cell + 1]):
                t = contacts.cell_triangles[k]
                height = height_above(planes, t, 0, cx, cy, cz)
                a, b, c = planes[t, 0, 0], planes[t, 0, 1], planes[t, 0, 2]
                extent = abs(a * lx + b * ly + c * lz) + abs(a * ux + b * uy + c * uz) + abs(a * fx + b * fy + c * fz)
                if height < -extent or height > extent + max(-(a * vx + b * vy + c * vz), 0.0):
                    continue
                if boxes[t, 0] > high_x or boxes[t, 1] > high_y or boxes[t, 2] > high_z:
                    continue
                if boxes[t, 3] < low_x or boxes[t, 4] < low_y or boxes[t, 5] < low_z:
                    continue
                return True
    return False


@inlined
def _hit(car: Floats, contacts: ContactArrays, tuning: TuningArrays) -> None:
    """Answer the spheres that touch something with one impulse at the middle of all contacts, weighted by depth.

    One impulse for all: a car that runs flat into a wall is not turned by whichever corner is looked at first.
    """
    total, deepest = 0.0, 0.0
    nx, ny, nz, px, py, pz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    centre, half = tuning.body_centre, tuning.body_half
    spacing = 2.0 * (half[2] - SPHERE_M) / (ROW - 1)
    for k in range(ROW):
        forward = centre[2] - (half[2] - SPHERE_M) + spacing * k
        d1, ax, ay, az, ox, oy, oz = _sphere(car, contacts, tuning, centre[0] + half[0] - SPHERE_M, centre[1], forward)
        d2, bx, by, bz, qx, qy, qz = _sphere(car, contacts, tuning, centre[0] - half[0] + SPHERE_M, centre[1], forward)
        deepest = max(deepest, d1, d2)
        total += d1 + d2
        nx += d1 * ax + d2 * bx
        ny += d1 * ay + d2 * by
        nz += d1 * az + d2 * bz
        px += d1 * ox + d2 * qx
        py += d1 * oy + d2 * qy
        pz += d1 * oz + d2 * qz
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    if length <= 1e-3 * total or total == 0.0:
        return
    nx, ny, nz = nx / length, ny / length, nz / length
    on_ground = ny > GROUND_COSINE
    if not on_ground:
        car[LATERAL_CONTACT] = 1.0
        car[WALL_TICKS_LEFT] = tuning.wall_ticks
    com = tuning.centre_of_mass
    mx, my, mz = to_world(car, com[0], com[1], com[2])
    restitution = tuning.ground_restitution if on_ground else tuning.wall_restitution
    _strike(car, tuning, restitution, (nx, ny, nz), (px / total - mx, py / total - my, pz / total - mz))
    move_pose(car, tuning, nx * deepest, ny * deepest, nz * deepest, 0.0, 0.0, 0.0)


@inlined
def _sphere(
    car: Floats, contacts: ContactArrays, tuning: TuningArrays, left: float, up: float, forward: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return the depth of a sphere, the normal, and the place of contact relative to the car's origin, world axes."""
    com = tuning.centre_of_mass
    ax, ay, az = to_world(car, left - com[0], up - com[1], forward - com[2])
    vx, vy, vz = speed_at(car, ax, ay, az)
    ox, oy, oz = to_world(car, left, up, forward)
    x, y, z = car[POSITION] + ox, car[POSITION + 1] + oy, car[POSITION + 2] + oz
    depth, nx, ny, nz = touch_sphere(contacts, x, y, z, vx, vy, vz, SPHERE_M)
    return depth, nx, ny, nz, ox - SPHERE_M * nx, oy - SPHERE_M * ny, oz - SPHERE_M * nz


@inlined
def _strike(
    car: Floats,
    tuning: TuningArrays,
    restitution: float,
    normal: tuple[float, float, float],
    arm: tuple[float, float, float],
) -> None:
    """Apply the impulse of a contact at ``arm`` from the centre of mass: bounce along the normal, friction across."""
    nx, ny, nz = normal
    vx, vy, vz = speed_at(car, arm[0], arm[1], arm[2])
    closing = -(vx * nx + vy * ny + vz * nz)
    if closing <= 0.0:
        return
    bounce = 1.0 + (restitution if closing > tuning.rest_speed_mps else 0.0)
    blow = bounce * closing / _inverse_mass(car, tuning, normal, arm)
    jx, jy, jz = blow * nx, blow * ny, blow * nz
    tx, ty, tz = vx + closing * nx, vy + closing * ny, vz + closing * nz
    across = math.sqrt(tx * tx + ty * ty + tz * tz)
    if across > 1e-9:
        tx, ty, tz = tx / across, ty / across, tz / across
        stopping = across / _inverse_mass(car, tuning, (tx, ty, tz), arm)
        rub = min(tuning.wall_friction * blow, stopping)
        jx, jy, jz = jx - rub * tx, jy - rub * ty, jz - rub * tz
    add_velocity(car, jx, jy, jz)
    wx, wy, wz = spin_change(
        car, tuning, arm[1] * jz - arm[2] * jy, arm[2] * jx - arm[0] * jz, arm[0] * jy - arm[1] * jx
    )
    add_spin(car, wx, wy, wz)


@inlined
def _inverse_mass(
    car: Floats, tuning: TuningArrays, along: tuple[float, float, float], arm: tuple[float, float, float]
) -> float:
    """Return the change of speed along a unit vector at ``arm`` that a unit impulse along it causes there."""
    tx = arm[1] * along[2] - arm[2] * along[1]
    ty = arm[2] * along[0] - arm[0] * along[2]
    tz = arm[0] * along[1] - arm[1] * along[0]
    wx, wy, wz = spin_change(car, tuning, tx, ty, tz)
    return 1.0 + (wx * tx + wy * ty + wz * tz)
