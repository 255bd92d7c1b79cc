"""The messages against bytes written by hand from the public plugin's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
]
SYNC_CALLS = [
    (MessageType.RUN_STEP_SYNC, (-2600,), "01000000 d8f5ffff"),
    (MessageType.CHECKPOINT_COUNT_CHANGED_SYNC, (3, 15), "02000000 03000000 0f000000"),
    (MessageType.LAP_COUNT_CHANGED_SYNC, (1, 2), "03000000 01000000 02000000"),
    (MessageType.REQUESTED_FRAME_SYNC, (), "04000000"),
    (MessageType.ON_CONNECT_SYNC, (), "05000000"),
]


@pytest.mark.parametrize(("kind", "values", "written"), REQUESTS)
def test_a_request_is_its_id_and_its_payload(kind: MessageType, values: tuple[float, ...], written: str):
    assert protocol.message(kind, *values) == bytes.fromhex(written)


@pytest.mark.parametrize(("kind", "values", "written"), SYNC_CALLS)
def test_a_sync_call_is_its_id_and_its_payload(kind: MessageType, values: tuple[int, ...], written: str):
    assert protocol.sync_call(kind, *values) == bytes.fromhex(written)


def test_sized_messages_carry_their_length_in_bytes():
    assert protocol.sized_message(MessageType.REWIND_TO_STATE, b"abc") == bytes.fromhex("07000000 03000000 616263")
    text = "map é".encode()
    assert protocol.sized_message(MessageType.EXECUTE_COMMAND, text)[4:8] == bytes.fromhex("06000000")
    with pytest.raises(ValueError, match="at most 65536 bytes, not 65537"):
        protocol.sized_message(MessageType.EXECUTE_COMMAND, bytes(65_537))


def test_every_message_has_one_form():
    fixed, sized, syncs = set(protocol.REQUEST_PAYLOADS), set(protocol.SIZED_REQUESTS), set(protocol.SYNC_PAYLOADS)
    assert fixed | sized | syncs == set(MessageType) - {MessageType.SET_ANALOG_STEER}
    assert not fixed & sized | fixed & syncs | sized & syncs
    assert syncs == protocol.SYNC_CALLS
    assert fixed >= protocol.SIZED_REPLIES | protocol.INT_REPLIES


def test_analog_steering_is_one_word_that_no_plugin_takes_for_an_id():
    assert protocol.analog_steer_message(-65536) == bytes.fromhex("0000ff64")
    assert protocol.analog_steer_message(65536) == bytes.fromhex("00000164")
    with pytest.raises(ValueError, match="65537"):
        protocol.analog_steer_message(65537)
    assert [protocol.analog_steer_of(i) for i in (*range(24), 100, -1, 100 << 24 | 65537)] == [None] * 27


@given(st.integers(-65536, 65536))
def test_analog_steering_comes_back(steer: int):
    word = protocol.INT32.unpack(protocol.analog_steer_message(steer))[0]
    assert word > 0x64000000 - 1
    assert protocol.analog_steer_of(word) == steer
