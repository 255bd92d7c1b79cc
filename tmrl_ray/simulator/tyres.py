"""Sideways forces: the grip of each wheel, its slides, and the torque that steers.

The lateral force of a wheel acts at the centre of mass, as in the game: it bends the path and does not turn the car.
What turns the car is a torque of its own, from the steering, against a damping from the axles.
"""

from __future__ import annotations

from tmrl_ray.simulator.car_state import STEER, WHEEL_CONTACT, WHEEL_MATERIAL, WHEEL_SLIDING
from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.lookup import interpolate, quarter_sine
from tmrl_ray.simulator.suspension import LOAD, WHEELS
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.tuning import GRAVITY_MPS2, GRIP, KMH_PER_MPS, TuningArrays


@inlined
def lateral_grip(
    car: Floats,
    tuning: TuningArrays,
    wheels: Floats,
    speed: float,
    sideways: float,
    adherence: float,
    braking: bool,
) -> float:
    """Return the lateral acceleration of all wheels, m/s2, to the left, and note which of them slide.

    Args:
        speed: m/s.
        sideways: speed of the centre of mass to the left along the ground, m/s.
        adherence: 0..1, see :func:`slope_adherence`.
        braking: whether the brake is held.
    """
    cap = interpolate(tuning.grip_cap, speed * KMH_PER_MPS) * adherence
    standing_load = 0.25 * tuning.gravity_grounded * GRAVITY_MPS2
    sliding_share = tuning.slide_grip_braking if braking else tuning.slide_grip
    trigger = tuning.brake_trigger if braking else 1.0
    total = 0.0
    for axle in range(2):
        both = 0.0
        for i in range(2 * axle, 2 * axle + 2):
            if car[WHEEL_CONTACT + i] == 0.0:
                car[WHEEL_SLIDING + i] = 0.0
                continue
            grip = tuning.materials[int(car[WHEEL_MATERIAL + i]), GRIP]
            limit = cap * grip * (wheels[i, LOAD] / standing_load)
            wanted = tuning.grip_stiffness * abs(sideways)
            threshold = limit * (sliding_share if car[WHEEL_SLIDING + i] == 1.0 else trigger)
            if wanted > threshold:
                car[WHEEL_SLIDING + i] = 1.0
                limit *= sliding_share
                wanted = limit + tuning.slide_overflow * max(wanted - limit, 0.0)
            else:
                car[WHEEL_SLIDING + i] = 0.0
            both += wanted
        total += both
    return -total if sideways > 0.0 else total


@inlined
def steering_torque(
    car: Floats, tuning: TuningArrays, forward: float, sideways: float, yaw_rate: float, adherence: float
) -> float:
    """Return the yaw torque of steering and axles, rad/s2 for an inverse inertia of 1, positive to the left.

    Args:
        forward, sideways: speed along the ground, m/s, forward and to the left.
        yaw_rate: rad/s, positive to the left.
        adherence: 0..1, see :func:`slope_adherence`.
    """
    front = 0.5 * adherence * (car[WHEEL_CONTACT] + car[WHEEL_CONTACT + 1])
    rear = 0.5 * adherence * (car[WHEEL_CONTACT + 2] + car[WHEEL_CONTACT + 3])
    half_base = 0.5 * (tuning.wheel_offsets[0, 2] - tuning.wheel_offsets[2, 2])
    stiffness = tuning.grip_stiffness * tuning.yaw_damping
    axles = -stiffness * (front * (sideways + yaw_rate * half_base) - rear * (sideways - yaw_rate * half_base))
    steered = 0.0
    pace = abs(forward)
    if pace >= tuning.steer_dead_mps:
        fade = quarter_sine(min(pace / tuning.steer_fade_mps, 1.0))
        steered = -car[STEER] * fade * interpolate(tuning.steer_force, pace * KMH_PER_MPS) * front
    wheels_of_an_axle = 2.0
    return float(wheels_of_an_axle * half_base * (axles + (steered if forward > 0.0 else -steered)))


@inlined
def slope_adherence(tuning: TuningArrays, cosine: float) -> float:
    """Return how much force tyres have, 0..1, by the cosine between the ground's normal and the car's up axis."""
    share = (cosine - tuning.adherence_none) / (tuning.adherence_full - tuning.adherence_none)
    return float(min(max(share, 0.0), 1.0))


@inlined
def count_sliding(car: Floats) -> int:
    """Return how many wheels slide."""
    sliding = 0
    for i in range(WHEELS):
        sliding += int(car[WHEEL_SLIDING + i])
    return sliding
