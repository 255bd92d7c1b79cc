"""Races over a scripted game: the messages of each phase, in their order, byte by byte."""

import contextlib
import itertools
import struct

import numpy as np
import pytest

from tmrl_ray.errors import (
    GameGoneError,
    GameHungError,
    GameProtocolError,
    GameRefusedError,
    InvalidInputError,
    StateError,
)
from tmrl_ray.game.client import GameClient, Patience
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.game.session import SocketGame, map_command

QUICK = Patience(connect_s=2, greeting_s=2, load_s=2, answer_s=2)
BLIND = GameSettings(frame_size=None)
SEEING = GameSettings(frame_size=(7, 5), camera=3)
WEEK, RACE = (struct.pack("<2I", 15, ms) for ms in (600_000_000, 10_100))
GAS = Inputs(accelerate=True)
PRESS_GAS = struct.pack("<i4B", 10, 0, 0, 1, 0)
RELEASE = struct.pack("<i4B", 10, 0, 0, 0, 0)
SETS = (
    "set unfocused_fps_limit false",
    "set skip_map_load_screens true",
    "set disable_forced_camera true",
    "set autorewind false",
    "set auto_reload_plugins false",
    "set use_valseed false",
    "set temp_save_states_collect false",
    "set execute_commands true",
    "set countdown_speed 80",
)


def speed(value):
    return struct.pack("<if", 6, value)


def command(text):
    return struct.pack("<2i", 14, len(text.encode())) + text.encode()


def state(race_time, times=(-1, -1, -1)):
    """A state with as many checkpoints as times, at the offsets of the specification."""
    data = bytearray(8356 + 12 * len(times))
    struct.pack_into("<i", data, 8, 0xFF)
    struct.pack_into("<i", data, 7892, race_time)
    struct.pack_into("<i", data, 8348, len(times))
    struct.pack_into("<i", data, 8352 + 4 * len(times), len(times))
    for i, time in enumerate(times):
        struct.pack_into("<i", data, 8356 + 4 * len(times) + 8 * i, time)
    return bytes(data)


def sized(data):
    return struct.pack("<i", len(data)) + data


def hello(peer, *, menus=1, extra=()):
    """The game's side of the first call, up to the question about menus."""
    peer.send(5)
    peer.expect(WEEK, speed(1), 19, 50, *(command(text) for text in (*SETS, *extra)), 22)
    peer.send(menus)
    if not menus:
        peer.expect(9)


def load(peer, name="hairpin", camera=2):
    """The map command in the first call, and the first run step of the map."""
    peer.expect(command(f"map {name}"), speed(80), 5)
    peer.send(1, -2600)
    peer.expect(WEEK, command(f"cam {camera}"), 21, 0, 9)
    peer.send(sized(state(-2600)))


def countdown(peer):
    """A restart, up to the state at race time 0."""
    peer.expect(RACE, 11, RELEASE, speed(80), 1)
    for time_ms in (-2590, -50):
        peer.send(1, time_ms)
        peer.expect(1)
    peer.send(1, 0)
    peer.expect(9)
    peer.send(sized(state(0)))


def blind_decision(peer, data):
    peer.expect(9)
    peer.send(sized(data))


def goodbye(peer):
    peer.expect(speed(1), 21, 1)
    peer.expect_goodbye()


def start(scripted_game, script, settings=BLIND):
    return contextlib.closing(SocketGame.connect(scripted_game(script).address, settings, patience=QUICK))


def test_a_blind_race_from_hello_to_finish_and_the_next_one(scripted_game):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        blind_decision(peer, state(0))
        peer.expect(PRESS_GAS, 1)
        peer.send(1, 50)
        blind_decision(peer, state(50))
        peer.expect(PRESS_GAS, 1)
        peer.send(2, 1, 3)
        peer.expect(2)
        peer.send(3, 1, 1)
        peer.expect(3)
        peer.send(1, 100)
        blind_decision(peer, state(100, (70, -1, -1)))
        peer.expect(PRESS_GAS, 1)
        peer.send(2, 3, 3)
        peer.expect(9)
        peer.send(sized(state(130, (70, 110, 130))))
        unfinished = state(130, (70, 110, -1))
        peer.expect(7, len(unfinished), unfinished, WEEK)
        # the next race: the call of the finish is answered, the rewind comes in the run step
        peer.expect(RACE, speed(80), 2)
        peer.send(1, 150)
        peer.expect(RELEASE, 7, len(state(0)), state(0))
        blind_decision(peer, state(0))
        peer.expect(PRESS_GAS, 1)
        peer.send(1, 50)
        blind_decision(peer, state(50))
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        game.load_map("hairpin")  # loaded already: nothing is sent
        first = game.start_race()
        assert (first.race_time_ms, first.frame, first.checkpoints_passed, first.finished) == (0, None, 0, False)
        assert game.step(GAS).race_time_ms == 50
        moment = game.step(GAS)
        assert (moment.race_time_ms, moment.checkpoints_passed, moment.checkpoints_total) == (100, 1, 3)
        last = game.step(GAS)
        assert (last.race_time_ms, last.checkpoints_passed, last.finished) == (130, 3, True)
        assert last.state.to_bytes() == state(130, (70, 110, 130))
        with pytest.raises(RuntimeError, match="start_race"):
            game.step(GAS)
        assert game.start_race().state.to_bytes() == state(0)
        assert game.step(GAS).race_time_ms == 50


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (5, 7, 4), dtype=np.uint8)


def look(peer, data, seed):
    """The messages of a decision with a picture, in the run step and in the picture's call."""
    peer.expect(9, 8, speed(0), 17, 7, 5, 1)
    peer.send(sized(data), 4, picture(seed).tobytes())


def test_a_race_with_pictures(scripted_game):
    def script(peer):
        hello(peer)
        load(peer, camera=3)
        countdown(peer)
        look(peer, state(0), 1)
        peer.expect(PRESS_GAS, speed(80), 4)
        peer.send(1, 50)
        look(peer, state(50), 2)
        peer.expect(PRESS_GAS, speed(80), 4)
        peer.send(2, 3, 3)
        peer.expect(9)
        done = state(90, (20, 60, 90))
        peer.send(sized(done))
        unfinished = state(90, (20, 60, -1))
        peer.expect(7, len(unfinished), unfinished, WEEK, speed(0), 17, 7, 5, 2)
        peer.send(1, 100)  # a tick that was due all the same
        peer.expect(1)
        peer.send(4, picture(3).tobytes())
        # the next race: a picture's call is open, the rewind waits for a run step
        peer.expect(RACE, speed(80), 4)
        peer.send(1, 150)
        peer.expect(RELEASE, 7, len(state(0)), state(0))
        look(peer, state(0), 4)
        goodbye(peer)

    with start(scripted_game, script, SEEING) as game:
        game.load_map("hairpin")
        frames = [game.start_race().frame, game.step(GAS).frame]
        last = game.step(GAS)
        frames += [last.frame, game.start_race().frame]
        assert last.finished and last.race_time_ms == 90
        for seed, frame in enumerate(frames, start=1):
            blue, green, red, _ = np.moveaxis(picture(seed).astype(int), 2, 0)
            np.testing.assert_array_equal(frame, (blue * 1868 + green * 9617 + red * 4899 + 8192) >> 14)


def test_pictures_in_colour_are_given_as_they_came(scripted_game):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        look(peer, state(0), 1)
        goodbye(peer)

    with start(scripted_game, script, GameSettings(frame_size=(7, 5), grey=False)) as game:
        game.load_map("hairpin")
        np.testing.assert_array_equal(game.start_race().frame, picture(1))


def test_a_finish_in_a_tick_that_ran_before_the_picture_ends_the_race(scripted_game):
    def script(peer):
        hello(peer)
        load(peer)
        countdown(peer)
        peer.expect(9, 8, speed(0), 17, 7, 5, 1)
        peer.send(sized(state(0)), 2, 3, 3)
        peer.expect(9)
        peer.send(sized(state(10, (3, 5, 10))))
        unfinished = state(10, (3, 5, -1))
        peer.expect(7, len(unfinished), unfinished, WEEK, 17, 7, 5, 2)
        peer.send(4, picture(1).tobytes())
        goodbye(peer)

    with start(scripted_game, script, GameSettings(frame_size=(7, 5))) as game:
        game.load_map("hairpin")
        moment = game.start_race()
        assert moment.finished and moment.race_time_ms == 10


def test_a_race_starts_from_a_given_state(scripted_game):
    middle = state(1230, (700, -1, -1))

    def script(peer):
        hello(peer)
        load(peer)
        peer.expect(RACE, RELEASE, 7, len(middle), middle, speed(80))
        blind_decision(peer, middle)
        peer.expect(PRESS_GAS, 1)
        peer.send(1, 1250)
        blind_decision(peer, state(1250, (700, -1, -1)))
        goodbye(peer)

    with start(scripted_game, script) as game:
        game.load_map("hairpin")
        with pytest.raises(StateError):
            game.start_race(b"no state")
        moment = game.start_race(middle)
        assert (moment.race_time_ms, moment.checkpoints_passed) == (1230, 1)
        assert game.step(GAS).race_time_ms == 1250


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

    with pytest.raises(GameHungError, match=r"0\.3 s .*'nowhere' did not start"):
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
