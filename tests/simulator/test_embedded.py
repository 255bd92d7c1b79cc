"""The embedded game: what the seam promises, and what only the simulator can."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.flat_track import find_track
from tmrl_ray.errors import GameRefusedError, StateError
from tmrl_ray.game.frames import bgra_to_grey
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.look import Look

GAS = Inputs(accelerate=True)


def game(**settings: object) -> EmbeddedGame:
    game = EmbeddedGame(GameSettings(**{"frame_size": (13, 11), **settings}), find_track=find_track)
    game.load_map("flat")
    return game


def test_a_race_needs_a_map():
    with pytest.raises(RuntimeError, match="load_map"):
        EmbeddedGame().start_race()


def test_an_unknown_map_is_refused_and_the_race_goes_on():
    flat = game()
    flat.start_race()
    with pytest.raises(GameRefusedError, match="nowhere"):
        flat.load_map("nowhere")
    assert flat.step(GAS).race_time_ms == 50


def test_pictures_are_grey_coloured_or_none():
    grey, coloured, none = game(), game(grey=False), game(frame_size=None)
    moments = [g.start_race() for g in (grey, coloured, none)]
    assert moments[0].frame is not None and moments[1].frame is not None
    assert moments[0].frame.shape == (11, 13)
    assert moments[1].frame.shape == (11, 13, 4)
    assert np.array_equal(bgra_to_grey(moments[1].frame), moments[0].frame)
    assert moments[2].frame is None
    assert moments[0].state == moments[2].state


def test_the_look_changes_pictures_and_nothing_else():
    flat = game()
    before = flat.start_race()
    flat.look = Look(exposure=0.5)
    after = flat.start_race()
    assert before.state == after.state
    assert before.frame is not None and after.frame is not None
    assert not np.array_equal(before.frame, after.frame)


def test_every_race_of_a_look_seed_has_its_own_look():
    first, second = (EmbeddedGame(GameSettings(frame_size=(13, 11)), look_seed=5, find_track=find_track) for _ in "ab")
    first.load_map("flat")
    second.load_map("flat")
    frames = [first.start_race().frame for _ in range(3)]
    again = [second.start_race().frame for _ in range(3)]
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in again]
    assert len({frame.tobytes() for frame in frames}) == 3


def test_a_race_over_cannot_be_stepped():
    flat = game(frame_size=None)
    flat.start_race()
    flat.race.end()
    with pytest.raises(RuntimeError, match="start_race"):
        flat.step(GAS)


def test_a_state_that_is_none_leaves_the_race_alone():
    flat = game(frame_size=None)
    before = flat.start_race().state
    with pytest.raises(StateError):
        flat.start_race(b"\0")
    assert flat.race.save_state() == before


def test_a_closed_game_needs_its_map_again():
    flat = game()
    flat.close()
    with pytest.raises(RuntimeError, match="load_map"):
        flat.step(GAS)
    flat.load_map("flat")
    assert flat.start_race().race_time_ms == 0
