"""The wire protocol of the TMInterface plugin: 23 messages over TCP, little-endian, without lengths or versions.

The game is the server. It sends *sync calls* (ids 1 to 5) and stands still until the client echoes the id; every
other message comes from the client, and is handled only while the game stands still. Facts: the public plugin and
clients of Linesight (ids, payloads, order); the words and the code are ours.

One message is our own, and needs no agreement beforehand. Analog steering is a single int32, ``100 << 24`` plus the
value in 24 bits, the form in which the game itself keeps inputs. A plugin that does not know it takes it for an
unknown id, which it logs without reading on, so the stream stays in step. Whether a server understood is seen in the
next state, whose ``input_steer`` is then the value sent.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from tmrl_ray.game.sim_state import MAX_STATE_BYTES


class MessageType(IntEnum):
    """The int32 that starts every message."""

    RUN_STEP_SYNC = 1
    CHECKPOINT_COUNT_CHANGED_SYNC = 2
    LAP_COUNT_CHANGED_SYNC = 3
    REQUESTED_FRAME_SYNC = 4
    ON_CONNECT_SYNC = 5
    SET_SPEED = 6
    REWIND_TO_STATE = 7
    REWIND_TO_CURRENT_STATE = 8
    GET_SIMULATION_STATE = 9
    SET_INPUT_STATE = 10
    GIVE_UP = 11
    PREVENT_SIMULATION_FINISH = 12
    SHUTDOWN = 13
    EXECUTE_COMMAND = 14
    SET_TIMEOUT = 15
    RACE_FINISHED = 16
    REQUEST_FRAME = 17
    RESET_CAMERA = 18
    SET_ON_STEP_PERIOD = 19
    UNREQUEST_FRAME = 20
    TOGGLE_INTERFACE = 21
    IS_IN_MENUS = 22
    GET_INPUTS = 23
    SET_ANALOG_STEER = 100
    """Our extension: the top byte of its only int32, see :func:`analog_steer_message`."""


SYNC_CALLS = frozenset(MessageType(i) for i in range(1, 6))
DEFAULT_PORT = 8478
DEFAULT_TIMEOUT_MS = 2000
"""How long a game waits for the answer to a sync call unless SET_TIMEOUT says otherwise."""

INT32 = Struct("<i")
UINT32 = Struct("<I")
TWO_INT32 = Struct("<ii")

NOTHING = Struct("<")
REQUEST_PAYLOADS: dict[MessageType, Struct] = {
    MessageType.SET_SPEED: Struct("<f"),
    MessageType.REWIND_TO_CURRENT_STATE: NOTHING,
    MessageType.GET_SIMULATION_STATE: NOTHING,
    MessageType.SET_INPUT_STATE: Struct("<4B"),  # left, right, accelerate, brake
    MessageType.GIVE_UP: NOTHING,
    MessageType.PREVENT_SIMULATION_FINISH: NOTHING,
    MessageType.SHUTDOWN: NOTHING,
    MessageType.SET_TIMEOUT: UINT32,  # milliseconds
    MessageType.RACE_FINISHED: NOTHING,
    MessageType.REQUEST_FRAME: TWO_INT32,  # width, height
    MessageType.RESET_CAMERA: NOTHING,
    MessageType.SET_ON_STEP_PERIOD: INT32,  # milliseconds
    MessageType.UNREQUEST_FRAME: NOTHING,
    MessageType.TOGGLE_INTERFACE: INT32,  # 0 or 1
    MessageType.IS_IN_MENUS: NOTHING,
    MessageType.GET_INPUTS: NOTHING,
}
"""What follows the id of a client's message of fixed length."""

MAX_COMMAND_BYTES = 65_536
SIZED_REQUESTS: dict[MessageType, int] = {
    MessageType.REWIND_TO_STATE: MAX_STATE_BYTES,
    MessageType.EXECUTE_COMMAND: MAX_COMMAND_BYTES,
}
"""The client's messages whose payload is an int32 length and so many bytes, and the longest that makes sense."""

SYNC_PAYLOADS: dict[MessageType, Struct] = {
    MessageType.RUN_STEP_SYNC: INT32,  # race time in ms
    MessageType.CHECKPOINT_COUNT_CHANGED_SYNC: TWO_INT32,  # passed, in all
    MessageType.LAP_COUNT_CHANGED_SYNC: TWO_INT32,  # completed, in all
    MessageType.REQUESTED_FRAME_SYNC: NOTHING,  # then the pixels, without a length: see frame_bytes
    MessageType.ON_CONNECT_SYNC: NOTHING,
}
"""What follows the id of a game's sync call."""

SIZED_REPLIES = frozenset({MessageType.GET_SIMULATION_STATE, MessageType.GET_INPUTS})
"""Answered with an int32 length and so many bytes."""
INT_REPLIES = frozenset({MessageType.RACE_FINISHED, MessageType.IS_IN_MENUS})
"""Answered with one int32."""
MAX_INPUTS_BYTES = 16 << 20
"""No answer to GET_INPUTS is longer: a million lines."""
MAX_FRAME_SIDE = 4096
"""Pixels; no picture is wider or higher."""

MAX_ANALOG_STEER = 65_536
_ANALOG_SHIFT = 24
_ANALOG_MASK = 0xFFFFFF


def message(kind: MessageType, *values: int | float) -> bytes:
    """Return a client's message of fixed length: the id, then ``values`` as its payload."""
    return INT32.pack(kind) + REQUEST_PAYLOADS[kind].pack(*values)


def sized_message(kind: MessageType, data: bytes) -> bytes:
    """Return a client's message that carries ``data`` behind its length in bytes.

    Raises:
        ValueError: the data are longer than any game would take.
    """
    limit = SIZED_REQUESTS[kind]
    if len(data) > limit:
        raise ValueError(f"{kind.name} carries at most {limit} bytes, not {len(data)}")
    return TWO_INT32.pack(kind, len(data)) + data


def sync_call(kind: MessageType, *values: int) -> bytes:
    """Return a game's sync call: the id, then ``values`` as its payload."""
    return INT32.pack(kind) + SYNC_PAYLOADS[kind].pack(*values)


def frame_bytes(width: int, height: int) -> int:
    """Return the length in bytes of a picture, BGRA with the top row first."""
    return width * height * 4


def analog_steer_message(steer: int) -> bytes:
    """Return the message that steers by ``steer``, -65536 (full left) to 65536 (full right), until the next inputs.

    Raises:
        ValueError: the value is out of range.
    """
    if not -MAX_ANALOG_STEER <= steer <= MAX_ANALOG_STEER:
        raise ValueError(f"steering goes from {-MAX_ANALOG_STEER} to {MAX_ANALOG_STEER}, not to {steer}")
    return INT32.pack(MessageType.SET_ANALOG_STEER << _ANALOG_SHIFT | steer & _ANALOG_MASK)


def analog_steer_of(word: int) -> int | None:
    """Return the steering that an int32 in the place of an id stands for, or None when it is something else."""
    if word >> _ANALOG_SHIFT != MessageType.SET_ANALOG_STEER:
        return None
    value = word & _ANALOG_MASK
    steer = value - (_ANALOG_MASK + 1) if value > _ANALOG_MASK >> 1 else value
    return steer if -MAX_ANALOG_STEER <= steer <= MAX_ANALOG_STEER else None
