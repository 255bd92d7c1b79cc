"""The wire protocol of the TMInterface plugin: 23 messages over TCP, little-endian, without lengths or versions.

The game is the server. It sends *sync calls* (ids 1 to 5) and stands still until the client echoes the id; every
other message comes from the client, and is handled only while the game stands still. Facts: the public plugin and
clients of Linesight (ids, payloads, order); the words and the code are ours.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from tmrl_ray.game.sim_state import MAX_STATE_BYTES


class MessageType(IntEnum):
    """The int32 that starts every message."""

    RUN_STEP_SYNC = 1
    CHECKPOINT_COUNT_CHANGED_SYNC = 2
    LAP_COUNT_CHANGED_SYNC = 3
    REQUESTED_FRAME_SYNC = 4
    ON_CONNECT_SYNC = 5
    """Right after a connection is accepted, or when the game reaches its menus. Our servers send it once more when a
    ``map`` command failed and the game stays in its menus, or falls back to them; the public plugin says nothing."""
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
    """Our extension, not in the public plugin: i32 steer, -65536 (full left) to 65536 (full right), or STEER_PROBE.

    The value holds until the next SET_INPUT_STATE, whose keys steer again: a client that steers with it sends
    SET_INPUT_STATE and then SET_ANALOG_STEER in the same sync call. There is no answer, except to STEER_PROBE, which
    changes nothing and is answered with i32 100. A client finds out by sending SET_ANALOG_STEER, STEER_PROBE and
    IS_IN_MENUS: a server that knows the message answers 100 and then 0 or 1, any other (the public plugin logs an
    unknown id and reads on) answers 0 or 1 only. A value out of range is ignored.
    """


SYNC_CALLS = frozenset(MessageType(i) for i in range(1, 6))
LENGTH_PREFIXED = {MessageType.REWIND_TO_STATE: MAX_STATE_BYTES, MessageType.EXECUTE_COMMAND: 65_536}
"""Messages whose payload is an i32 length in bytes and as many bytes, and the greatest length that makes sense."""

INT32 = struct.Struct("<i")
_PAYLOADS = {
    MessageType.RUN_STEP_SYNC: "i",  # race time in ms
    MessageType.CHECKPOINT_COUNT_CHANGED_SYNC: "ii",  # current, target
    MessageType.LAP_COUNT_CHANGED_SYNC: "ii",  # current, target
    MessageType.SET_SPEED: "f",
    MessageType.SET_INPUT_STATE: "4B",  # left, right, accelerate, brake
    MessageType.SET_TIMEOUT: "I",  # ms
    MessageType.REQUEST_FRAME: "ii",  # width, height
    MessageType.SET_ON_STEP_PERIOD: "i",  # ms
    MessageType.TOGGLE_INTERFACE: "i",  # 0 or 1
    MessageType.SET_ANALOG_STEER: "i",
}
PAYLOADS = {m: struct.Struct("<" + _PAYLOADS.get(m, "")) for m in MessageType if m not in LENGTH_PREFIXED}
"""What follows the id of each message of fixed length, as the server reads it and the client writes it (and the other
way round for sync calls). The pixels of REQUESTED_FRAME_SYNC are not in it: their number is that of the request."""
_WHOLE = {m: struct.Struct("<i" + payload.format[1:]) for m, payload in PAYLOADS.items()}


def encode(message: MessageType, *values: float) -> bytes:
    """Return a message of fixed length: its id and ``values`` as ``PAYLOADS`` says."""
    return _WHOLE[message].pack(message, *values)


def encode_with_bytes(message: MessageType, data: bytes) -> bytes:
    """Return a message of ``LENGTH_PREFIXED`` with ``data``; a text is sent as the bytes of its encoding.

    Raises:
        ValueError: the data are longer than any game would take.
    """
    if len(data) > LENGTH_PREFIXED[message]:
        raise ValueError(f"{message.name} carries at most {LENGTH_PREFIXED[message]} bytes, not {len(data)}")
    return INT32.pack(message) + INT32.pack(len(data)) + data


def frame_bytes(width: int, height: int) -> int:
    """Return the length in bytes of a picture: BGRA, the top row first."""
    return width * height * 4


DEFAULT_PORT = 8478
DEFAULT_TIMEOUT_MS = 2000
"""How long a game waits for the answer to a sync call unless SET_TIMEOUT says otherwise."""
MAX_FRAME_SIDE = 4096
"""Pixels; a request for a picture that is wider or higher is refused."""
MAX_INPUTS_BYTES = 16 << 20
"""No answer to GET_INPUTS is longer: a million lines."""
STEER_PROBE = 0x7FFF_FFFF
"""Asks whether SET_ANALOG_STEER is known. No message has this id, so that the public plugin ignores it."""
MAX_STEER = 65536
"""Full right; full left is its negative."""
