"""What a game may do that is not the plain way: late maps, missing states, jumping clocks, silence, refusals."""

import contextlib
import itertools
import math
import struct

import pytest

from tests.game.transcript import (
    BLIND,
    GAS,
    PRESS_GAS,
    QUICK,
    RACE,
    RELEASE,
    WEEK,
    blind_decision,
    command,
    countdown,
    goodbye,
    hello,
    load,
    sized,
    speed,
    start,
    state,
)
from tmrl_ray.config.game import Patience
from tmrl_ray.errors import GameGoneError, GameHungError, GameProtocolError, GameRefusedError, InvalidInputError
from tmrl_ray.game.client import GameClient
from tmrl_ray.game.greeting import map_command
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.session import SocketGame
from tmrl_ray.game.sim_state import SimState


def test_another_map_is_waited_for_while_the_old_race_goes_on(scripted_game):
    def script(peer):
        hello(peer, menus=0)
        peer.send(sized(state(-2000)))
        peer.expect(command("map curves"), speed(80), 5)
        for time_ms in (-1950, -1900):  # the race of whoever was here before
            peer.send(1, time_ms)
            peer.expect(1)
        peer.send(1, -2600)
        peer.expect(WEEK, command("cam 2"), 21, 0, 9)
        peer.send(sized(b"\0"))  # the race is not there yet
        peer.expect(1)
        peer.send(1, -2550)
        peer.expect(WEEK, command("cam 2"), 21, 0, 9)
        peer.send(sized(state(-2550)))
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("curves")


def test_a_state_that_is_not_there_at_the_start_is_waited_for_by_another_restart(scripted_game):
    def script(peer):
        hello(peer)
        load(peer)
        peer.expect(RACE, 11, RELEASE, speed(80), 1)
        peer.send(1, -50)
        peer.expect(1)
        peer.send(1, 0)
        peer.expect(9)
        peer.send(sized(b"\0"))
        peer.expect(11, 1)
        peer.send(1, -50)
        peer.expect(1)
        peer.send(1, 0)
        blind_decision(peer, state(0))
        blind_decision(peer, state(0))
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        assert game.start_race().race_time_ms == 0


def test_a_map_that_our_servers_do_not_have_is_refused(scripted_game):
    def script(peer):
        hello(peer)
        peer.expect(command("map nowhere"), speed(80), 5)
        peer.send(5)
        peer.expect(22)
        peer.send(1)
        peer.expect(command("map hairpin"), 5)
        peer.send(1, -2600)
        peer.expect(WEEK, command("cam 2"), 21, 0, 9)
        peer.send(sized(state(-2600)))
        goodbye(peer)

    with start(scripted_game, script) as game:
        with pytest.raises(GameRefusedError, match="no map 'nowhere'"):
            game.load_map("nowhere")
        with pytest.raises(RuntimeError, match="load_map"):
            game.start_race()
        game.load_map("hairpin")


def test_a_map_that_never_starts_is_told_from_one_that_never_comes(scripted_game):
    patience = Patience(connect_s=2, greeting_s=2, load_s=0.3, answer_s=2)

    def silent(peer):
        hello(peer)
        peer.expect(command("map nowhere"), speed(80), 5)
        peer.read(1)

    def stubborn(peer):
        hello(peer, menus=0)
        peer.send(sized(state(100)))
        peer.expect(command("map nowhere"), speed(80), 5)
        with contextlib.suppress(OSError):
            for time_ms in itertools.count(150, 50):
                peer.send(1, time_ms)
                if peer.read(4) != struct.pack("<i", 1):
                    return

    with pytest.raises(GameHungError, match=r"0\.(3|29+) s .*'nowhere' did not start"):
        SocketGame.connect(scripted_game(silent).address, BLIND, patience=patience).load_map("nowhere")
    game = SocketGame.connect(scripted_game(stubborn).address, BLIND, patience=patience)
    with pytest.raises(GameRefusedError, match="still drives the race that it had"):
        game.load_map("nowhere")
    game.close()


@pytest.mark.parametrize(
    ("after", "words"), [(-2600, "from 50 to -2600"), (50, "from 50 to 50"), (150, "from 50 to 150")]
)
def test_a_race_clock_that_jumps_is_no_race(scripted_game, after, words):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(PRESS_GAS, 1)
        peer.send(1, 50)
        blind_decision(peer, state(50))
        peer.expect(PRESS_GAS, 1)
        peer.send(1, after)
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        game.start_race()
        game.step(GAS)
        with pytest.raises(GameProtocolError, match=words):
            game.step(GAS)


@pytest.mark.parametrize(
    ("script_end", "error"),
    [
        (lambda peer: (peer.send(5), goodbye(peer)), GameGoneError),
        (lambda peer: (peer.send(1, 50), blind_decision(peer, b"\0"), goodbye(peer)), GameProtocolError),
        (lambda peer: (peer.send(2, 3, 3), blind_decision(peer, state(9)), peer.read(9000)), GameProtocolError),
        (lambda peer: None, GameGoneError),
        (lambda peer: peer.send(b"HTTP/1.1 400"), GameProtocolError),
        (lambda peer: peer.read(1), GameHungError),
    ],
)
def test_a_game_that_fails_in_a_race_is_lost(scripted_game, script_end, error):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(PRESS_GAS, 1)
        script_end(peer)

    patience = Patience(connect_s=2, greeting_s=2, load_s=2, answer_s=0.4)
    game = SocketGame.connect(scripted_game(script).address, BLIND, patience=patience)
    game.load_map("hairpin")
    game.start_race()
    with pytest.raises(error):
        game.step(GAS)
    game.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e30])
@pytest.mark.parametrize("field", ["position", "velocity", "rotation", "angular_velocity", "wheel_absorb"])
def test_a_state_that_is_no_car_s_is_never_a_moment(scripted_game, field, value):
    spoilt = SimState(state(50))
    getattr(spoilt, field).flat[-1] = value

    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(PRESS_GAS, 1)
        peer.send(1, 50)
        blind_decision(peer, spoilt.to_bytes())
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        game.start_race()
        with pytest.raises(GameProtocolError, match="a state of no car"):
            game.step(GAS)


@pytest.mark.parametrize("knows", [True, False])
def test_analog_steering_is_asked_for_once_and_may_be_refused(scripted_game, knows):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(100, 0x7FFFFFFF, 22)
        if not knows:
            peer.send(0)
            goodbye(peer)
            return
        peer.send(100, 0)
        for time_ms, steer in ((50, -65536), (100, 123)):
            peer.expect(PRESS_GAS, 100, steer, 1)
            peer.send(1, time_ms)
            blind_decision(peer, state(time_ms))
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        game.start_race()
        if not knows:
            with pytest.raises(GameRefusedError, match="no analog steering"):
                game.step(GAS._replace(steer=5))
            return
        for steer in (-65536, 123):
            game.step(Inputs(left=True, accelerate=True, steer=steer))


def test_the_name_of_the_player_is_told_to_a_real_game(scripted_game):
    game = scripted_game(lambda peer: (hello(peer, extra=("set autologin ann",)), goodbye(peer)))
    SocketGame.connect(game.address, BLIND, patience=QUICK, player="ann").close()


def test_calls_for_the_client_before_us_are_answered_before_hello(scripted_game):
    script = lambda peer: (peer.send(1, 12340), peer.expect(1), hello(peer), goodbye(peer))  # noqa: E731
    with start(scripted_game, script):
        pass


def test_resting_parks_a_race_that_was_cut_off(scripted_game):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(WEEK)
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        game.start_race()
        game.rest()
        with pytest.raises(RuntimeError, match="no race is on"):
            game.step(GAS)


def test_closing_runs_the_hook_once_also_when_the_game_is_gone(scripted_game):
    ended = []
    game = scripted_game(lambda peer: hello(peer))
    session = SocketGame(GameClient.connect(game.address, QUICK), BLIND, on_close=lambda: ended.append(1))
    game.thread.join(5)
    session.close()
    session.close()
    assert ended == [1]


@pytest.mark.parametrize("name", ["", 'a"b', "a\nb", "a\0b"])
def test_a_map_name_that_the_console_cannot_take_is_refused(name):
    with pytest.raises(InvalidInputError, match="map's name"):
        map_command(name)


def test_a_map_name_with_spaces_is_quoted():
    assert map_command("My Challenges/Été 1.Challenge.Gbx") == 'map "My Challenges/Été 1.Challenge.Gbx"'
    assert map_command("A01-Race.Challenge.Gbx") == "map A01-Race.Challenge.Gbx"
