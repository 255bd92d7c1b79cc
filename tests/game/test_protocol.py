"""The messages against bytes written by hand from the public plugin's table."""

from __future__ import annotations

import pytest

from tmrl_ray.game import protocol
from tmrl_ray.game.protocol import MessageType

REQUESTS = [
    (MessageType.SET_SPEED, (80.0,), "06000000 0000a042"),
    (MessageType.REWIND_TO_CURRENT_STATE, (), "08000000"),
    (MessageType.GET_SIMULATION_STATE, (), "09000000"),
    (MessageType.SET_INPUT_STATE, (1, 0, 1, 0), "0a000000 01000100"),
    (MessageType.GIVE_UP, (), "0b000000"),
    (MessageType.PREVENT_SIMULATION_FINISH, (), "0c000000"),
    (MessageType.SHUTDOWN, (), "0d000000"),
    (MessageType.SET_TIMEOUT, (600_000_000,), "0f000000 0046c323"),
    (MessageType.RACE_FINISHED, (), "10000000"),
    (MessageType.REQUEST_FRAME, (160, 120), "11000000 a0000000 78000000"),
    (MessageType.RESET_CAMERA, (), "12000000"),
    (MessageType.SET_ON_STEP_PERIOD, (50,), "13000000 32000000"),
    (MessageType.UNREQUEST_FRAME, (), "14000000"),
    (MessageType.TOGGLE_INTERFACE, (1,), "15000000 01000000"),
    (MessageType.IS_IN_MENUS, (), "16000000"),
    (MessageType.GET_INPUTS, (), "17000000"),
    (MessageType.SET_ANALOG_STEER, (-65536,), "64000000 0000ffff"),
]
SYNC_CALLS = [
    (MessageType.RUN_STEP_SYNC, (-2600,), "01000000 d8f5ffff"),
    (MessageType.CHECKPOINT_COUNT_CHANGED_SYNC, (3, 15), "02000000 03000000 0f000000"),
    (MessageType.LAP_COUNT_CHANGED_SYNC, (1, 2), "03000000 01000000 02000000"),
    (MessageType.REQUESTED_FRAME_SYNC, (), "04000000"),
    (MessageType.ON_CONNECT_SYNC, (), "05000000"),
]


@pytest.mark.parametrize(("kind", "values", "written"), REQUESTS + SYNC_CALLS)
def test_a_message_is_its_id_and_its_payload(kind: MessageType, values: tuple[float, ...], written: str):
    assert protocol.encode(kind, *values) == bytes.fromhex(written)


def test_messages_of_any_length_carry_their_length_in_bytes():
    assert protocol.encode_with_bytes(MessageType.REWIND_TO_STATE, b"abc") == bytes.fromhex("07000000 03000000 616263")
    text = "map é".encode()
    assert protocol.encode_with_bytes(MessageType.EXECUTE_COMMAND, text)[4:8] == bytes.fromhex("06000000")
    with pytest.raises(ValueError, match="at most 65536 bytes, not 65537"):
        protocol.encode_with_bytes(MessageType.EXECUTE_COMMAND, bytes(65_537))


def test_every_message_has_one_form():
    assert set(protocol.PAYLOADS) | set(protocol.LENGTH_PREFIXED) == set(MessageType)
    assert not set(protocol.PAYLOADS) & set(protocol.LENGTH_PREFIXED)
    assert [m.value for m in MessageType] == [*range(1, 24), 100]


def test_no_message_has_the_id_of_the_steering_probe():
    assert protocol.STEER_PROBE not in set(MessageType)
