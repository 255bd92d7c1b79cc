"""Forwards and backwards: gears, engine, brakes, turbo pads. One force along the car, at its centre of mass."""

from __future__ import annotations

from tmrl_ray.simulator.car_state import (
    FREE_WHEELING,
    GEAR,
    GEARBOX_STATE,
    RPM,
    SHIFT_TICKS_LEFT,
    TURBO_KIND,
    TURBO_TICKS_LEFT,
    WHEEL_CONTACT,
    WHEEL_MATERIAL,
)
from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.lookup import interpolate, step_value
from tmrl_ray.simulator.suspension import WHEELS
from tmrl_ray.simulator.track import Floats, Material
from tmrl_ray.simulator.tuning import BRAKE_LIMIT, ENGINE, KMH_PER_MPS, TICK_S, TOP_SPEED, TuningArrays

TURBO = int(Material.TURBO)
TURBO2 = int(Material.TURBO2)
FREE_WHEEL = int(Material.FREE_WHEELING)
NORMAL, SHIFTING, STANDING_START = 0, 1, 2
GEARS = 5
CREEP_MPS = 0.3
"""Below it the brake stands for "backwards"."""


@inlined
def touch_pads(car: Floats, tuning: TuningArrays) -> None:
    """Start a turbo or the free wheel when a wheel stands on such a pad; let a running turbo run out."""
    if car[TURBO_TICKS_LEFT] > 0.0:
        car[TURBO_TICKS_LEFT] -= 1.0
        if car[TURBO_TICKS_LEFT] == 0.0:
            car[TURBO_KIND] = 0.0
    for i in range(WHEELS):
        if car[WHEEL_CONTACT + i] == 1.0:
            material = int(car[WHEEL_MATERIAL + i])
            if material == TURBO and car[TURBO_KIND] != TURBO2:
                car[TURBO_KIND], car[TURBO_TICKS_LEFT] = TURBO, tuning.turbo_ticks
            elif material == TURBO2:
                car[TURBO_KIND], car[TURBO_TICKS_LEFT] = TURBO2, tuning.turbo2_ticks
            elif material == FREE_WHEEL:
                car[FREE_WHEELING] = 1.0


@inlined
def shift_gears(car: Floats, tuning: TuningArrays, forward: float, gas: float, reversing: bool) -> None:
    """Choose the gear for a speed in m/s, and move the rpm towards what gear and speed ask for.

    A shift opens the clutch for some ticks; then the rpm moves to those of the new gear, and the shift ends when it is
    there. This is why the shift from 1 to 2 takes 0.28 s and that from 4 to 5 only 0.16 s in recorded races.
    """
    gear, state = int(car[GEAR]), int(car[GEARBOX_STATE])
    rpm, held = car[RPM], car[SHIFT_TICKS_LEFT] > 0.0
    if state != SHIFTING:
        chosen = _choose_gear(tuning, gear, rpm, reversing)
        if chosen != gear and min(chosen, gear) > 0:
            state, held = SHIFTING, tuning.clutch_ticks > 0.0
            car[SHIFT_TICKS_LEFT] = tuning.clutch_ticks
        gear = chosen
    wanted = min(abs(forward) * tuning.gear_ratios[max(gear - 1, 0)], tuning.max_rpm)
    if state == STANDING_START:
        if wanted >= tuning.launch_rpm or reversing:
            state = NORMAL
        elif gas > 0.0:
            wanted = tuning.max_rpm
    if held:
        car[SHIFT_TICKS_LEFT] -= 1.0
    else:
        rpm += min(max(wanted - rpm, -tuning.rpm_fall * TICK_S), tuning.rpm_rise * TICK_S)
        if state == SHIFTING and rpm == wanted:
            state = NORMAL
    car[GEAR], car[GEARBOX_STATE], car[RPM] = gear, state, rpm


@inlined
def _choose_gear(tuning: TuningArrays, gear: int, rpm: float, reversing: bool) -> int:
    if reversing:
        return 0
    if gear == 0:
        return 1
    if gear < GEARS and rpm >= tuning.shift_up[gear - 1] * tuning.max_rpm:
        return gear + 1
    if gear > 1 and rpm < tuning.shift_down[gear - 2] * tuning.max_rpm:
        return gear - 1
    return gear


@inlined
def drive(car: Floats, tuning: TuningArrays, forward: float, gas: float, brake: bool, sliding: int) -> float:
    """Return the acceleration along the car, m/s2, of engine, turbo, drag and brakes on the ground.

    Args:
        forward: speed along the car, m/s.
        gas: 0..1.
        brake: whether the brake is held.
        sliding: how many wheels slide.
    """
    top_speed, engine, brake_grip = _surface(car, tuning)
    reversing = brake and gas == 0.0 and forward < CREEP_MPS
    shift_gears(car, tuning, forward, gas, reversing)
    boost = 0.0
    if car[TURBO_KIND] == TURBO:
        boost = tuning.turbo
    elif car[TURBO_KIND] == TURBO2:
        boost = tuning.turbo2
    throttle = gas * engine if car[GEARBOX_STATE] != SHIFTING else 0.0
    push = (throttle + boost) * step_value(tuning.acceleration, max(forward, 0.0) * KMH_PER_MPS / top_speed)
    if reversing and forward > -tuning.reverse_limit_mps:
        push -= interpolate(tuning.reverse, -forward * KMH_PER_MPS) * engine
    if forward > tuning.speed_limit_mps:
        push = -tuning.over_limit_drag
    drag = 0.0
    if not reversing:
        drag = (1.0 - gas) * (tuning.engine_drag + tuning.engine_drag_per_mps * abs(forward))
        if brake:
            drag += _brake(tuning, abs(forward), brake_grip, sliding)
    stopping = abs(forward) / TICK_S + (push if push * forward > 0.0 else 0.0)
    drag = min(drag, stopping)
    return push - drag if forward > 0.0 else push + drag


@inlined
def _brake(tuning: TuningArrays, pace: float, grip: float, sliding: int) -> float:
    limit = tuning.brake_limit_sliding if sliding > 0 else tuning.brake_limit
    wanted = tuning.brake_base + tuning.brake_per_mps * pace
    return float(min(wanted, limit * grip) * (1.0 - 0.125 * sliding))


@inlined
def _surface(car: Floats, tuning: TuningArrays) -> tuple[float, float, float]:
    """Return the mean factors on top speed, engine and brakes under the wheels that touch the ground."""
    top_speed, engine, brake, count = 0.0, 0.0, 0.0, 0.0
    for axle in range(2):
        a, b = 2 * axle, 2 * axle + 1
        on_a, on_b = car[WHEEL_CONTACT + a], car[WHEEL_CONTACT + b]
        row_a = tuning.materials[int(car[WHEEL_MATERIAL + a])]
        row_b = tuning.materials[int(car[WHEEL_MATERIAL + b])]
        top_speed += on_a * row_a[TOP_SPEED] + on_b * row_b[TOP_SPEED]
        engine += on_a * row_a[ENGINE] + on_b * row_b[ENGINE]
        brake += on_a * row_a[BRAKE_LIMIT] + on_b * row_b[BRAKE_LIMIT]
        count += on_a + on_b
    if count == 0.0:
        return 1.0, 0.0, 0.0
    return top_speed / count, engine / count, brake / count
