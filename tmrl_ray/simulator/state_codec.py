"""A race to the bytes of the game's simulation state, and back.

The public fields hold 32-bit floats, too few for a rewind that is exact to the last bit. So the car's 64-bit vector
is kept beside them, in a private block (``state_fields``). Reading a state back starts from that block and compares:
where a public field is not what the block would give, somebody edited it, and the edit wins. Without a block of ours
for this very track (the real game sends none) everything is rebuilt from the public fields. Integers are exact where
they stand, so their public fields are the only copy.
"""

from __future__ import annotations

import numpy as np

from tmrl_ray.errors import StateError
from tmrl_ray.game import state_layout as at
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.game.state_layout import StateParts
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator import race_state as rs
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.race_state import RaceArrays
from tmrl_ray.simulator.race_ticks import write_dyna
from tmrl_ray.simulator.state_fields import (
    ANALOG_AT,
    CLOCK_AT_START_MS,
    FLOAT_FIELDS,
    INT_FIELDS,
    OVERTIME_AT,
    StateImage,
    fingerprint_words,
    image_of,
    template,
)
from tmrl_ray.simulator.state_restore import PROBLEMS, restore
from tmrl_ray.simulator.track import Material, Track

NEEDED_PARTS = StateParts.DYNA | StateParts.MOBIL | StateParts.WHEELS | StateParts.INPUTS | StateParts.PLAYER
KMH_PER_MPS = 3.6
# Boost as a multiple of the engine's acceleration, by the pad's contact material.
_TURBO = int(Material.TURBO)
_TURBO_BOOST = 5.0
_TURBO2_BOOST = 20.0
_BEFORE_START, _RUNNING, _FINISHED = 0, 1, 2  # the game's race states


class StateCodec:
    """Writes and reads the states of races on one track.

    Args:
        track: where the races are.
    """

    def __init__(self, track: Track) -> None:
        self._buffer = template(track)
        self._image = image_of(self._buffer)
        self._fingerprint = fingerprint_words(track)
        self._counts = (len(track.gates), len(track.gates) * track.laps)
        self._track_name = track.name

    def encode(self, race: RaceArrays) -> SimState:
        """Return the state of ``race``, in bytes of its own."""
        encode(race, self._image)
        return SimState.adopt(self._buffer.copy())

    def decode(self, state: SimState, race: RaceArrays) -> None:
        """Put ``race`` into ``state``; nothing is changed when that is not possible.

        Raises:
            StateError: the state is of a track with other checkpoints, is incomplete, or holds impossible values.
        """
        counts = (len(state.cp_states), len(state.cp_times))
        if counts != self._counts:
            raise StateError(
                f"the state has {counts[0]} checkpoints and {counts[1]} checkpoint times,"
                f" the track {self._track_name} has {self._counts[0]} and {self._counts[1]}",
                hint="A state can only be rewound to on the track on which it was saved.",
            )
        missing = NEEDED_PARTS & ~StateParts(state.flags & StateParts.ALL)
        if missing:
            raise StateError(f"the state lacks the parts {missing.name}: its flags are {state.flags:#x}")
        problem = restore(image_of(state.floats.view(np.uint8)), self._fingerprint, race)
        if problem:
            raise StateError(f"the state cannot be played on: {PROBLEMS[problem]}")


@kernel
def encode(race: RaceArrays, image: StateImage) -> None:
    """Write all fields of ``race`` that change into ``image``."""
    _write_car(race, image)
    _write_clocks(race, image.ints)
    _write_inputs(race, image.ints)
    n = len(race.cp_states)
    image.ints[at.CP_STATES : at.CP_STATES + n] = race.cp_states
    for i in range(len(race.cp_times)):
        image.ints[at.CP_STATES + n + 1 + 2 * i] = race.cp_times[i]


@kernel
def _write_car(race: RaceArrays, image: StateImage) -> None:
    car, floats, ints = race.car, image.floats, image.ints
    image.car[:] = car
    floats[at.PREVIOUS_STATE : at.PREVIOUS_STATE + at.DYNA_SIZE] = race.previous
    write_dyna(car, floats[at.CURRENT_STATE : at.CURRENT_STATE + at.DYNA_SIZE])
    write_dyna(car, floats[at.TEMP_STATE : at.TEMP_STATE + at.DYNA_SIZE])
    for row in range(len(FLOAT_FIELDS)):
        floats[FLOAT_FIELDS[row, 1]] = car[FLOAT_FIELDS[row, 0]]
    for row in range(len(INT_FIELDS)):
        ints[INT_FIELDS[row, 1]] = int(car[INT_FIELDS[row, 0]])
    for axis in range(3):
        floats[at.CENTRAL_FORCE + axis] = car[cs.FORCE + axis]
    floats[at.ENGINE_CLAMPED_RPM] = car[cs.RPM]
    turbo = car[cs.TURBO_TICKS_LEFT] > 0.0
    boost = 0.0
    if turbo:
        boost = _TURBO_BOOST if int(car[cs.TURBO_KIND]) == _TURBO else _TURBO2_BOOST
    floats[at.TURBO_BOOST_FACTOR] = boost
    for start in at.VEHICLE_STATES:
        floats[start + at.VEHICLE_SPEED_FORWARD] = car[cs.LOCAL_SPEED + 2]
        floats[start + at.VEHICLE_SPEED_SIDEWARD] = car[cs.LOCAL_SPEED]
        floats[start + at.VEHICLE_STEER] = car[cs.STEER]
        floats[start + at.VEHICLE_GAS] = car[cs.GAS]
        floats[start + at.VEHICLE_BRAKE] = car[cs.BRAKE]
        ints[start + at.VEHICLE_IS_TURBO] = 1 if turbo else 0
        floats[start + at.VEHICLE_RPM] = car[cs.RPM]
        ints[start + at.VEHICLE_GEARBOX_STATE] = int(car[cs.GEARBOX_STATE])
    for wheel in range(at.WHEEL_COUNT):
        ints[at.WHEEL_CONTACT_COUNT + wheel * at.WHEEL_STRIDE] = int(car[cs.WHEEL_CONTACT + wheel])
    ints[at.DISPLAY_SPEED] = int(abs(car[cs.LOCAL_SPEED + 2]) * KMH_PER_MPS)


@kernel
def _write_clocks(race: RaceArrays, ints: rs.Ints) -> None:
    ledger = race.ledger
    now = ledger[rs.RACE_TIME]
    finished = ledger[rs.FINISHED]
    n = len(race.cp_states)
    ints[at.TIME] = now
    ints[at.RACE_TIME] = now
    ints[at.PREVIOUS_RACE_TIME] = now - rs.TICK_MS
    ints[at.CURRENT_TIME] = CLOCK_AT_START_MS + ledger[rs.TICK_TIME]
    ints[OVERTIME_AT] = ledger[rs.TICK_TIME] - now
    ints[ANALOG_AT] = ledger[rs.ANALOG]
    ints[at.LAP_START_TIME] = CLOCK_AT_START_MS + ledger[rs.LAP_START]
    ints[at.LAP_TIME] = max(0, now - ledger[rs.LAP_START])
    ints[at.CURRENT_CHECKPOINT] = ledger[rs.LAST_GATE]
    ints[at.LAP_CHECKPOINT_COUNT] = ledger[rs.PASSED] - n * ledger[rs.LAP] + n * finished
    ints[at.CHECKPOINT_COUNT] = ledger[rs.PASSED]
    ints[at.CURRENT_LAP] = ledger[rs.LAP]
    ints[at.RACE_FINISHED] = finished
    ints[at.FINISH_NOT_PASSED] = 1 - finished
    ints[at.COMPLETED_COUNT] = finished
    if finished:
        ints[at.RACE_STATE] = _FINISHED
    else:
        ints[at.RACE_STATE] = _BEFORE_START if now < 0 else _RUNNING
    ints[at.RESPAWN_COUNT] = ledger[rs.RESPAWNS]
    ints[at.LATERAL_CONTACT_TIME] = ledger[rs.LATERAL_TIME]
    ints[at.TURBO_TIME] = ledger[rs.TURBO_TIME]
    ints[at.TURBO_TYPE_CHANGE_TIME] = ledger[rs.TURBO_TYPE_TIME]


@kernel
def _write_inputs(race: RaceArrays, ints: rs.Ints) -> None:
    ints[at.EVENT_RUNNING : at.EVENT_RUNNING + rs.EVENT_WORDS] = race.events
    ints[at.CACHED_INPUTS : at.CACHED_INPUTS + len(race.cached)] = race.cached
