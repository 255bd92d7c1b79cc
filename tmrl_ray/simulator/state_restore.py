"""The way back from the bytes of a state to a race; ``state_codec`` has the whole story."""

from __future__ import annotations

import numpy as np

from tmrl_ray.game import state_layout as at
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator import race_state as rs
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.race_state import Ints, RaceArrays
from tmrl_ray.simulator.state_fields import (
    ANALOG_AT,
    BLOCK_VERSION,
    BLOCK_VERSION_AT,
    FINGERPRINT_AT,
    FINGERPRINT_WORDS,
    FLOAT_FIELDS,
    INT_FIELDS,
    INT_LIMITS,
    MAGIC,
    MAGIC_AT,
    OVERTIME_AT,
    StateImage,
)
from tmrl_ray.simulator.track import Floats, Material

PROBLEMS = {
    1: "a number of the car is not finite, or far beyond what a car can have",
    2: "gear, gearbox state or a material is not one that the game knows",
    3: "the rotation is not one",
    4: "the race time is not a multiple of 10 ms between the countdown and eleven days",
}
_LARGEST = 1e6  # metres, m/s, rpm: far beyond any car, near enough for exact arithmetic
_TURBO = int(Material.TURBO)
# For states without a private block. Public figures for how long each effect lasts:
_TURBO_TICKS = 25
_TURBO2_TICKS = 10
_WALL_TICKS = 50


@kernel
def restore(image: StateImage, fingerprint: Ints, race: RaceArrays) -> int:
    """Put ``race`` into the state of ``image``; return 0, or the number of a problem and leave the race alone."""
    ints = image.ints
    now = ints[at.RACE_TIME]
    if now % rs.TICK_MS != 0 or not -rs.COUNTDOWN_MS <= now <= rs.LAST_RACE_TIME_MS:
        return 4
    ours = ints[MAGIC_AT] == MAGIC and ints[BLOCK_VERSION_AT] == BLOCK_VERSION
    for i in range(FINGERPRINT_WORDS):
        ours = ours and ints[FINGERPRINT_AT + i] == fingerprint[i]
    car = np.zeros(cs.CAR_SIZE)
    if ours:
        car[:] = image.car
    turned, moved = _take_public(image, ours, car)
    problem = _check(image, car)
    if problem == 0 and turned:
        problem = _straighten(car, turned)
    if problem != 0:
        return problem
    if turned or moved:
        _turn_speed(car)
    if not ours:
        _guess_counters(ints, car)
    race.car[:] = car
    race.previous[:] = image.floats[at.PREVIOUS_STATE : at.PREVIOUS_STATE + at.DYNA_SIZE]
    _take_inputs(ints, ours, race)
    _take_gates(ints, race)
    _take_clocks(ints, ours, race)
    return 0


@kernel
def _take_public(image: StateImage, ours: bool, car: Floats) -> tuple[int, bool]:
    """Take every public field that differs from what ``car`` would give.

    Returns:
        turned: 0, or 1 when the rotation matrix tells the new attitude, 2 when the quaternion does.
        moved: whether the velocity is new.
    """
    matrix, quaternion, moved = not ours, not ours, not ours
    for row in range(len(FLOAT_FIELDS)):
        place = FLOAT_FIELDS[row, 0]
        value = image.floats[FLOAT_FIELDS[row, 1]]
        if ours and np.float32(car[place]) == value:
            continue
        car[place] = value
        matrix = matrix or cs.ROTATION <= place < cs.ROTATION + 9
        quaternion = quaternion or cs.QUATERNION <= place < cs.QUATERNION + 4
        moved = moved or cs.VELOCITY <= place < cs.VELOCITY + 3
    for row in range(len(INT_FIELDS)):
        car[INT_FIELDS[row, 0]] = image.ints[INT_FIELDS[row, 1]] & 0xFFFF
    if quaternion:
        return 2, moved
    return (1 if matrix else 0), moved


@kernel
def _check(image: StateImage, car: Floats) -> int:
    for i in range(cs.CAR_SIZE):
        if not abs(car[i]) <= _LARGEST:  # also refuses what is not a number
            return 1
    for row in range(len(INT_FIELDS)):
        if not car[INT_FIELDS[row, 0]] <= INT_LIMITS[row]:
            return 2
    return 0


@kernel
def _straighten(car: Floats, turned: int) -> int:
    """Make quaternion and rotation matrix one proper rotation again, after the matrix (1) or the quaternion (2)."""
    q = car[cs.QUATERNION : cs.QUATERNION + 4]
    r = car[cs.ROTATION : cs.ROTATION + 9]
    if turned == 1:
        _quaternion_of(r, q)
    length = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if not 0.5 < length < 2.0:
        return 3
    w, x, y, z = q[0] / length, q[1] / length, q[2] / length, q[3] / length
    q[0], q[1], q[2], q[3] = w, x, y, z
    r[0], r[1], r[2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    r[3], r[4], r[5] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    r[6], r[7], r[8] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return 0


@kernel
def _quaternion_of(r: Floats, q: Floats) -> None:
    """Write the quaternion of the matrix ``r`` (9,) into ``q``, by the largest of its components."""
    squares = (1 + r[0] + r[4] + r[8], 1 + r[0] - r[4] - r[8], 1 - r[0] + r[4] - r[8], 1 - r[0] - r[4] + r[8])
    largest = 0
    for i in range(1, 4):
        if squares[i] > squares[largest]:
            largest = i
    if largest == 0:
        q[0], q[1], q[2], q[3] = squares[0], r[7] - r[5], r[2] - r[6], r[3] - r[1]
    elif largest == 1:
        q[0], q[1], q[2], q[3] = r[7] - r[5], squares[1], r[3] + r[1], r[2] + r[6]
    elif largest == 2:
        q[0], q[1], q[2], q[3] = r[2] - r[6], r[3] + r[1], squares[2], r[7] + r[5]
    else:
        q[0], q[1], q[2], q[3] = r[3] - r[1], r[2] + r[6], r[7] + r[5], squares[3]
    scale = 0.5 / np.sqrt(max(squares[largest], 1e-12))
    for i in range(4):
        q[i] *= scale


@kernel
def _turn_speed(car: Floats) -> None:
    """Write the velocity in the car's axes, as the next tick would."""
    for axis in range(3):
        total = 0.0
        for i in range(3):
            total += car[cs.ROTATION + 3 * i + axis] * car[cs.VELOCITY + i]
        car[cs.LOCAL_SPEED + axis] = total


@kernel
def _guess_counters(ints: Ints, car: Floats) -> None:
    """Rebuild how long each effect still lasts from when it began."""
    now = ints[at.RACE_TIME]
    car[cs.SHIFT_TICKS_LEFT] = 0.0  # a shift goes on until the rpm, which the state tells, are those of the gear
    if car[cs.TURBO_KIND] != 0.0:
        lasts = _TURBO_TICKS if car[cs.TURBO_KIND] == _TURBO else _TURBO2_TICKS
        car[cs.TURBO_TICKS_LEFT] = min(max(lasts - (now - ints[at.TURBO_TIME]) // rs.TICK_MS, 0), lasts)
    if ints[at.LATERAL_CONTACT_TIME] > 0:
        age = (now - ints[at.LATERAL_CONTACT_TIME]) // rs.TICK_MS
        car[cs.WALL_TICKS_LEFT] = min(max(_WALL_TICKS - age, 0), _WALL_TICKS)
    in_air = True
    for wheel in range(4):
        in_air = in_air and car[cs.WHEEL_CONTACT + wheel] == 0.0
    car[cs.AIR_TICKS] = 1.0 if in_air else 0.0


@kernel
def _take_inputs(ints: Ints, ours: bool, race: RaceArrays) -> None:
    race.events[:] = ints[at.EVENT_RUNNING : at.EVENT_RUNNING + rs.EVENT_WORDS]
    race.cached[:] = ints[at.CACHED_INPUTS : at.CACHED_INPUTS + len(race.cached)]
    ledger = race.ledger
    ledger[rs.ACCELERATE] = 1 if ints[at.EVENT_ACCELERATE + 1] & at.EVENT_VALUE_MASK else 0
    ledger[rs.BRAKE] = 1 if ints[at.EVENT_BRAKE + 1] & at.EVENT_VALUE_MASK else 0
    ledger[rs.LEFT] = 1 if ints[at.EVENT_LEFT + 1] & at.EVENT_VALUE_MASK else 0
    ledger[rs.RIGHT] = 1 if ints[at.EVENT_RIGHT + 1] & at.EVENT_VALUE_MASK else 0
    value = ints[at.EVENT_STEER + 1] & at.EVENT_VALUE_MASK
    if value > at.EVENT_VALUE_MASK >> 1:
        value -= at.EVENT_VALUE_MASK + 1
    ledger[rs.STEER] = min(max(-value, -rs.FULL_STEER), rs.FULL_STEER)
    analog = ledger[rs.STEER] != 0 or (ours and ints[ANALOG_AT] != 0)
    ledger[rs.ANALOG] = 1 if analog else 0


@kernel
def _take_gates(ints: Ints, race: RaceArrays) -> None:
    """Take the gates passed: the times tell how many, the flags which.

    The finish counts as passed only while both its time and ``race_finished`` say so, so that a client can undo it
    by either. Flags that do not agree with the number of times are put right, the finish first.
    """
    ledger, states, times = race.ledger, race.cp_states, race.cp_times
    n, m = len(states), len(times)
    passed = 0
    while passed < m and ints[at.CP_STATES + n + 1 + 2 * passed] >= 0:
        times[passed] = ints[at.CP_STATES + n + 1 + 2 * passed]
        passed += 1
    finished = passed == m and ints[at.RACE_FINISHED] != 0
    if passed == m and not finished:
        passed -= 1
    times[passed:] = -1
    lap = passed // n
    wanted = n if finished else passed - lap * n
    found = 0
    for gate in range(n):
        states[gate] = 1 if ints[at.CP_STATES + gate] != 0 and (gate < n - 1 or finished) else 0
        found += states[gate]
    for gate in range(n - 1, -1, -1):
        if found > wanted and states[gate] == 1:
            states[gate] = 0
            found -= 1
    for gate in range(n):
        if found < wanted and states[gate] == 0:
            states[gate] = 1
            found += 1
    ledger[rs.PASSED] = passed
    ledger[rs.LAP] = lap
    ledger[rs.FINISHED] = 1 if finished else 0
    ledger[rs.LAP_START] = 0 if lap == 0 or finished else times[lap * n - 1]
    if finished and lap > 1:
        ledger[rs.LAP_START] = times[(lap - 1) * n - 1]
    ledger[rs.LAST_GATE] = _last_gate(ints[at.CURRENT_CHECKPOINT], states, lap)


@kernel
def _last_gate(said: int, states: Ints, lap: int) -> int:
    """Return the gate where a respawn puts the car: the one that the state names, if it was passed."""
    n = len(states)
    if 0 <= said < n and (states[said] == 1 or (said == n - 1 and lap > 0)):
        return said
    for gate in range(n - 1, -1, -1):
        if states[gate] == 1:
            return gate
    return n - 1 if lap > 0 else -1


@kernel
def _take_clocks(ints: Ints, ours: bool, race: RaceArrays) -> None:
    ledger = race.ledger
    now = ints[at.RACE_TIME]
    overtime = 0
    if ours and ledger[rs.FINISHED]:
        overtime = min(max(ints[OVERTIME_AT], 0), rs.LAST_RACE_TIME_MS)
    ledger[rs.RACE_TIME] = now
    ledger[rs.TICK_TIME] = now + overtime
    ledger[rs.RESPAWNS] = ints[at.RESPAWN_COUNT]
    ledger[rs.LATERAL_TIME] = ints[at.LATERAL_CONTACT_TIME]
    ledger[rs.TURBO_TIME] = ints[at.TURBO_TIME]
    ledger[rs.TURBO_TYPE_TIME] = ints[at.TURBO_TYPE_CHANGE_TIME]
