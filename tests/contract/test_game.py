"""What every ``Game`` must do, held against the embedded one and against the one behind a socket.

The two also have to agree byte for byte: that is what lets everything above the seam ignore which one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.simulator.flat_track import find_track
from tmrl_ray.errors import GameRefusedError, StateError
from tmrl_ray.game.client import Patience
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.interface import Game, GameSettings, Moment
from tmrl_ray.game.session import SocketGame
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.server import GameServer, ServerSettings

SIZE = (13, 7)
GAS = Inputs(accelerate=True)
PATIENT = Patience(answer_s=60)
"""Kernels may be compiled in the first race."""


def embedded(settings: GameSettings) -> Iterator[Game]:
    game = EmbeddedGame(settings, find_track=find_track)
    yield game
    game.close()


def behind_a_socket(settings: GameSettings) -> Iterator[Game]:
    with GameServer(ServerSettings(find_track=find_track), 0) as server:
        game = SocketGame.connect(Address("127.0.0.1", server.port), settings, patience=PATIENT)
        yield game
        game.close()
    assert server.error is None


MAKERS = [embedded, behind_a_socket]
Make = Callable[..., Game]


@pytest.fixture
def open_game() -> Iterator[Make]:
    """Open games by a maker and settings; they are closed with the test."""
    opened = []

    def make(maker: Callable[[GameSettings], Iterator[Game]], **settings: object) -> Game:
        games = maker(GameSettings(**{"frame_size": SIZE, **settings}))
        opened.append(games)
        return next(games)

    yield make
    for games in opened:
        assert list(games) == []


@pytest.fixture(params=MAKERS, ids=["embedded", "socket"])
def game(request: pytest.FixtureRequest, open_game: Make) -> Game:
    """A game with the flat track loaded."""
    game = open_game(request.param)
    game.load_map("flat")
    return game


def in_front_of(moment: Moment, z: float, speed: float = 50.0) -> SimState:
    """The state of a moment with the car in front of a gate."""
    state = moment.state.copy()
    state.position = [0, 0.03, z - 6]
    state.velocity = [0, 0, speed]
    return state


def before_the_finish(moment: Moment) -> SimState:
    state = in_front_of(moment, 130)
    state.race_time = 20_000
    state.cp_times[:2] = 7000, 15_000
    state.cp_states[:2] = 1
    return state


def test_a_race_starts_at_rest_at_time_zero(game: Game):
    moment = game.start_race()
    assert (moment.race_time_ms, moment.state.race_time) == (0, 0)
    assert (moment.checkpoints_passed, moment.checkpoints_total, moment.finished) == (0, 3, False)
    assert np.abs(moment.state.velocity).max() < 0.01
    assert moment.frame is not None
    assert (moment.frame.shape, moment.frame.dtype) == (SIZE[::-1], np.uint8)


def test_a_decision_holds_its_inputs_for_a_period(game: Game):
    game.start_race()
    for k in range(1, 8):
        moment = game.step(GAS)
        assert moment.race_time_ms == moment.state.race_time == 50 * k
        assert moment.state.input_accelerate
    assert moment.state.velocity[2] > 3
    assert not game.step(RELEASED).state.input_accelerate


def test_every_race_starts_alike(game: Game):
    first = game.start_race()
    for _ in range(5):
        game.step(Inputs(accelerate=True, left=True))
    second = game.start_race()
    assert first.state == second.state
    assert np.array_equal(first.frame, second.frame)
    assert game.step(RELEASED).state.velocity[2] == pytest.approx(0, abs=0.01)


def test_a_race_can_start_from_a_saved_state(game: Game):
    game.start_race()
    for _ in range(9):
        saved = game.step(GAS)
    onwards = [game.step(Inputs(left=True)) for _ in range(5)]
    again = game.start_race(saved.state.to_bytes())
    assert again.state == saved.state
    assert np.array_equal(again.frame, saved.frame)
    for moment in onwards:
        assert game.step(Inputs(left=True)).state == moment.state


def test_a_state_between_two_decisions_is_played_to_the_next(game: Game):
    state = game.start_race().state
    state.race_time = 1230
    assert game.start_race(state.to_bytes()).race_time_ms == 1230
    assert game.step(GAS).race_time_ms == 1250


def test_checkpoints_are_counted_within_a_decision(game: Game):
    start = game.start_race()
    game.start_race(in_front_of(start, 50).to_bytes())
    moment = game.step(GAS)
    while not moment.checkpoints_passed:
        moment = game.step(GAS)
    assert moment.race_time_ms % 50 == 0
    assert 0 < moment.state.cp_times[0] <= moment.race_time_ms
    assert not moment.finished


def test_the_finish_ends_a_decision_to_the_tick(game: Game):
    start = game.start_race()
    moment = game.start_race(before_the_finish(start).to_bytes())
    while not moment.finished:
        moment = game.step(GAS)
    assert moment.race_time_ms == moment.state.cp_times[-1] == moment.state.race_time
    assert (moment.checkpoints_passed, moment.state.race_finished) == (3, True)
    assert moment.frame is not None
    assert game.start_race().state == start.state


def test_the_same_map_is_not_loaded_twice_and_another_one_is(game: Game):
    game.start_race()
    game.step(GAS)
    game.load_map("flat")
    assert game.step(GAS).race_time_ms == 100
    game.load_map("Two Laps")
    moment = game.start_race()
    assert (moment.race_time_ms, moment.checkpoints_total) == (0, 4)


def test_a_map_that_is_not_there_is_refused(game: Game):
    game.start_race()
    with pytest.raises(GameRefusedError, match="nowhere"):
        game.load_map("nowhere")


def test_what_is_no_state_is_refused_before_the_game_sees_it(game: Game):
    game.start_race()
    game.step(GAS)
    with pytest.raises(StateError):
        game.start_race(b"no state")
    assert game.step(GAS).race_time_ms == 100


def test_analog_steering_takes_the_place_of_the_keys(game: Game):
    game.start_race()
    moment = game.step(Inputs(accelerate=True, steer=40_000))
    assert moment.state.input_steer == 40_000
    moment = game.step(Inputs(accelerate=True, left=True))
    assert (moment.state.input_steer, moment.state.input_left) == (0, True)


@pytest.mark.parametrize("settings", [{}, {"frame_size": None}, {"grey": False, "camera": 3, "decision_period_ms": 70}])
def test_both_games_agree_byte_for_byte(open_game: Make, settings: dict[str, object]):
    games = [open_game(maker, **settings) for maker in MAKERS]
    for game in games:
        game.load_map("flat")
    random = np.random.default_rng(11)
    for _ in range(2):
        moments = [game.start_race() for game in games]
        moments = [
            game.start_race(before_the_finish(moment).to_bytes()) for game, moment in zip(games, moments, strict=True)
        ]
        compare(*moments)
        while not moments[0].finished:
            keys = random.random(4) < 0.4
            moments = [game.step(Inputs(*map(bool, keys))) for game in games]
            compare(*moments)
            if moments[0].race_time_ms > 24_000:
                break


def compare(a: Moment, b: Moment) -> None:
    """Assert that two moments are the same."""
    assert a.state == b.state
    assert (a.frame is None) == (b.frame is None)
    assert a.frame is None or a.frame.tobytes() == b.frame.tobytes()
    assert (a.race_time_ms, a.checkpoints_passed, a.checkpoints_total, a.finished) == (
        *(b.race_time_ms, b.checkpoints_passed, b.checkpoints_total, b.finished),
    )
