"""SimState against the layout of the public accessors: hand-written offsets, not those of the module."""

from __future__ import annotations

import struct
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmrl_ray.errors import StateError
from tmrl_ray.game.sim_state import MAX_STATE_BYTES, SimState, state_length
from tmrl_ray.game.state_layout import MAX_CHECKPOINTS, StateParts

N_STATES, N_TIMES = 3, 7

# (attribute, byte offset, struct format, value)
SCALARS = [
    ("version", 0, "<i", 5),
    ("context_mode", 4, "<i", 1),
    ("flags", 8, "<i", 0xFF),
    ("gearbox_state", 2388, "<i", 2),
    ("rpm", 3112, "<f", 9876.5),
    ("gear", 3128, "<i", 4),
    ("has_lateral_contact", 3148, "<i", 1),
    ("turning_rate", 3160, "<f", -0.75),
    ("turbo_boost_factor", 3172, "<f", 5.0),
    ("turbo_type", 3184, "<i", 26),
    ("is_freewheeling", 3196, "<i", 1),
    ("is_sliding", 3224, "<i", 1),
    ("race_time", 7892, "<i", -2600),
    ("current_checkpoint", 7932, "<i", 2),
    ("current_lap", 8028, "<i", 1),
    ("race_finished", 8032, "<i", 1),
    ("display_speed", 8036, "<i", 345),
    ("num_respawns", 8340, "<i", 3),
]
ARRAYS = [
    ("quaternion", [672, 676, 680, 684]),
    ("position", [724, 728, 732]),
    ("velocity", [736, 740, 744]),
    ("angular_velocity", [760, 764, 768]),
    ("local_speed", [3452, 3456, 3460]),
    ("wheel_absorb", [3996, 4760, 5524, 6288]),
]
INTEGER_ARRAYS = [
    ("wheel_contact", [4108, 4872, 5636, 6400], [1, 0, 0, 1]),
    ("wheel_material", [4112, 4876, 5640, 6404], [16, 2, 29, 0]),
    ("wheel_sliding", [4116, 4880, 5644, 6408], [0, 1, 1, 0]),
    ("cp_states", [8352, 8356, 8360], [1, 0, 1]),
    ("cp_times", [8368, 8376, 8384, 8392, 8400, 8408, 8416], [10, 20, 30, -1, -1, -1, -1]),
    ("cp_stunt_scores", [8372, 8380, 8388, 8396, 8404, 8412, 8420], [1, 2, 3, 4, 5, 6, 7]),
]


@pytest.fixture
def state() -> SimState:
    return SimState.blank(N_STATES, N_TIMES)


@pytest.mark.parametrize(("name", "offset", "form", "value"), SCALARS)
def test_a_scalar_stands_where_the_game_has_it(state: SimState, name: str, offset: int, form: str, value: float):
    setattr(state, name, 0)
    before = state.to_bytes()
    setattr(state, name, value)
    after = state.to_bytes()
    assert struct.unpack_from(form, after, offset)[0] == value
    assert getattr(state, name) == value
    assert before[:offset] + before[offset + 4 :] == after[:offset] + after[offset + 4 :]


@pytest.mark.parametrize(("name", "offsets"), ARRAYS)
def test_an_array_stands_where_the_game_has_it(state: SimState, name: str, offsets: list[int]):
    values = [0.5 + i for i in range(len(offsets))]
    setattr(state, name, values)
    data = state.to_bytes()
    assert [struct.unpack_from("<f", data, o)[0] for o in offsets] == values
    assert getattr(state, name).tolist() == values
    getattr(state, name)[0] = -3.0
    assert struct.unpack_from("<f", state.to_bytes(), offsets[0])[0] == -3.0


@pytest.mark.parametrize(("name", "offsets", "values"), INTEGER_ARRAYS)
def test_an_integer_array_stands_where_the_game_has_it(
    state: SimState, name: str, offsets: list[int], values: list[int]
):
    if name.startswith("cp_"):
        getattr(state, name)[:] = values
    else:
        setattr(state, name, values)
    data = state.to_bytes()
    assert [struct.unpack_from("<i", data, o)[0] for o in offsets] == values
    assert getattr(state, name).tolist() == values


def test_the_rotation_is_row_major(state: SimState):
    state.rotation = np.arange(9).reshape(3, 3)
    assert struct.unpack_from("<9f", state.to_bytes(), 688) == tuple(range(9))
    state.rotation[1, 2] = 50
    assert struct.unpack_from("<f", state.to_bytes(), 688 + 5 * 4)[0] == 50


def test_only_the_low_half_of_a_material_counts(state: SimState):
    data = bytearray(state.to_bytes())
    struct.pack_into("<I", data, 5640, 0xABCD0010)
    assert SimState(data).wheel_material[2] == 16


@pytest.mark.parametrize(("name", "offset"), [("accelerate", 8292), ("brake", 8300), ("left", 8308), ("right", 8316)])
def test_keys_are_the_low_bits_of_their_events(state: SimState, name: str, offset: int):
    assert getattr(state, f"input_{name}") is False
    setattr(state, f"input_{name}", True)
    assert struct.unpack_from("<i", state.to_bytes(), offset + 4)[0] & 0xFFFFFF == 1
    data = bytearray(state.to_bytes())
    struct.pack_into("<I", data, offset + 4, 0x0D000001)  # another game's number for the input
    assert getattr(SimState(data), f"input_{name}") is True
    struct.pack_into("<I", data, offset + 4, 0x0D000000)
    assert getattr(SimState(data), f"input_{name}") is False


@given(st.integers(-65536, 65536))
def test_analog_inputs_are_stored_with_the_sign_turned(value: int):
    state = SimState.blank(1, 1)
    state.input_steer = value
    state.input_gas = -value
    assert (state.input_steer, state.input_gas) == (value, -value)
    stored = struct.unpack_from("<i", state.to_bytes(), 8328)[0] & 0xFFFFFF
    assert stored == (-value) % (1 << 24)


def test_full_right_is_stored_as_minus_65536(state: SimState):
    state.input_steer = 65536
    assert state.to_bytes()[8328:8331] == bytes.fromhex("0000ff")


def test_a_blank_state_is_a_car_at_rest(state: SimState):
    assert len(state) == 8356 + 4 * N_STATES + 8 * N_TIMES == len(state.to_bytes())
    assert state.cp_times.tolist() == [-1] * N_TIMES
    assert state.rotation.tolist() == np.eye(3).tolist()
    assert state.flags == StateParts.ALL


def test_a_copy_is_independent(state: SimState):
    source = bytearray(state.to_bytes())
    parsed = SimState(source)
    copied = parsed.copy()
    source[7892] = 1
    parsed.race_time = 77
    assert copied.race_time == 0
    assert copied == state
    assert copied != parsed


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "these are 0"),
        (b"\0", "these are 1"),
        (bytes(8352), "these are 8352"),
        (bytes(8357), "these are 8357"),
        (bytes(8360), "has 8356 bytes, these are 8360"),
        (bytes(8348) + struct.pack("<ii", -1, 0), "-1 checkpoint states"),
        (bytes(8348) + struct.pack("<ii", 0, -1), "-1 checkpoint times"),
        (bytes(8348) + struct.pack("<ii", MAX_CHECKPOINTS + 1, 0), "checkpoint states"),
        (bytes(8348) + struct.pack("<ii", 0, 1), "has 8364 bytes, these are 8356"),
        (bytes(8348) + struct.pack("<ii", 1, 0), "end before them"),
        (bytes(8348) + struct.pack("<ii", 2**31 - 1, 2**31 - 1), "checkpoint states"),
    ],
)
def test_other_lengths_are_refused(data: bytes, words: str):
    with pytest.raises(StateError, match=words):
        SimState(data)


@given(st.integers(0, 40), st.integers(0, 40))
def test_lengths_follow_the_counts(n_states: int, n_times: int):
    state = SimState.blank(n_states, n_times)
    again = SimState(state.to_bytes())
    assert len(again) == state_length(n_states, n_times) <= MAX_STATE_BYTES
    assert (len(again.cp_states), len(again.cp_times)) == (n_states, n_times)
    assert again == state


def test_all_that_an_observation_needs_is_read_in_microseconds(state: SimState):
    def read() -> object:
        s = state
        return (
            *(s.race_time, s.position, s.velocity, s.angular_velocity, s.rotation, s.gear, s.gearbox_state, s.rpm),
            *(s.is_freewheeling, s.wheel_absorb, s.wheel_contact, s.wheel_sliding, s.wheel_material, s.display_speed),
        )

    seconds = min(timeit.repeat(read, number=200, repeat=20)) / 200
    assert seconds < 30e-6, f"{seconds * 1e6:.1f} us"
