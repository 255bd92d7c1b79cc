"""Films of simulated races: what stands in them is what the driver saw, did and led to, tick by tick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.datasets.filming import Film, FilmedGame, FilmSpeed
from tmrl_ray.datasets.folder import RaceWriter, read_race
from tmrl_ray.datasets.race import Race, RaceFacts
from tmrl_ray.datasets.states import floats_at
from tmrl_ray.errors import DatasetError, GameProtocolError
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.car_limits import measure_limits
from tmrl_ray.racing.drivers import PursuitDriver
from tmrl_ray.racing.driving_line import centre_line
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.rollout import Driver, Step, rollout
from tmrl_ray.racing.speed_profile import speed_profile
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.tuning import CarTuning

TRACK = load_track("generated-train-00")
LINE = line_of_track(TRACK)
LAYOUT = ObservationLayout()
SIZE = (20, 12)
WHOLE = CutOffSettings()
SHORT = CutOffSettings(race_ms=1230, no_progress_ms=1230)


def driver() -> Driver:
    line, limits = centre_line(TRACK), measure_limits(CarTuning())
    return PursuitDriver(line, speed_profile(line, limits), limits)


def film(root: Path, fps: float, cut_offs: CutOffSettings = SHORT) -> tuple[Race, list[Step]]:
    """Film a race of the pursuit driver, and return it as it was written, with the driver's steps."""
    speed = FilmSpeed.of(fps=fps, period_ms=50)
    game = EmbeddedGame(GameSettings(decision_period_ms=speed.step_ms, frame_size=SIZE))
    game.load_map(TRACK.name)
    with RaceWriter(root, "map", "race") as writer:
        taken = Film(LINE, LAYOUT, speed, writer.add)
        steps = list(rollout(FilmedGame(game, taken), driver(), LINE, cut_offs=cut_offs))
        writer.commit(taken.race(RaceFacts(map="map", name="race")))
    return read_race(root / "map" / "race"), steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Race, list[Step]]:
    return film(tmp_path_factory.mktemp("whole"), 20, WHOLE)


def test_a_film_at_the_agents_period_holds_what_the_agent_saw(whole: tuple[Race, list[Step]]) -> None:
    race, steps = whole
    assert race.times_ms[:-1].tolist() == [step.race_time_ms for step in steps]
    for row in range(0, len(steps), 7):
        frame = steps[row].frame
        assert frame is not None
        np.testing.assert_array_equal(race.frame(row), frame)
    assert race.states is not None
    floats = floats_at(race.states, race.actions, race.times_ms[:-1], LAYOUT, period_ms=50)
    np.testing.assert_allclose(floats, [step.floats for step in steps], rtol=1e-5, atol=2e-5)


def test_the_finish_is_recorded_to_the_tick(whole: tuple[Race, list[Step]]) -> None:
    race, steps = whole
    assert race.facts.finished
    end_ms = race.facts.race_time_ms
    assert end_ms is not None and end_ms % 50 != 0
    assert race.times_ms[-1] == end_ms
    assert race.entries[-1].action is None
    assert len(race.actions) == end_ms // 10
    held = np.repeat([step.decision.action for step in steps], 5)[: len(race.actions)]
    assert race.actions.tolist() == held.tolist()
    assert race.states is not None and race.states.metres[-1, 0] == pytest.approx(LINE.length_m)


@pytest.mark.parametrize("fps", [100, 64, 25, 10, 3])
def test_the_race_is_the_same_at_any_frame_rate(whole: tuple[Race, list[Step]], tmp_path: Path, fps: float) -> None:
    race, steps = film(tmp_path, fps)
    known, known_steps = whole
    assert [step.decision for step in steps] == [step.decision for step in known_steps[: len(steps)]]
    assert race.actions.tolist() == known.actions[: len(race.actions)].tolist()
    due = [10 * round(number * 100 / fps + 1e-9) for number in range(len(race.entries))]
    assert np.abs(race.times_ms[:-1] - due[:-1]).max() <= 10 * (fps == 64)
    assert race.times_ms[-1] == 1250
    for row, entry in enumerate(race.entries[:-1]):
        assert entry.action == race.actions[entry.time_ms // 10]
        if entry.time_ms % 50 == 0:
            np.testing.assert_array_equal(race.frame(row), known.frame(entry.time_ms // 50))
    assert race.states is not None and known.states is not None
    times_ms = np.arange(0, 1250, 50)
    floats = [floats_at(each.states, each.actions, times_ms, LAYOUT, period_ms=50) for each in (race, known)]  # type: ignore[arg-type]
    np.testing.assert_allclose(floats[0], floats[1], rtol=1e-5, atol=2e-5)


@settings(deadline=None)
@given(fps=st.floats(0.5, 100), period_ms=st.sampled_from([10, 20, 50, 70, 100]))
def test_pictures_are_due_at_the_nearest_ticks_and_the_game_stands_still_then(fps: float, period_ms: int) -> None:
    speed = FilmSpeed.of(fps=fps, period_ms=period_ms)
    assert period_ms % speed.step_ms == 0
    due_ms = [speed.due_ms(number) for number in range(50)]
    assert all(time_ms % speed.step_ms == 0 for time_ms in due_ms)
    assert all(abs(time_ms - number * 1000 / fps) <= 5 + 1e-6 for number, time_ms in enumerate(due_ms))
    assert len(set(due_ms)) == 50


def test_more_pictures_than_ticks_are_refused() -> None:
    with pytest.raises(DatasetError, match="100 ticks"):
        FilmSpeed.of(fps=101, period_ms=50)


class Hurrying(EmbeddedGame):
    """A game that goes on while nobody looks."""

    def step(self, inputs: object) -> object:  # type: ignore[override]
        super().step(ACTIONS[0])
        return super().step(ACTIONS[0])


def test_a_game_that_does_not_wait_is_noticed() -> None:
    game = Hurrying(GameSettings(frame_size=SIZE))
    game.load_map(TRACK.name)
    taken = Film(LINE, LAYOUT, FilmSpeed.of(fps=20, period_ms=50), lambda name, data: None)
    filmed = FilmedGame(game, taken)
    filmed.start_race()
    with pytest.raises(GameProtocolError, match="labelled with other ticks"):
        filmed.step(ACTIONS[0])
