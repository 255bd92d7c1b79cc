"""What a race remembers between two ticks besides the car: clocks, gates passed, keys held.

As the car, it is kept in arrays, so that the kernels of ``race_ticks`` and ``state_codec`` work on it in place. All of
it except the tick clock and the kind of steering stands in the public fields of the game's state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game import state_layout as at
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.simulator.car_state import CAR_SIZE
from tmrl_ray.simulator.track import Floats, Track

Ints = NDArray[np.int32]

TICK_MS = 10
COUNTDOWN_MS = 2600
FULL_STEER = 65_536
LAST_RACE_TIME_MS = 1_000_000_000
"""The clock stops here, after eleven days, rather than run over."""

# The ledger.
RACE_TIME = 0  # ms; stops at the finish
TICK_TIME = 1  # ms; goes on after the finish
PASSED = 2  # gates passed in all laps
LAP = 3  # laps completed
LAST_GATE = 4  # index of the gate passed last, where a respawn puts the car; -1 none
RESPAWNS = 5
FINISHED = 6  # 0 or 1
LAP_START = 7  # race time at which the lap began
LATERAL_TIME = 8  # race time of the last contact with a wall
TURBO_TIME = 9  # race time of the last tick on a turbo pad
TURBO_TYPE_TIME = 10  # race time at which the kind of turbo changed last
LEFT = 11  # keys: 0 or 1
RIGHT = 12
ACCELERATE = 13
BRAKE = 14
ANALOG = 15  # 1: STEER steers, 0: the keys do
STEER = 16  # -FULL_STEER (left) .. FULL_STEER
LEDGER_SIZE = 17

# A row of the gates' array.
GATE_CENTRE = 0  # 3
GATE_LEFT = 3  # 3
GATE_UP = 6  # 3
GATE_FORWARD = 9  # 3
GATE_HALF_WIDTH = 12
GATE_HEIGHT = 13
GATE_SIZE = 14

EVENT_WORDS = 16
"""Eight input events of a time and a datum each, in the order and form of the game's state."""
RUNNING_EVENT = (at.EVENT_RUNNING - at.EVENT_RUNNING, at.InputName.RUNNING << at.EVENT_VALUE_BITS | 1)
FINISH_EVENT = (at.EVENT_FINISH - at.EVENT_RUNNING, at.InputName.FINISH << at.EVENT_VALUE_BITS | 1)
"""The two events that the race sets itself: where they stand, and their datum."""


class RaceArrays(NamedTuple):
    """Everything that a tick reads and changes, and the gates. G gates, M = G * laps."""

    car: Floats
    """(CAR_SIZE,)"""
    previous: NDArray[np.float32]
    """(DYNA_SIZE,) the car before the last tick, in the form of the game's state."""
    ledger: Ints
    """(LEDGER_SIZE,)"""
    events: Ints
    """(EVENT_WORDS,) the last change of each input."""
    cached: Ints
    """(30,) the last ten changes, oldest first: the tick's time, the event's time, its datum."""
    cp_states: Ints
    """(G,) 1 for the gates passed in this lap."""
    cp_times: Ints
    """(M,) race time at which each gate was passed, in the order of passing, else -1."""
    gates: Floats
    """(G, GATE_SIZE)"""
    laps: Ints
    """(1,)"""


def blank_arrays(track: Track) -> RaceArrays:
    """Return the arrays of a race on ``track`` that has not been started yet."""
    gate_count = len(track.gates)
    return RaceArrays(
        car=np.zeros(CAR_SIZE),
        previous=np.zeros(at.DYNA_SIZE, np.float32),
        ledger=np.zeros(LEDGER_SIZE, np.int32),
        events=np.zeros(EVENT_WORDS, np.int32),
        cached=np.zeros(at.CACHED_INPUT_COUNT * at.CACHED_INPUT_SIZE, np.int32),
        cp_states=np.zeros(gate_count, np.int32),
        cp_times=np.full(gate_count * track.laps, -1, np.int32),
        gates=_gate_rows(track),
        laps=np.array([track.laps], np.int32),
    )


def _gate_rows(track: Track) -> Floats:
    rows = np.empty((len(track.gates), GATE_SIZE))
    for row, gate in zip(rows, track.gates, strict=True):
        row[GATE_CENTRE : GATE_CENTRE + 3] = gate.centre
        row[GATE_LEFT:GATE_HALF_WIDTH] = gate.rotation.T.ravel()
        row[GATE_HALF_WIDTH] = gate.half_width
        row[GATE_HEIGHT] = gate.height
    return rows


def held_inputs(ledger: Ints) -> Inputs:
    """Return the inputs that the ledger says are held."""
    return Inputs(
        left=bool(ledger[LEFT]),
        right=bool(ledger[RIGHT]),
        accelerate=bool(ledger[ACCELERATE]),
        brake=bool(ledger[BRAKE]),
        steer=int(ledger[STEER]) if ledger[ANALOG] else None,
    )


def hold_inputs(arrays: RaceArrays, inputs: Inputs) -> None:
    """Hold ``inputs`` from now on and note each change as an event of the game."""
    ledger = arrays.ledger
    analog = inputs.steer is not None
    ledger[ANALOG] = analog
    for place, event, name, value in (
        (ACCELERATE, at.EVENT_ACCELERATE, at.InputName.ACCELERATE, inputs.accelerate),
        (BRAKE, at.EVENT_BRAKE, at.InputName.BRAKE, inputs.brake),
        (LEFT, at.EVENT_LEFT, at.InputName.LEFT, inputs.left),
        (RIGHT, at.EVENT_RIGHT, at.InputName.RIGHT, inputs.right),
    ):
        if ledger[place] != value:
            ledger[place] = value
            _note(arrays, event - at.EVENT_RUNNING, name << at.EVENT_VALUE_BITS | value)
    steer = inputs.steer or 0
    if ledger[STEER] != steer:
        ledger[STEER] = steer
        datum = at.InputName.STEER << at.EVENT_VALUE_BITS | -steer & at.EVENT_VALUE_MASK
        _note(arrays, at.EVENT_STEER - at.EVENT_RUNNING, datum)


def _note(arrays: RaceArrays, word: int, datum: int) -> None:
    time = at.INPUT_TIME_OFFSET_MS + int(arrays.ledger[RACE_TIME])
    arrays.events[word : word + 2] = time, datum
    arrays.cached[: -at.CACHED_INPUT_SIZE] = arrays.cached[at.CACHED_INPUT_SIZE :]
    arrays.cached[-at.CACHED_INPUT_SIZE :] = time, time, datum
