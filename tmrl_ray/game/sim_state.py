"""A simulation state: the bytes that the game saves and rewinds to, as fields.

The bytes come from :class:`~tmrl_ray.game.interface.Game` or from a file. Fields are views into one private buffer
or are read from it when asked for, so that all that an observation needs costs a few microseconds; writing a field
changes the bytes, and nothing else in them. ``state_layout`` says where each field stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmrl_ray.errors import StateError
from tmrl_ray.game import state_layout as at

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


def _dyna(index: int, size: int) -> slice:
    start = at.CURRENT_STATE + index
    return slice(start, start + size)


def _wheels(index: int) -> slice:
    return slice(index, index + at.WHEEL_COUNT * at.WHEEL_STRIDE, at.WHEEL_STRIDE)


_ROTATION = _dyna(at.DYNA_ROTATION, 9)
_MATERIALS = _wheels(at.WHEEL_MATERIAL)
_MOVING = np.r_[
    _dyna(at.DYNA_ROTATION, 9),
    _dyna(at.DYNA_POSITION, 3),
    _dyna(at.DYNA_VELOCITY, 3),
    _dyna(at.DYNA_SPIN, 3),
    _wheels(at.WHEEL_ABSORB),
    at.ENGINE_RPM,
]
_LARGEST = 1e6
"""Of these numbers in metres, m/s, rad/s and 1/min: no track is as large, and no engine as fast."""
_LOW_16_BITS = np.int32(0xFFFF)  # the game keeps flags in the upper half


class _Field:
    """A field at an index of one of the two views; subclasses say how it is read and written."""

    def __init__(self, index: int, doc: str) -> None:
        self.index = index
        self.__doc__ = doc


class _Int(_Field):
    def __get__(self, state: SimState, owner: type[SimState]) -> int:
        return int(state._ints[self.index])

    def __set__(self, state: SimState, value: int) -> None:
        state._ints[self.index] = value


class _Bool(_Field):
    def __get__(self, state: SimState, owner: type[SimState]) -> bool:
        return bool(state._ints[self.index])

    def __set__(self, state: SimState, value: bool) -> None:
        state._ints[self.index] = bool(value)


class _Float(_Field):
    def __get__(self, state: SimState, owner: type[SimState]) -> float:
        return float(state._floats[self.index])

    def __set__(self, state: SimState, value: float) -> None:
        state._floats[self.index] = value


class _ArrayField:
    """Several numbers at a slice of one of the two views."""

    def __init__(self, where: slice, doc: str) -> None:
        self.where = where
        self.__doc__ = doc


class _IntArray(_ArrayField):
    def __get__(self, state: SimState, owner: type[SimState]) -> Ints:
        return state._ints[self.where]

    def __set__(self, state: SimState, value: ArrayLike) -> None:
        state._ints[self.where] = value


class _FloatArray(_ArrayField):
    def __get__(self, state: SimState, owner: type[SimState]) -> Floats:
        return state._floats[self.where]

    def __set__(self, state: SimState, value: ArrayLike) -> None:
        state._floats[self.where] = value


class _BoolArray(_ArrayField):
    def __get__(self, state: SimState, owner: type[SimState]) -> Bools:
        return state._ints[self.where].astype(np.bool_)

    def __set__(self, state: SimState, value: ArrayLike) -> None:
        state._ints[self.where] = np.asarray(value, dtype=np.bool_)


class _EventBool:
    """A key: the value in the low 24 bits of an input event's data."""

    def __init__(self, event: int, name: int, doc: str) -> None:
        self.data = event + 1
        self.name = name << at.EVENT_VALUE_BITS
        self.__doc__ = doc

    def __get__(self, state: SimState, owner: type[SimState]) -> bool:
        return bool(int(state._ints[self.data]) & at.EVENT_VALUE_MASK)

    def __set__(self, state: SimState, value: bool) -> None:
        state._ints[self.data] = self.name | bool(value)


class _EventAnalog(_EventBool):
    """An axis: 24 bits in two's complement, with the sign turned."""

    def __get__(self, state: SimState, owner: type[SimState]) -> int:  # type: ignore[override]
        value = int(state._ints[self.data]) & at.EVENT_VALUE_MASK
        return (1 << at.EVENT_VALUE_BITS) - value if value >> (at.EVENT_VALUE_BITS - 1) else -value

    def __set__(self, state: SimState, value: int) -> None:
        state._ints[self.data] = self.name | (-value & at.EVENT_VALUE_MASK)


def state_length(n_states: int, n_times: int) -> int:
    """Return the length in bytes of a state with so many checkpoint flags and checkpoint times."""
    return at.FIXED_BYTES + at.STATE_BYTES * n_states + at.TIME_BYTES * n_times


MAX_STATE_BYTES = state_length(at.MAX_CHECKPOINTS, at.MAX_CHECKPOINTS)
"""No state is longer: a length on the wire beyond this is garbage."""


class SimState:
    """The state of a race, 8356 + 4 * n_states + 8 * n_times bytes.

    World axes: y up, metres. Car axes: left, up, forward; they are the columns of ``rotation``. Wheels: 0 front left,
    1 front right, 2 rear right, 3 rear left. Arrays are views: write into them to change the state, unless the
    attribute's docstring says that it is a copy.

    Args:
        data: the bytes; they are copied.

    Raises:
        StateError: the length is not that of a state.
    """

    __slots__ = ("_bytes", "_floats", "_ints", "_n_states", "_n_times")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._attach(np.frombuffer(bytearray(data), np.uint8))

    def _attach(self, buffer: NDArray[np.uint8]) -> None:
        length = len(buffer)
        if length < at.FIXED_BYTES or length % 4:
            raise StateError(
                f"a simulation state has at least {at.FIXED_BYTES} bytes and a multiple of four, these are {length}",
                hint="The game answers with fewer bytes while it is in its menus or loads a map: ask again in a race.",
            )
        self._bytes = buffer
        self._floats = buffer.view(np.float32)
        self._ints = buffer.view(np.int32)
        self._n_states = self._count(at.CP_STATE_COUNT, "checkpoint states")
        times_at = at.CP_STATES + self._n_states
        if times_at >= len(self._ints):
            raise StateError(f"the state says {self._n_states} checkpoint states, its {length} bytes end before them")
        self._n_times = self._count(times_at, "checkpoint times")
        expected = state_length(self._n_states, self._n_times)
        if length != expected:
            raise StateError(
                f"a state with {self._n_states} checkpoint states and {self._n_times} checkpoint times"
                f" has {expected} bytes, these are {length}"
            )

    def _count(self, index: int, what: str) -> int:
        count = int(self._ints[index])
        if not 0 <= count <= at.MAX_CHECKPOINTS:
            raise StateError(f"the state says {count} {what}; 0 to {at.MAX_CHECKPOINTS} are possible")
        return count

    @classmethod
    def adopt(cls, buffer: NDArray[np.uint8]) -> SimState:
        """Return a state over ``buffer`` (length,) itself, without a copy; the caller lets go of it."""
        state = cls.__new__(cls)
        state._attach(buffer)
        return state

    @classmethod
    def blank(cls, n_states: int, n_times: int) -> SimState:
        """Return a state of zeros, a car at the origin with identity rotation and no checkpoint passed."""
        buffer = np.zeros(state_length(n_states, n_times), np.uint8)
        ints = buffer.view(np.int32)
        ints[at.CP_STATE_COUNT] = n_states
        ints[at.CP_STATES + n_states] = n_times
        state = cls.adopt(buffer)
        state.cp_times[:] = -1
        state.flags = at.StateParts.ALL
        state.context_mode = 1
        state.rotation[:] = np.eye(3, dtype=np.float32)
        state.quaternion[0] = 1
        return state

    def to_bytes(self) -> bytes:
        """Return the bytes of the state."""
        return self._bytes.tobytes()

    def copy(self) -> SimState:
        """Return an independent state with the same bytes."""
        return SimState.adopt(self._bytes.copy())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimState) and np.array_equal(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a state can be changed

    def __len__(self) -> int:
        return len(self._bytes)

    def __repr__(self) -> str:
        x, y, z = self.position
        return f"SimState(race_time={self.race_time}, position=({x:.2f}, {y:.2f}, {z:.2f}), bytes={len(self)})"

    @property
    def is_credible(self) -> bool:
        """Whether where the car is and how it moves are numbers that a car can have: finite, and not huge."""
        return bool(np.abs(self._floats[_MOVING]).max() < _LARGEST)

    @property
    def floats(self) -> Floats:
        """(length // 4,) view of all bytes as 32-bit floats, for the indices of ``state_layout``."""
        return self._floats

    @property
    def ints(self) -> Ints:
        """(length // 4,) view of all bytes as 32-bit integers, for the indices of ``state_layout``."""
        return self._ints

    version = _Int(at.VERSION, "Version of the layout.")
    context_mode = _Int(at.CONTEXT_MODE, "1 while a race runs.")
    flags = _Int(at.FLAGS, "Which parts the state holds, see StateParts.")
    timers = _IntArray(slice(at.TIMERS, at.TIMERS + at.TIMER_COUNT), "(53,) milliseconds; the second is the race's.")

    position = _FloatArray(_dyna(at.DYNA_POSITION, 3), "(3,) metres, world.")
    velocity = _FloatArray(_dyna(at.DYNA_VELOCITY, 3), "(3,) m/s, world.")
    angular_velocity = _FloatArray(_dyna(at.DYNA_SPIN, 3), "(3,) rad/s, world.")
    quaternion = _FloatArray(_dyna(at.DYNA_QUATERNION, 4), "(4,) w x y z, car to world; keep it equal to rotation.")
    private = _IntArray(slice(at.PRIVATE, at.PRIVATE + at.PRIVATE_BYTES // 4), "(154,) bytes that no field names.")

    @property
    def rotation(self) -> Floats:
        """(3, 3) car to world; columns left, up, forward."""
        return self._floats[_ROTATION].reshape(3, 3)

    @rotation.setter
    def rotation(self, value: ArrayLike) -> None:
        self._floats[_ROTATION].reshape(3, 3)[:] = value

    gear = _Int(at.ENGINE_GEAR, "0 reverse, 1 to 5.")
    gearbox_state = _Int(at.GEARBOX_STATE, "0 normal, 1 shifting, 2 standing start.")
    rpm = _Float(at.ENGINE_RPM, "Revolutions per minute of the engine.")
    is_freewheeling = _Bool(at.IS_FREEWHEELING, "The engine is off until the next checkpoint.")
    is_sliding = _Bool(at.IS_SLIDING, "Any wheel slides.")
    has_lateral_contact = _Bool(at.HAS_LATERAL_CONTACT, "The body touched a wall in the last tick.")
    turbo_type = _Int(at.TURBO_TYPE, "0 none, else the contact material of the pad.")
    turbo_boost_factor = _Float(at.TURBO_BOOST_FACTOR, "How many times the engine's acceleration the turbo adds.")
    turning_rate = _Float(at.TURNING_RATE, "rad/s about the car's up axis.")
    local_speed = _FloatArray(slice(at.LOCAL_SPEED, at.LOCAL_SPEED + 3), "(3,) m/s, car frame.")

    wheel_absorb = _FloatArray(
        _wheels(at.WHEEL_ABSORB), "(4,) metres of suspension travel: 0.005 pressed, 0.2 hanging."
    )
    wheel_contact = _BoolArray(_wheels(at.WHEEL_CONTACT), "(4,) the wheel touches the ground. A copy.")
    wheel_sliding = _BoolArray(_wheels(at.WHEEL_SLIDING), "(4,) the wheel slides. A copy.")

    @property
    def wheel_material(self) -> Ints:
        """(4,) contact material id under each wheel, the last one while in the air. A copy."""
        return self._ints[_MATERIALS] & _LOW_16_BITS

    @wheel_material.setter
    def wheel_material(self, value: ArrayLike) -> None:
        self._ints[_MATERIALS] = value

    race_time = _Int(at.RACE_TIME, "Milliseconds on the race clock; negative during the countdown.")
    race_finished = _Bool(at.RACE_FINISHED, "The finish was crossed with all checkpoints passed.")
    display_speed = _Int(at.DISPLAY_SPEED, "km/h, as the game shows it.")
    num_respawns = _Int(at.RESPAWN_COUNT, "Respawns in this race.")
    current_checkpoint = _Int(at.CURRENT_CHECKPOINT, "Index of the last gate passed in this lap.")
    current_lap = _Int(at.CURRENT_LAP, "Laps completed.")

    input_accelerate = _EventBool(at.EVENT_ACCELERATE, at.InputName.ACCELERATE, "The accelerator is pressed.")
    input_brake = _EventBool(at.EVENT_BRAKE, at.InputName.BRAKE, "The brake is pressed.")
    input_left = _EventBool(at.EVENT_LEFT, at.InputName.LEFT, "The key that steers left is pressed.")
    input_right = _EventBool(at.EVENT_RIGHT, at.InputName.RIGHT, "The key that steers right is pressed.")
    input_steer = _EventAnalog(at.EVENT_STEER, at.InputName.STEER, "Analog steering, -65536 left to 65536 right.")
    input_gas = _EventAnalog(at.EVENT_GAS, at.InputName.GAS, "Analog gas, -65536 to 65536.")

    @property
    def cp_states(self) -> Ints:
        """(n_states,) 1 for each gate that was passed in this lap, the finish last."""
        return self._ints[at.CP_STATES : at.CP_STATES + self._n_states]

    @property
    def cp_times(self) -> Ints:
        """(n_times,) race time in ms at which each gate of the race was passed, in order of passing; -1 if not yet."""
        return self._ints[at.CP_STATES + self._n_states + 1 :: 2]

    @property
    def cp_stunt_scores(self) -> Ints:
        """(n_times,) the stunt score that stands beside each checkpoint time."""
        return self._ints[at.CP_STATES + self._n_states + 2 :: 2]
