"""Races over a scripted game: the messages of each phase, in their order, byte by byte."""

import numpy as np
import pytest

from tests.game.transcript import (
    GAS,
    PRESS_GAS,
    RACE,
    RELEASE,
    SEEING,
    WEEK,
    blind_decision,
    countdown,
    goodbye,
    hello,
    load,
    look,
    picture,
    sized,
    speed,
    start,
    state,
)
from tmrl_ray.errors import StateError
from tmrl_ray.game.interface import GameSettings


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
