"""One tick of the car: the force model of TMNF's Stadium car, 10 ms at a time.

A tick first moves the car with the velocity that it has, and lets its body hit what is in the way; then it finds the
ground under the wheels, and the forces change the velocity: springs, gravity, lateral grip of each wheel, the torque
that steers, one force along the car; last, the hard stops of the suspension. Positions of recorded races ask for this
order: they run one tick behind those of a car that is moved with its new velocity.
All of the state is in the car's vector (``car_state``), and nothing else is remembered: a copy of the vector replays
to the same bytes. Everything is float64 in a fixed order of the four operations and square roots.
"""

from __future__ import annotations

import math

import numpy as np

from tmrl_ray.simulator.body import move_body
from tmrl_ray.simulator.car_state import (
    AIR_TICKS,
    BRAKE,
    FORCE,
    FREE_WHEELING,
    GAS,
    IS_SLIDING,
    LATERAL_CONTACT,
    LOCAL_SPEED,
    POSITION,
    ROTATION,
    SPIN,
    STEER,
    TURNING_RATE,
    VELOCITY,
    WALL_TICKS_LEFT,
    WHEEL_SLIDING,
)
from tmrl_ray.simulator.engine import drive, touch_pads
from tmrl_ray.simulator.jit import inlined, kernel
from tmrl_ray.simulator.lookup import interpolate
from tmrl_ray.simulator.rigid import add_spin, add_velocity, to_car, to_world
from tmrl_ray.simulator.suspension import (
    NEAR,
    NORMAL,
    WHEEL_FIELDS,
    WHEELS,
    push_out,
    push_springs,
    sense_ground,
    stop_hard,
)
from tmrl_ray.simulator.track import ContactArrays, Floats
from tmrl_ray.simulator.tuning import GRAVITY_MPS2, KMH_PER_MPS, TICK_S, TuningArrays
from tmrl_ray.simulator.tyres import count_sliding, lateral_grip, slope_adherence, steering_torque


@kernel
def tick_car(
    car: Floats, gas: float, brake: float, steer: float, contacts: ContactArrays, tuning: TuningArrays
) -> None:
    """Advance a car by one tick of 10 ms, in place.

    Args:
        car: state vector (CAR_SIZE,).
        gas: 0..1.
        brake: 0 or 1.
        steer: -1 (left) .. 1 (right), what is held; the car's own steering follows within 50 ms.
        contacts: the track, from ``Track.contacts``.
        tuning: from ``CarTuning.arrays``.
    """
    wheels = np.empty((WHEELS, WHEEL_FIELDS))
    before_x, before_y, before_z = car[VELOCITY], car[VELOCITY + 1], car[VELOCITY + 2]
    slew = tuning.steer_slew * TICK_S
    car[STEER] += min(max(steer - car[STEER], -slew), slew)
    car[GAS] = gas if car[FREE_WHEELING] == 0.0 else 0.0
    car[BRAKE] = 1.0 if brake > 0.0 else 0.0
    car[LATERAL_CONTACT] = 0.0
    if car[WALL_TICKS_LEFT] > 0.0:
        car[WALL_TICKS_LEFT] -= 1.0
    move_body(car, contacts, tuning)
    touching = sense_ground(car, contacts, tuning, wheels)
    push_springs(car, tuning, wheels)
    gravity = tuning.gravity_grounded if touching > 0 else tuning.gravity_airborne
    car[VELOCITY + 1] -= gravity * GRAVITY_MPS2 * TICK_S
    if touching > 0:
        car[AIR_TICKS] = 0.0
        touch_pads(car, tuning)
        _roll(car, tuning, wheels)
    else:
        car[AIR_TICKS] += 1.0
        _fly(car, tuning)
    if stop_hard(car, tuning, wheels):
        push_out(car, tuning, wheels)
    _limit_spin(car, tuning)
    _report(car, before_x, before_y, before_z)


@inlined
def _roll(car: Floats, tuning: TuningArrays, wheels: Floats) -> None:
    """Apply what the tyres do to a car with at least one wheel on the ground."""
    nx, ny, nz = _ground_normal(wheels)
    adherence = slope_adherence(tuning, nx * car[ROTATION + 1] + ny * car[ROTATION + 4] + nz * car[ROTATION + 7])
    fx, fy, fz = _along_ground(car[ROTATION + 2], car[ROTATION + 5], car[ROTATION + 8], nx, ny, nz)
    lx, ly, lz = _along_ground(car[ROTATION], car[ROTATION + 3], car[ROTATION + 6], nx, ny, nz)
    vx, vy, vz = car[VELOCITY], car[VELOCITY + 1], car[VELOCITY + 2]
    forward = vx * fx + vy * fy + vz * fz
    sideways = vx * lx + vy * ly + vz * lz
    speed = math.sqrt(vx * vx + vy * vy + vz * vz)
    yaw_rate = car[SPIN] * car[ROTATION + 1] + car[SPIN + 1] * car[ROTATION + 4] + car[SPIN + 2] * car[ROTATION + 7]
    braking = car[BRAKE] > 0.0
    across = lateral_grip(car, tuning, wheels, speed, sideways, adherence, braking) * TICK_S
    yaw = steering_torque(car, tuning, forward, sideways, yaw_rate, adherence)
    along = drive(car, tuning, forward, car[GAS], braking, count_sliding(car)) * adherence * TICK_S
    add_velocity(car, fx * along + lx * across, fy * along + ly * across, fz * along + lz * across)
    squat, lean = -tuning.squat_arm_m * along, tuning.lean_arm_m * across
    inverse = tuning.inverse_inertia
    wx, wy, wz = to_world(car, squat * inverse[0], yaw * TICK_S * inverse[1], lean * inverse[2])
    add_spin(car, wx, wy, wz)
    if car[WALL_TICKS_LEFT] > 0.0 and speed > 0.0:
        slowed = min(interpolate(tuning.wall_drag, speed * KMH_PER_MPS) * TICK_S / speed, 1.0)
        add_velocity(car, -vx * slowed, -vy * slowed, -vz * slowed)


@inlined
def _ground_normal(wheels: Floats) -> tuple[float, float, float]:
    """Return the mean normal of the ground near the wheels."""
    x, y, z = 0.0, 0.0, 0.0
    for axle in range(2):
        a, b = wheels[2 * axle], wheels[2 * axle + 1]
        x += a[NEAR] * a[NORMAL] + b[NEAR] * b[NORMAL]
        y += a[NEAR] * a[NORMAL + 1] + b[NEAR] * b[NORMAL + 1]
        z += a[NEAR] * a[NORMAL + 2] + b[NEAR] * b[NORMAL + 2]
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-6:
        return 0.0, 0.0, 0.0
    return x / length, y / length, z / length


@inlined
def _along_ground(x: float, y: float, z: float, nx: float, ny: float, nz: float) -> tuple[float, float, float]:
    """Return the direction of a vector along the ground, as a unit vector; zero for one that is normal to it."""
    into = x * nx + y * ny + z * nz
    x, y, z = x - into * nx, y - into * ny, z - into * nz
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-6:
        return 0.0, 0.0, 0.0
    return x / length, y / length, z / length


@inlined
def _fly(car: Floats, tuning: TuningArrays) -> None:
    """Apply what the air does: drag, damping of the spin, and the brake against a rising nose."""
    for i in range(4):
        car[WHEEL_SLIDING + i] = 0.0
    slowed = tuning.air_drag * TICK_S
    add_velocity(car, -car[VELOCITY] * slowed, -car[VELOCITY + 1] * slowed, -car[VELOCITY + 2] * slowed)
    pitch, yaw, roll = to_car(car, car[SPIN], car[SPIN + 1], car[SPIN + 2])
    if car[BRAKE] > 0.0 and pitch < 0.0:
        x, y, z = to_world(car, pitch, 0.0, 0.0)
        add_spin(car, -x, -y, -z)
        pitch = 0.0
    spin = math.sqrt(pitch * pitch + yaw * yaw + roll * roll)
    damping = tuning.air_damping + tuning.air_damping_square * spin
    if -car[STEER] * yaw > 0.0:
        damping *= tuning.air_steer_damping
    damping = min(damping * TICK_S, 0.5)
    inverse = tuning.inverse_inertia
    x, y, z = to_world(car, pitch * inverse[0], yaw * inverse[1], roll * inverse[2])
    add_spin(car, -x * damping, -y * damping, -z * damping)


@inlined
def _limit_spin(car: Floats, tuning: TuningArrays) -> None:
    square = car[SPIN] * car[SPIN] + car[SPIN + 1] * car[SPIN + 1] + car[SPIN + 2] * car[SPIN + 2]
    if square > tuning.spin_limit * tuning.spin_limit:
        scale = tuning.spin_limit / math.sqrt(square)
        for i in range(3):
            car[SPIN + i] *= scale


@inlined
def _report(car: Floats, before_x: float, before_y: float, before_z: float) -> None:
    """Note what the game tells about a tick that has ended."""
    car[IS_SLIDING] = 1.0 if count_sliding(car) > 0 else 0.0
    car[LOCAL_SPEED], car[LOCAL_SPEED + 1], car[LOCAL_SPEED + 2] = to_car(
        car, car[VELOCITY], car[VELOCITY + 1], car[VELOCITY + 2]
    )
    _, car[TURNING_RATE], _ = to_car(car, car[SPIN], car[SPIN + 1], car[SPIN + 2])
    car[FORCE] = (car[VELOCITY] - before_x) / TICK_S
    car[FORCE + 1] = (car[VELOCITY + 1] - before_y) / TICK_S
    car[FORCE + 2] = (car[VELOCITY + 2] - before_z) / TICK_S


@kernel
def settle_car(car: Floats, contacts: ContactArrays, tuning: TuningArrays, ticks: int) -> None:
    """Let a car sink onto its suspension for some ticks while it is held in its place."""
    for _ in range(ticks):
        x, z = car[POSITION], car[POSITION + 2]
        tick_car(car, 0.0, 0.0, 0.0, contacts, tuning)
        car[POSITION], car[POSITION + 2] = x, z
        car[VELOCITY], car[VELOCITY + 2] = 0.0, 0.0


@kernel
def run_ticks(car: Floats, inputs: Floats, contacts: ContactArrays, tuning: TuningArrays, trace: Floats) -> None:
    """Drive a car by a list of inputs (T, 3) gas, brake, steer; note the state after each tick in ``trace``.

    Args:
        trace: (T, CAR_SIZE), or (0, CAR_SIZE) for no trace.
    """
    for t in range(inputs.shape[0]):
        tick_car(car, inputs[t, 0], inputs[t, 1], inputs[t, 2], contacts, tuning)
        if trace.shape[0] > 0:
            trace[t] = car
