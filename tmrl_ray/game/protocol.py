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
    """Our extension (not in the public plugin): see ``AnalogSteer`` in the client. A server may refuse it."""


SYNC_CALLS = frozenset(MessageType(i) for i in range(1, 6))
DEFAULT_PORT = 8478
