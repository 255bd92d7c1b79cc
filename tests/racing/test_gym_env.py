"""The gymnasium environment: its checks, its reward, vectors of it."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tests.racing.fake_game import FakeGame, line_from, straight_line
from tmrl_ray.config.race import CutOffSettings, RewardSettings
from tmrl_ray.errors import GameRefusedError, InvalidInputError
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.actions import BRAKE, FORWARD, FORWARD_LEFT
from tmrl_ray.racing.gym_env import ENV_ID, TrackManiaEnv
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.reward import weigh, weight_vector
from tmrl_ray.racing.rollout import Decision, rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

SMALL = GameSettings(frame_size=(20, 12))


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make(ENV_ID, map_name="loop", render_mode="rgb_array", game_settings=SMALL)
    yield env
    env.close()


def toy(**settings) -> TrackManiaEnv:
    line = line_from(straight_line(60.0))
    return TrackManiaEnv(game=FakeGame(line), line=line, **settings)


def test_gymnasium_finds_nothing_to_complain_about(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_spaces(env):
    assert env.action_space.n == 12
    assert env.observation_space["frame"].shape == (1, 12, 20)
    assert env.observation_space["floats"].shape == (184,)
    observation, info = env.reset(seed=7)
    assert env.observation_space.contains(observation)
    assert info == {"race_time_ms": 0, "zone": 20, "metres": pytest.approx(0.0, abs=0.5), "checkpoints_passed": 0}


def test_it_is_the_same_race_as_a_rollout(env):
    """Same observations, pictures and rewards as the rollout's, decision by decision."""
    actions = np.random.default_rng(5).choice([FORWARD, FORWARD, FORWARD, FORWARD_LEFT, BRAKE], size=60)

    class Play:
        def __init__(self) -> None:
            self.left = list(actions)

        def act(self, frame, floats):
            return Decision(int(self.left.pop(0)))

    game = EmbeddedGame(SMALL)
    game.load_map("loop")
    race = rollout(game, Play(), line_of_track(load_track("loop")))
    weights = weight_vector(RewardSettings())
    observation, _ = env.reset()
    for action, step in zip(actions, race, strict=False):
        np.testing.assert_array_equal(observation["floats"], step.floats)
        np.testing.assert_array_equal(observation["frame"][0], step.frame)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == float(weigh(step.terms, weights))
        assert not (terminated or truncated)


def test_rendering(env):
    observation, _ = env.reset()
    picture = env.render()
    assert picture.shape == (12, 20, 3)
    np.testing.assert_array_equal(picture[:, :, 1], observation["frame"][0])


def test_colour_pictures_are_rendered_as_rgb():
    colour = GameSettings(frame_size=(20, 12), grey=False)
    env = TrackManiaEnv("loop", game_settings=colour, render_mode="rgb_array")
    observation, _ = env.reset()
    assert observation["frame"].shape == (12, 20, 4)
    np.testing.assert_array_equal(env.render(), observation["frame"][:, :, [2, 1, 0]])
    env.close()


def test_without_pictures():
    env = TrackManiaEnv("loop", game_settings=GameSettings(frame_size=None))
    observation, _ = env.reset()
    assert set(observation) == {"floats"} == set(env.observation_space.spaces)
    env.close()


def test_the_finish_terminates_and_a_cut_off_truncates():
    env = toy()
    env.reset()
    ended = False
    while not ended:
        _, _, ended, truncated, info = env.step(FORWARD)
        assert not truncated
    assert (info["ending"], info["race_time_ms"]) == ("finish", 2450)
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(FORWARD)
    env = toy(cut_offs=CutOffSettings(no_progress_ms=100))
    env.reset()
    assert env.step(BRAKE)[2:4] == (False, False)
    *_, terminated, truncated, info = env.step(BRAKE)
    assert (terminated, truncated, info["ending"]) == (False, True, "stuck")


def test_the_weights_make_the_reward():
    env = toy(reward=RewardSettings(per_ms=1.0, per_metre=1000.0))
    env.reset()
    _, reward, *_, info = env.step(FORWARD)
    terms = info["reward_terms"]
    assert terms["elapsed_ms"] == 50
    assert reward == pytest.approx(50 + 1000 * terms["advanced_m"])


def test_a_race_starts_where_another_was_saved(env):
    env.reset()
    for _ in range(23):
        env.step(FORWARD)
    saved = env.unwrapped.save()
    expected = env.step(FORWARD_LEFT)
    observation, info = env.reset(options={"start": saved})
    assert info["race_time_ms"] == 23 * 50
    again = env.step(FORWARD_LEFT)
    np.testing.assert_array_equal(again[0]["floats"], expected[0]["floats"])
    np.testing.assert_array_equal(again[0]["frame"], expected[0]["frame"])
    assert again[1:] == expected[1:]


def test_a_vector_of_races_in_one_process():
    envs = gymnasium.make_vec(
        ENV_ID,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"copy": True},
        map_name="loop",
        game_settings=SMALL,
    )
    observations, _ = envs.reset(seed=1)
    assert observations["floats"].shape == (3, 184)
    for _ in range(5):
        observations, rewards, *_ = envs.step(np.array([FORWARD, FORWARD, BRAKE]))
    assert rewards[0] == rewards[1] > rewards[2]
    np.testing.assert_array_equal(observations["frame"][0], observations["frame"][1])
    envs.close()


def make_small() -> gymnasium.Env:
    return gymnasium.make(f"tmrl_ray.racing.gym_env:{ENV_ID}", map_name="loop", game_settings=SMALL)


def test_a_vector_of_processes():
    envs = gymnasium.vector.AsyncVectorEnv([make_small, make_small], context="forkserver")
    observations, _ = envs.reset(seed=1)
    for _ in range(3):
        observations, rewards, *_ = envs.step(np.array([FORWARD, FORWARD]))
    assert observations["frame"].shape == (2, 1, 12, 20)
    assert rewards[0] == rewards[1]
    envs.close()


def test_arguments_that_contradict_each_other():
    line = line_from(straight_line(60.0))
    with pytest.raises(InvalidInputError, match="allowed: None and 'rgb_array'"):
        toy(render_mode="human")
    with pytest.raises(InvalidInputError, match="needs a reference line"):
        TrackManiaEnv(game=FakeGame(line))
    with pytest.raises(InvalidInputError, match="has its own settings"):
        toy(game_settings=SMALL)
    with pytest.raises(InvalidInputError, match="draws no picture"):
        TrackManiaEnv("loop", game_settings=GameSettings(frame_size=None), render_mode="rgb_array")
    with pytest.raises(GameRefusedError, match="no-such-track"):
        TrackManiaEnv("no-such-track")


def test_registering_needs_one_import_and_no_simulator():
    code = (
        "import sys, tmrl_ray, gymnasium; assert 'tmrl_ray/TrackMania-v0' not in gymnasium.registry;"
        "import tmrl_ray.racing.gym_env; assert 'tmrl_ray/TrackMania-v0' in gymnasium.registry;"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_action_that_does_not_exist_is_refused(env):
    env.reset(seed=5)
    for action in (-1, 12):
        with pytest.raises(InvalidInputError, match=f"action is {action}; allowed: 0 to 11"):
            env.unwrapped.step(action)
