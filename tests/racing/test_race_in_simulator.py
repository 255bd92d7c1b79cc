"""Whole races in the simulator, driven by what the agent sees alone."""

import numpy as np
import pytest

from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.actions import BRAKE, COAST, FORWARD, FORWARD_LEFT, FORWARD_RIGHT
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.reward import Term
from tmrl_ray.racing.rollout import Decision, RaceEnd, Step, rollout
from tmrl_ray.racing.start_states import StateStore, UniformStart
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

LAYOUT = ObservationLayout()
CRUISE_MPS = 22.0


class FollowTheLine:
    """Steers towards the way-point 20 m ahead, at an even pace, by the floats alone."""

    def act(self, frame, floats):
        left, _, forward = floats[LAYOUT.way_point(2)]
        angle = np.arctan2(left, forward)
        if floats[LAYOUT.velocity][2] > CRUISE_MPS:
            return Decision(COAST + (1 if angle > 0.03 else 2 if angle < -0.03 else 0))
        return Decision(FORWARD_LEFT if angle > 0.03 else FORWARD_RIGHT if angle < -0.03 else FORWARD)


class Never:
    def act(self, frame, floats):
        return Decision(BRAKE if floats[LAYOUT.velocity][2] > 1 else COAST)


@pytest.fixture(scope="module")
def line():
    return line_of_track(load_track("loop"))


@pytest.fixture(scope="module")
def game():
    game = EmbeddedGame(GameSettings(frame_size=None))
    game.load_map("loop")
    return game


@pytest.fixture(scope="module")
def race(game, line) -> tuple[list[Step], RaceEnd, StateStore]:
    """A race to the finish, with a state saved every second."""
    run = rollout(game, FollowTheLine(), line)
    steps, states = [], []
    for step in run:
        steps.append(step)
        if len(steps) % 20 == 0:
            states.append(run.save())
    store = StateStore(line, seed=1)
    store.add(states, run.end)
    return steps, run.end, store


def test_the_line_leads_to_the_finish(race, game, line):
    steps, end, _ = race
    assert end.how == "finish", f"{end.how} {end.cut_off} after {end.metres:.0f} m"
    assert end.race_time_ms == end.finish_time_ms
    assert end.race_time_ms % 10 == 0
    assert 20_000 < end.race_time_ms < 45_000
    assert len(end.split_times_ms) == len(load_track("loop").gates)
    assert list(end.split_times_ms) == sorted(end.split_times_ms)
    assert end.split_times_ms[-1] == end.race_time_ms
    assert end.floats[LAYOUT.metres_left] == 0
    assert end.metres == pytest.approx(line.length_m)


def test_terms_of_the_race_add_up(race, line):
    steps, end, _ = race
    terms = np.array([step.terms for step in steps], dtype=np.float64)
    assert terms[:, Term.ELAPSED_MS].sum() == end.race_time_ms
    assert terms[:, Term.ADVANCED_M].sum() == pytest.approx(line.length_m - steps[0].metres, abs=0.01)
    assert (terms[:-1, Term.ADVANCED_M] > -0.1).all()
    assert terms[-1, Term.ELAPSED_MS] <= 50
    assert abs(terms[-1, Term.ADVANCED_M]) < 6, "the last metres are not a leap: the line ends at the finish"


def test_observations_are_of_a_car_on_a_road(race):
    floats = np.array([step.floats for step in race[0]])[40:]
    assert np.isfinite(floats).all()
    assert (floats[:, LAYOUT.wheel_contact].mean(axis=0) > 0.95).all()
    assert np.median(floats[:, LAYOUT.up], axis=0)[1] > 0.99
    assert np.median(floats[:, LAYOUT.velocity][:, 2]) == pytest.approx(CRUISE_MPS, abs=3)
    assert floats[:, LAYOUT.wheel_materials].reshape(-1, 4, 4)[:, :, 0].mean() > 0.9  # asphalt
    own = floats[:, LAYOUT.way_point(0)]
    assert np.linalg.norm(own, axis=1).max() < 9
    assert set(np.unique(floats[:, LAYOUT.gear])) <= {1, 2, 3}


def test_a_race_from_a_saved_state_is_the_rest_of_the_race(race, game, line):
    steps, end, store = race
    saved = UniformStart().draw(store, np.random.default_rng(4))
    rest = rollout(game, FollowTheLine(), line, start=saved)
    first = saved.race_time_ms // 50
    assert first % 20 == 0
    for one, other in zip(rest, steps[first:], strict=True):
        assert one.race_time_ms == other.race_time_ms
        np.testing.assert_array_equal(one.floats, other.floats)
        np.testing.assert_array_equal(one.terms, other.terms)
    assert rest.end.race_time_ms == end.race_time_ms
    assert rest.end.split_times_ms == end.split_times_ms
    assert rest.end.finish_time_ms is None


def test_the_same_policy_drives_the_same_race_again(race, game, line):
    again = rollout(game, FollowTheLine(), line)
    for one, other in zip(again, race[0], strict=True):
        np.testing.assert_array_equal(one.floats, other.floats)


def test_a_car_that_does_not_start_is_given_up(game, line):
    run = rollout(game, Never(), line, cut_offs=CutOffSettings(no_progress_ms=700))
    steps = list(run)
    assert (run.end.how, run.end.cut_off) == ("cut_off", "stuck")
    assert len(steps) == 14
    assert run.end.split_times_ms == ()
