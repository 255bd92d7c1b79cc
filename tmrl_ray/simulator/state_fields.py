"""Where the numbers of a car and a race stand in the game's simulation state: the tables of ``state_codec``.

A private block lies in the bytes that the game gives no name: magic, version, the first bytes of the track's
fingerprint, what no public field holds of the race, and the car's 64-bit vector.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game import state_layout as at
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.race_state import COUNTDOWN_MS, Ints
from tmrl_ray.simulator.race_ticks import write_dyna
from tmrl_ray.simulator.track import Floats, Track

STATE_VERSION = 2
CLOCK_AT_START_MS = 100_000
"""What the game's own clock shows when the race clock shows 0; input events are timed by it."""

# The private block, as indices of 32-bit words.
MAGIC_AT = at.PRIVATE
BLOCK_VERSION_AT = at.PRIVATE + 1
FINGERPRINT_AT = at.PRIVATE + 2  # 4
OVERTIME_AT = at.PRIVATE + 6  # ms of the tick clock beyond the race clock
ANALOG_AT = at.PRIVATE + 7
CAR_AT_BYTE = 4 * at.PRIVATE + 40
MAGIC = 0x724C4D54  # "TMLr"
BLOCK_VERSION = 1
FINGERPRINT_WORDS = 4


def _rows(*fields: tuple[int, int, int]) -> Ints:
    """Return (index in the car, index in the state) for each number of ``fields`` (car, state, count)."""
    rows = [(car + i, state + i) for car, state, count in fields for i in range(count)]
    return np.array(rows, np.int32)


def _wheel_rows(car: int, state: int) -> list[tuple[int, int, int]]:
    return [(car + i, state + i * at.WHEEL_STRIDE, 1) for i in range(at.WHEEL_COUNT)]


FLOAT_FIELDS = _rows(
    (cs.QUATERNION, at.CURRENT_STATE + at.DYNA_QUATERNION, 4),
    (cs.ROTATION, at.CURRENT_STATE + at.DYNA_ROTATION, 9),
    (cs.POSITION, at.CURRENT_STATE + at.DYNA_POSITION, 3),
    (cs.VELOCITY, at.CURRENT_STATE + at.DYNA_VELOCITY, 3),
    (cs.SPIN, at.CURRENT_STATE + at.DYNA_SPIN, 3),
    (cs.FORCE, at.CURRENT_STATE + at.DYNA_FORCE, 3),
    (cs.GAS, at.INPUT_GAS, 1),
    (cs.BRAKE, at.INPUT_BRAKE, 1),
    (cs.STEER, at.INPUT_STEER, 1),
    (cs.RPM, at.ENGINE_RPM, 1),
    (cs.TURNING_RATE, at.TURNING_RATE, 1),
    (cs.LOCAL_SPEED, at.LOCAL_SPEED, 3),
    *_wheel_rows(cs.WHEEL_ABSORB, at.WHEEL_ABSORB),
)
"""The car's numbers that the state holds as 32-bit floats."""

INT_FIELDS = _rows(
    (cs.GEAR, at.ENGINE_GEAR, 1),
    (cs.GEARBOX_STATE, at.GEARBOX_STATE, 1),
    (cs.TURBO_KIND, at.TURBO_TYPE, 1),
    (cs.FREE_WHEELING, at.IS_FREEWHEELING, 1),
    (cs.LATERAL_CONTACT, at.HAS_LATERAL_CONTACT, 1),
    (cs.IS_SLIDING, at.IS_SLIDING, 1),
    *_wheel_rows(cs.WHEEL_CONTACT, at.WHEEL_CONTACT),
    *_wheel_rows(cs.WHEEL_SLIDING, at.WHEEL_SLIDING),
    *_wheel_rows(cs.WHEEL_MATERIAL, at.WHEEL_MATERIAL),
)
"""The car's numbers that the state holds as integers; of each, only the low 16 bits count."""

_LARGEST_MATERIAL = 30
INT_LIMITS = np.array([5, 2, _LARGEST_MATERIAL, 1, 1, 1, *[1] * 8, *[_LARGEST_MATERIAL] * 4], np.int32)
"""The greatest value of each of ``INT_FIELDS``; the vehicle's tables end there."""

WHEEL_OFFSETS = ((0.863, 0.3525, 1.782), (-0.863, 0.3525, 1.782), (-0.885, 0.3525, -1.2055), (0.885, 0.3525, -1.2055))
"""Metres from the car's origin, in its axes; public figures of the Stadium car."""
STEERABLE_WHEELS = (0, 1)
MAX_LINEAR_SPEED_MPS = 277.8
MAX_RPM = 11_000.0


class StateImage(NamedTuple):
    """One buffer with the bytes of a state, seen as the kernels need it."""

    floats: NDArray[np.float32]
    ints: Ints
    car: Floats
    """(CAR_SIZE,) the car in the private block."""


def image_of(buffer: NDArray[np.uint8]) -> StateImage:
    """Return the views of ``buffer`` (length,) through which the kernels read and write it."""
    car = buffer[CAR_AT_BYTE : CAR_AT_BYTE + 8 * cs.CAR_SIZE].view(np.float64)
    return StateImage(buffer.view(np.float32), buffer.view(np.int32), car)


def fingerprint_words(track: Track) -> Ints:
    """Return the first 16 bytes of the track's fingerprint as (4,) integers."""
    return np.frombuffer(bytes.fromhex(track.fingerprint)[: 4 * FINGERPRINT_WORDS], np.int32).copy()


def template(track: Track) -> NDArray[np.uint8]:
    """Return the bytes of a state with all that never changes in a race on ``track``."""
    gate_count = len(track.gates)
    state = SimState.blank(gate_count, gate_count * track.laps)
    state.version = STATE_VERSION
    floats, ints = state.floats, state.ints
    body = np.zeros(at.DYNA_SIZE, np.float32)
    write_dyna(cs.at_rest(track.spawn.position, track.spawn.rotation), body)
    for start in (at.PREVIOUS_STATE, at.CURRENT_STATE, at.TEMP_STATE):
        floats[start : start + at.DYNA_SIZE] = body
    floats[at.MAX_LINEAR_SPEED] = MAX_LINEAR_SPEED_MPS
    floats[at.ENGINE_MAX_RPM] = MAX_RPM
    for wheel, offset in enumerate(WHEEL_OFFSETS):
        step = wheel * at.WHEEL_STRIDE
        floats[at.WHEEL_OFFSET + step : at.WHEEL_OFFSET + step + 3] = offset
        ints[at.WHEEL_STEERABLE + step] = wheel in STEERABLE_WHEELS
    ints[at.RACE_START_TIME] = CLOCK_AT_START_MS
    ints[at.RACE_BEST_TIME] = ints[at.LAP_BEST_TIME] = -1
    ints[at.COUNTDOWN_TIME] = COUNTDOWN_MS
    ints[MAGIC_AT], ints[BLOCK_VERSION_AT] = MAGIC, BLOCK_VERSION
    ints[FINGERPRINT_AT : FINGERPRINT_AT + FINGERPRINT_WORDS] = fingerprint_words(track)
    return np.frombuffer(bytearray(state.to_bytes()), np.uint8)
