"""States of races: exact rewinds, edits by a client, states of the real game, and bytes that are refused."""

from __future__ import annotations

import struct
import timeit
from collections.abc import Callable

import numpy as np
import pytest

from tests.simulator.flat_track import TRACKS, find_track, flat_track
from tmrl_ray.errors import StateError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.race import Race

PRIVATE = slice(1032, 1648)
SEED = 7


def drive(race: Race, decisions: int, seed: int = SEED) -> list[SimState]:
    """Drive at random, mostly forwards, and return the states at the decisions."""
    random = np.random.default_rng(seed)
    states = []
    for _ in range(decisions):
        left, right, brake = random.random(3) < (0.3, 0.3, 0.1)
        race.set_inputs(Inputs(left=bool(left), right=bool(right), accelerate=True, brake=bool(brake)))
        race.advance(50)
        while not race.run_step_due(50):
            race.advance(50)
        states.append(race.save_state())
    return states


def at_zero(name: str = "flat") -> Race:
    race = Race(find_track(name))
    while race.race_time_ms < 0:
        race.advance(50)
    return race


@pytest.fixture(scope="module")
def driven() -> SimState:
    """The state after 83 decisions: two gates passed, some steering held."""
    race = at_zero()
    states = drive(race, 83)
    assert 0 < race.gates_passed < 3
    return states[-1]


@pytest.fixture
def race() -> Race:
    return Race(TRACKS["flat"])


@pytest.mark.parametrize("name", ["flat", "Two Laps"])
def test_a_rewind_is_exact_to_the_last_bit(name: str):
    race = at_zero(name)
    drive(race, 31, seed=3)
    state = race.save_state()
    onwards = drive(race, 67)
    for other in (race, Race(find_track(name))):
        other.load_state(state.to_bytes())
        assert other.save_state() == state
        assert drive(other, 67) == onwards


def test_the_countdown_can_be_rewound_to(race: Race):
    race.advance(1000)
    state = race.save_state()
    start = at_zero().save_state()
    race.restart()
    race.load_state(state)
    assert race.race_time_ms == -2000
    race.advance(2000)
    assert race.race_time_ms == 0
    assert race.save_state() == start


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.__setitem__(PRIVATE, bytes(616)),
        lambda data: data.__setitem__(PRIVATE, bytes(range(256)) * 2 + bytes(104)),
        lambda data: data.__setitem__(slice(1036, 1040), struct.pack("<i", 99)),  # another version
        lambda data: data.__setitem__(1040, data[1040] ^ 1),  # another track
    ],
)
def test_a_state_without_our_private_block_is_rebuilt(driven: SimState, race: Race, spoil: Callable[[bytearray], None]):
    """As one of the real game: only the public fields count."""
    data = bytearray(driven.to_bytes())
    spoil(data)
    race.load_state(bytes(data))
    rebuilt = race.save_state()
    exact = Race(TRACKS["flat"])
    exact.load_state(driven)
    known = np.ones(cs.CAR_SIZE, bool)
    known[cs.WHEEL_ABSORB_RATE : cs.WHEEL_ABSORB_RATE + 4] = False  # no field says how fast the springs move
    assert np.abs(race.car - exact.car)[known].max() < 1e-3
    public = [i for i in range(len(driven) // 4) if not PRIVATE.start <= 4 * i < PRIVATE.stop]
    assert np.array_equal(rebuilt.cp_times, driven.cp_times)
    np.testing.assert_allclose(rebuilt.floats[public], driven.floats[public], rtol=1e-4, atol=1e-5)
    for a, b in zip(drive(race, 11), drive(exact, 11), strict=True):
        assert np.abs(a.position - b.position).max() < 0.01


def test_effects_that_last_are_rebuilt_from_when_they_began(race: Race):
    state = at_zero().save_state()
    state.private[:] = 0
    state.race_time = 5000
    state.gearbox_state = 1
    state.turbo_type = 7
    ints = state.ints
    ints[3180 // 4] = 4900  # last turbo
    ints[3152 // 4] = 4800  # last contact with a wall
    race.load_state(state)
    assert race.car[cs.SHIFT_TICKS_LEFT] == 0  # the rpm tell how far a shift is
    assert race.car[cs.TURBO_TICKS_LEFT] == 15
    assert race.car[cs.WALL_TICKS_LEFT] == 30


EDITS = [
    ("position", [10.5, 3.25, 99.0], cs.POSITION),
    ("velocity", [1.5, -2.0, 33.25], cs.VELOCITY),
    ("angular_velocity", [0.5, 0.25, -1.5], cs.SPIN),
    ("rpm", 8000.0, cs.RPM),
    ("gear", 4, cs.GEAR),
    ("gearbox_state", 1, cs.GEARBOX_STATE),
    ("is_freewheeling", True, cs.FREE_WHEELING),
    ("turbo_type", 26, cs.TURBO_KIND),
    ("is_sliding", True, cs.IS_SLIDING),
    ("has_lateral_contact", True, cs.LATERAL_CONTACT),
    ("wheel_absorb", [0.01, 0.02, 0.03, 0.04], cs.WHEEL_ABSORB),
    ("wheel_contact", [True, False, True, False], cs.WHEEL_CONTACT),
    ("wheel_material", [2, 6, 16, 29], cs.WHEEL_MATERIAL),
    ("wheel_sliding", [False, True, False, True], cs.WHEEL_SLIDING),
]


@pytest.mark.parametrize(("field", "value", "place"), EDITS)
def test_an_edited_field_wins_and_the_others_stay_exact(
    driven: SimState, race: Race, field: str, value: float | list[float], place: int
):
    race.load_state(driven)
    before = race.car.copy()
    edited = driven.copy()
    setattr(edited, field, value)
    race.load_state(edited)
    size = np.size(value)
    assert race.car[place : place + size].tolist() == pytest.approx(np.ravel(value).astype(float).tolist(), rel=1e-6)
    others = np.ones(len(before), bool)
    others[place : place + size] = False
    if field == "velocity":
        others[cs.LOCAL_SPEED : cs.LOCAL_SPEED + 3] = False
        forward = race.car[cs.ROTATION : cs.ROTATION + 9].reshape(3, 3)[:, 2]
        assert race.car[cs.LOCAL_SPEED + 2] == pytest.approx(forward @ np.array(value))
    assert race.car[others].tobytes() == before[others].tobytes()
    assert np.array_equal(getattr(race.save_state(), field), getattr(edited, field))


@pytest.mark.parametrize("by", ["matrix", "quaternion", "both"])
def test_a_new_attitude_may_be_given_by_matrix_or_quaternion(driven: SimState, race: Race, by: str):
    half = np.sqrt(0.5)
    facing_x = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # the public figures of A01's spawn
    edited = driven.copy()
    if by != "quaternion":
        edited.rotation = facing_x
    if by != "matrix":
        edited.quaternion = [half, 0, half, 0]
    race.load_state(edited)
    np.testing.assert_allclose(race.car[cs.ROTATION : cs.ROTATION + 9], facing_x.ravel(), atol=1e-6)
    np.testing.assert_allclose(race.car[cs.QUATERNION : cs.QUATERNION + 4], [half, 0, half, 0], atol=1e-6)


@pytest.mark.parametrize("turn", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_half_turns_are_read_from_their_matrix(driven: SimState, race: Race, turn: tuple[int, int, int]):
    matrix = -np.eye(3)
    matrix[turn[0], turn[0]] = 1
    edited = driven.copy()
    edited.rotation = matrix
    race.load_state(edited)
    np.testing.assert_allclose(race.car[cs.ROTATION : cs.ROTATION + 9].reshape(3, 3), matrix, atol=1e-6)


def finished_race() -> Race:
    race = at_zero()
    state = race.save_state()
    state.race_time = 20_000
    state.cp_times[:2] = 5000, 11_000
    state.cp_states[:2] = 1
    state.position = [0, 0.03, 120]
    state.velocity = [0, 0, 40]
    race.load_state(state)
    while not race.finished:
        race.tick()
    return race


@pytest.mark.parametrize("edit", ["time", "flag"])
def test_the_finish_is_undone_by_the_edit_of_the_public_clients(edit: str):
    race = finished_race()
    race.tick()
    state = race.save_state()
    assert state.race_finished
    if edit == "time":
        state.cp_times[-1] = -1
    else:
        state.race_finished = False
    race.load_state(state)
    again = race.save_state()
    assert (race.finished, race.gates_passed) == (False, 2)
    assert again.cp_states.tolist() == [1, 1, 0]
    assert again.cp_times.tolist() == [5000, 11_000, -1]
    before = race.race_time_ms
    race.tick()
    assert race.race_time_ms == before + 10 == race.tick_time_ms


def test_a_finished_race_is_rewound_to_with_both_of_its_clocks():
    race = finished_race()
    for _ in range(5):
        race.tick()
    state = race.save_state()
    finish_ms, tick_ms = race.race_time_ms, race.tick_time_ms
    assert tick_ms == finish_ms + 50
    race.restart()
    race.load_state(state)
    assert (race.race_time_ms, race.tick_time_ms, race.finished) == (finish_ms, tick_ms, True)
    assert race.save_state() == state


@pytest.mark.parametrize(
    ("times", "flags", "expected_times", "expected_flags"),
    [
        ([100, -1, -1], [0, 1, 0], [100, -1, -1], [0, 1, 0]),
        ([100, 200, -1], [0, 1, 0], [100, 200, -1], [1, 1, 0]),
        ([-1, 200, -1], [1, 1, 0], [-1, -1, -1], [0, 0, 0]),
        ([100, -1, -1], [1, 1, 1], [100, -1, -1], [1, 0, 0]),
    ],
)
def test_checkpoint_flags_follow_the_times(
    driven: SimState,
    race: Race,
    times: list[int],
    flags: list[int],
    expected_times: list[int],
    expected_flags: list[int],
):
    edited = driven.copy()
    edited.cp_times[:] = times
    edited.cp_states[:] = flags
    race.load_state(edited)
    state = race.save_state()
    assert (state.cp_times.tolist(), state.cp_states.tolist()) == (expected_times, expected_flags)


def test_clock_respawns_and_inputs_can_be_edited(driven: SimState, race: Race):
    edited = driven.copy()
    edited.race_time = 60_010
    edited.num_respawns = 3
    edited.input_left, edited.input_right, edited.input_accelerate, edited.input_brake = False, True, False, True
    race.load_state(edited)
    assert race.race_time_ms == race.tick_time_ms == 60_010
    assert race.inputs == Inputs(right=True, brake=True)
    assert race.save_state().num_respawns == 3
    edited.input_steer = -30_001
    race.load_state(edited)
    assert race.inputs.steer == -30_001


def test_a_player_that_steers_straight_with_an_axis_still_does_after_a_rewind(race: Race):
    race.set_inputs(Inputs(left=True, steer=0))
    state = race.save_state()
    race.restart()
    race.load_state(state)
    assert race.inputs == Inputs(left=True, steer=0)


@pytest.mark.parametrize(
    ("offset", "form", "value", "words"),
    [
        (724, "<f", float("nan"), "not finite"),
        (736, "<f", float("inf"), "not finite"),
        (732, "<f", 1e30, "not finite"),
        (3128, "<i", 9, "gear"),
        (3128, "<i", -1, "gear"),
        (4112, "<i", 200, "material"),
        (7892, "<i", 12_345, "multiple of 10"),
        (7892, "<i", -10_000, "countdown"),
        (7892, "<i", 2_000_000_000, "eleven days"),
        (8, "<i", 0, "lacks the parts"),
        (1072 + 8 * cs.SPARE, "<d", float("nan"), "not finite"),
    ],
)
def test_impossible_values_are_refused_and_change_nothing(
    driven: SimState, race: Race, offset: int, form: str, value: float, words: str
):
    before = race.save_state()
    data = bytearray(driven.to_bytes())
    struct.pack_into(form, data, offset, value)
    with pytest.raises(StateError, match=words):
        race.load_state(bytes(data))
    assert race.save_state() == before


def test_a_rotation_must_be_one(driven: SimState, race: Race):
    edited = driven.copy()
    edited.quaternion = [0, 0, 0, 0]
    with pytest.raises(StateError, match="rotation"):
        race.load_state(edited)


def test_a_state_of_a_track_with_other_gates_is_refused(driven: SimState):
    with pytest.raises(StateError, match="3 checkpoints and 3 checkpoint times, the track other has 2 and 2"):
        Race(flat_track((50.0, 90.0), name="other")).load_state(driven)


def test_random_bytes_are_refused_or_played_on(driven: SimState, race: Race):
    """Nothing that a client sends makes the race crash or leave the numbers."""
    random = np.random.default_rng(SEED)
    refused = 0
    for _ in range(300):
        data = np.frombuffer(bytearray(driven.to_bytes()), np.uint8)
        for _ in range(random.integers(1, 30)):
            data[random.integers(len(data))] = random.integers(256)
        try:
            race.load_state(data.tobytes())
        except StateError:
            refused += 1
        race.advance(50)
        assert np.isfinite(race.car).all()
    assert 0 < refused < 300


def test_every_field_has_a_sensible_value(driven: SimState):
    data = driven.to_bytes()

    def ints(offset: int, count: int = 1) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}i", data, offset)

    def floats(offset: int, count: int = 1) -> tuple[float, ...]:
        return struct.unpack_from(f"<{count}f", data, offset)

    assert ints(4, 2) == (1, 0xFF)
    assert ints(16) == ints(7892) == (83 * 50,)
    assert ints(7980) == (100_000 + 83 * 50,)
    assert ints(7884) == (83 * 50 - 10,)
    assert ints(7992) == (1,)
    assert ints(8020) == ints(8024) == (np.count_nonzero(driven.cp_times >= 0),)
    assert floats(2384) == pytest.approx((277.8,))
    assert floats(3084) == (11_000.0,)
    assert floats(3984, 3) == pytest.approx((0.863, 0.3525, 1.782))
    assert (ints(3820), ints(4584), ints(5348), ints(6112)) == ((1,), (1,), (0,), (0,))
    assert ints(8276) == (100_010,)
    assert ints(8280)[0] & 0xFFFFFF == 1
    assert 100_010 <= ints(8308)[0] <= 100_010 + 83 * 50
    assert driven.input_accelerate
    assert ints(8264)[0] == ints(8268)[0] <= 100_010 + 83 * 50
    previous, current = np.array(floats(544, 3)), np.array(floats(724, 3))
    np.testing.assert_allclose(current - previous, driven.velocity * 0.01, atol=0.01)
    assert driven.display_speed == int(abs(driven.local_speed[2]) * 3.6) > 50
    np.testing.assert_allclose(driven.rotation.T @ driven.velocity, driven.local_speed, atol=1e-3)
    assert floats(2396) == floats(2564) == (driven.local_speed[2],)


def test_saving_and_rewinding_are_fast(driven: SimState, race: Race):
    save_s = min(timeit.repeat(race.save_state, number=100, repeat=20)) / 100
    load_s = min(timeit.repeat(lambda: race.load_state(driven), number=100, repeat=20)) / 100
    assert save_s < 50e-6
    assert load_s < 80e-6
