"""The ticks of a race: the car moves, the clocks go on, gates are passed.

``advance`` is the step function of both the server and the embedded game; that they share it is what makes them equal
byte for byte. Rules: checkpoints count in any order within a lap, the finish once all of them are taken; at the last
lap's finish the race clock stops and the tick clock goes on. Nothing happens to a car that is stuck or has fallen:
whoever drives decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.state_layout import (
    DYNA_FORCE,
    DYNA_INVERSE_INERTIA,
    DYNA_POSITION,
    DYNA_QUATERNION,
    DYNA_RAW_VELOCITY,
    DYNA_ROTATION,
    DYNA_SPIN,
    DYNA_VELOCITY,
    INPUT_TIME_OFFSET_MS,
)
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator import race_state as rs
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.race_state import RaceArrays
from tmrl_ray.simulator.track import ContactArrays, Floats
from tmrl_ray.simulator.tuning import TuningArrays
from tmrl_ray.simulator.vehicle import tick_car

GATE_REACH_M = 3.4
"""A gate is passed by the point so far in front of the car's origin: its nose is 2.1 m ahead, and the game's gates are
deep. With up to 1 m of travel in a tick, the origin is then 2.4 to 3.4 m before the gate (ghosts: 2.4 to 3.7 m)."""
BELOW_GATE_M = 1.5
"""How far below a gate's lower edge the nose may pass: that of a car that lands or rolls down points into the road."""
INVERSE_INERTIA = (0.48, 0.48, 1.2)  # per axis of the car, public figure for the Stadium car


@kernel
def write_dyna(car: Floats, out: NDArray[np.float32]) -> None:
    """Write the ``car`` into ``out`` (DYNA_SIZE,), a rigid body in the form of the game's state."""
    out[DYNA_QUATERNION : DYNA_QUATERNION + 4] = car[cs.QUATERNION : cs.QUATERNION + 4]
    out[DYNA_ROTATION : DYNA_ROTATION + 9] = car[cs.ROTATION : cs.ROTATION + 9]
    for axis in range(3):
        out[DYNA_POSITION + axis] = car[cs.POSITION + axis]
        out[DYNA_VELOCITY + axis] = car[cs.VELOCITY + axis]
        out[DYNA_RAW_VELOCITY + axis] = car[cs.VELOCITY + axis]
        out[DYNA_SPIN + axis] = car[cs.SPIN + axis]
        out[DYNA_FORCE + axis] = car[cs.FORCE + axis]
        out[DYNA_INVERSE_INERTIA + 4 * axis] = INVERSE_INERTIA[axis]


@kernel
def _nose(car: Floats, axis: int) -> float:
    nose: float = car[cs.POSITION + axis] + GATE_REACH_M * car[cs.ROTATION + 3 * axis + 2]
    return nose


@kernel
def _crosses(gate: Floats, ax: float, ay: float, az: float, bx: float, by: float, bz: float) -> bool:
    """Tell whether the way from a to b goes forwards through the gate's rectangle."""
    ax -= gate[0]
    ay -= gate[1]
    az -= gate[2]
    bx -= gate[0]
    by -= gate[1]
    bz -= gate[2]
    f = rs.GATE_FORWARD
    before = ax * gate[f] + ay * gate[f + 1] + az * gate[f + 2]
    after = bx * gate[f] + by * gate[f + 1] + bz * gate[f + 2]
    if before >= 0.0 or after < 0.0:
        return False
    share = before / (before - after)
    x = ax + share * (bx - ax)
    y = ay + share * (by - ay)
    z = az + share * (bz - az)
    aside: float = x * gate[rs.GATE_LEFT] + y * gate[rs.GATE_LEFT + 1] + z * gate[rs.GATE_LEFT + 2]
    above: float = x * gate[rs.GATE_UP] + y * gate[rs.GATE_UP + 1] + z * gate[rs.GATE_UP + 2]
    half_width: float = gate[rs.GATE_HALF_WIDTH]
    height: float = gate[rs.GATE_HEIGHT]
    return abs(aside) <= half_width and -BELOW_GATE_M <= above <= height


@kernel
def _note_event(race: RaceArrays, event: tuple[int, int]) -> None:
    race.events[event[0]] = INPUT_TIME_OFFSET_MS + race.ledger[rs.RACE_TIME]
    race.events[event[0] + 1] = event[1]


@kernel
def _pass_gate(race: RaceArrays, gate: int) -> None:
    ledger = race.ledger
    race.cp_times[ledger[rs.PASSED]] = ledger[rs.RACE_TIME]
    ledger[rs.PASSED] += 1
    ledger[rs.LAST_GATE] = gate
    race.cp_states[gate] = 1
    race.car[cs.FREE_WHEELING] = 0.0
    if gate < len(race.cp_states) - 1:
        return
    ledger[rs.LAP] += 1
    if ledger[rs.LAP] == race.laps[0]:
        ledger[rs.FINISHED] = 1
        _note_event(race, rs.FINISH_EVENT)
    else:
        race.cp_states[:] = 0
        ledger[rs.LAP_START] = ledger[rs.RACE_TIME]


@kernel
def _pass_gates(race: RaceArrays, x: float, y: float, z: float) -> int:
    """Pass the gates between the nose's last place x, y, z and its place now; return how many were passed."""
    finish = len(race.cp_states) - 1
    car = race.car
    count = 0
    for gate in range(finish + 1):
        open_now = race.cp_states[gate] == 0
        if gate == finish and open_now:
            open_now = race.cp_states[:finish].sum() == finish
        if open_now and _crosses(race.gates[gate], x, y, z, _nose(car, 0), _nose(car, 1), _nose(car, 2)):
            _pass_gate(race, gate)
            count += 1
    return count


@kernel
def _move_car(race: RaceArrays, contacts: ContactArrays, tuning: TuningArrays) -> None:
    ledger = race.ledger
    if ledger[rs.RACE_TIME] < 0:
        return  # recorded ghosts hang at their spawn until race time 0, and drop onto their wheels then
    steer = ledger[rs.STEER] / rs.FULL_STEER if ledger[rs.ANALOG] else float(ledger[rs.RIGHT] - ledger[rs.LEFT])
    tick_car(race.car, float(ledger[rs.ACCELERATE]), float(ledger[rs.BRAKE]), steer, contacts, tuning)


@kernel
def _tick(race: RaceArrays, contacts: ContactArrays, tuning: TuningArrays) -> int:
    """Play one tick and return how many gates were passed in it."""
    car, ledger = race.car, race.ledger
    write_dyna(car, race.previous)
    x, y, z = _nose(car, 0), _nose(car, 1), _nose(car, 2)
    turbo_kind = car[cs.TURBO_KIND]
    turbo_ticks = car[cs.TURBO_TICKS_LEFT]
    _move_car(race, contacts, tuning)
    ledger[rs.TICK_TIME] += rs.TICK_MS
    if ledger[rs.FINISHED] == 0:
        ledger[rs.RACE_TIME] += rs.TICK_MS
    now = ledger[rs.RACE_TIME]
    if car[cs.LATERAL_CONTACT] != 0.0:
        ledger[rs.LATERAL_TIME] = now
    if car[cs.TURBO_KIND] != turbo_kind:
        ledger[rs.TURBO_TYPE_TIME] = now
    if car[cs.TURBO_KIND] != 0.0 and car[cs.TURBO_TICKS_LEFT] >= turbo_ticks:
        ledger[rs.TURBO_TIME] = now
    if now == 0:
        _note_event(race, rs.RUNNING_EVENT)
    if ledger[rs.FINISHED] or now <= 0:
        return 0
    return _pass_gates(race, x, y, z)


@kernel
def advance(race: RaceArrays, contacts: ContactArrays, tuning: TuningArrays, period_ms: int, stop_ms: int) -> int:
    """Play ticks until a run step is due, the clock shows ``stop_ms``, or gates are passed; return how many were.

    A run step is due at the multiples of ``period_ms``, and after every tick once the race is finished.
    """
    ledger = race.ledger
    while ledger[rs.RACE_TIME] < rs.LAST_RACE_TIME_MS:
        passed = _tick(race, contacts, tuning)
        now = ledger[rs.RACE_TIME]
        if passed > 0 or ledger[rs.FINISHED] or now % period_ms == 0 or now == stop_ms:
            return passed
    return 0
