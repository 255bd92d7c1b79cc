"""The wire protocol of the TMInterface plugin: 23 messages over TCP, little-endian, without lengths or versions.

The game is the server. It sends *sync calls* (ids 1 to 5) and stands still until the client echoes the id; every
other message comes from the client, and is handled only while the game stands still. Facts: the public plugin and
clients of Linesight (ids, payloads, order); the words and the code are ours.
"""

from __future__ import annotations

from enum import IntEnum


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
DEFAULT_PORT = 8478
STEER_PROBE = 0x7FFF_FFFF
"""Asks whether SET_ANALOG_STEER is known. No message has this id, so that the public plugin ignores it."""
MAX_STEER = 65536
"""Full right; full left is its negative."""
