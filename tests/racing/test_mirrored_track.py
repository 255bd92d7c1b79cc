"""The mirror, proved by the physics: mirrored inputs on a mirrored track give mirrored observations and pictures."""

from dataclasses import replace

import numpy as np
import pytest

from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.actions import ACTION_COUNT, BRAKE, FORWARD, mirror_action
from tmrl_ray.racing.mirror import FloatsMirror, mirror_frames
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.rollout import Decision, rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.track import Gate, Material, Pose, Track

LAYOUT = ObservationLayout()
ACROSS = np.array([-1.0, 1.0, 1.0])


def mirrored_pose(pose: Pose) -> Pose:
    return Pose(pose.position * ACROSS, mirrored_rotation(pose.rotation))


def mirrored_rotation(rotation: np.ndarray) -> np.ndarray:
    """The mirror image of the axes; the one that points right is turned, so that it is the left one again."""
    return ACROSS[:, None] * rotation * ACROSS


def mirrored_gate(gate: Gate) -> Gate:
    rotation, respawn = mirrored_rotation(gate.rotation), mirrored_pose(gate.respawn)
    return replace(gate, centre=gate.centre * ACROSS, rotation=rotation, respawn=respawn)


def mirrored_track(track: Track) -> Track:
    """The track with x -> -x; the corners are listed the other way round, so that fronts stay fronts."""
    return replace(
        track,
        name=f"{track.name}-mirrored",
        vertices=track.vertices * ACROSS,
        triangles=np.ascontiguousarray(track.triangles[:, ::-1]),
        uv=np.ascontiguousarray(track.uv[:, ::-1] * np.array([-1, 1], dtype=np.float32)),
        gates=tuple(mirrored_gate(gate) for gate in track.gates),
        spawn=mirrored_pose(track.spawn),
        line=track.line * ACROSS,
        line_up=track.line_up * ACROSS,
    )


def without_bumps(track: Track) -> Track:
    """The track paved all over: the bumps of grass and dirt lie in the world and are not mirrored with the track."""
    return replace(track, materials=np.full_like(track.materials, Material.CONCRETE))


class Script:
    def __init__(self, actions: list[int]) -> None:
        self.actions = list(actions)

    def act(self, frame, floats):
        return Decision(self.actions.pop(0))


def drive(track: Track, actions: list[int]):
    game = EmbeddedGame(GameSettings(frame_size=(40, 30)), find_track=lambda name: track)
    game.load_map("it")
    race = rollout(game, Script(actions), line_of_track(track))
    return [step for step, _ in zip(race, actions[:-1], strict=False)]


def wild_actions(count: int) -> list[int]:
    """Mostly accelerating, each action held for a while, all of them used: off the road, into slides, backwards."""
    rng = np.random.default_rng(13)
    actions: list[int] = [FORWARD] * 12
    while len(actions) < count:
        weights = np.where(np.arange(ACTION_COUNT) < 3, 4.0, 1.0)
        actions += [int(rng.choice(ACTION_COUNT, p=weights / weights.sum()))] * int(rng.integers(1, 9))
    return actions[:count]


@pytest.fixture(scope="module")
def races():
    track, actions = without_bumps(load_track("loop")), wild_actions(140)
    straight = drive(track, actions)
    other = drive(mirrored_track(track), [mirror_action(action) for action in actions])
    return straight, other


def test_the_race_has_everything_that_could_be_mirrored_wrongly(races):
    floats = np.array([step.floats for step in races[0]])
    assert len(floats) > 60
    for part in (LAYOUT.velocity, LAYOUT.angular_velocity, LAYOUT.way_points):
        assert (np.abs(floats[:, part]).max(axis=0) > 0.05).all()
    assert {step.decision.action for step in races[0]} >= {FORWARD, 1, 2, BRAKE}
    absorb = floats[:, LAYOUT.wheel_absorb]
    assert np.abs(absorb[:, 0] - absorb[:, 1]).max() > 1e-3


def test_observations_are_mirrored(races):
    mirror = FloatsMirror(LAYOUT)
    one = np.array([mirror(step.floats) for step in races[0]])
    other = np.array([step.floats for step in races[1]])
    assert one.shape == other.shape
    np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-5)


def test_rewards_and_progress_are_the_same(races):
    for one, other in zip(*races, strict=True):
        assert (one.race_time_ms, one.zone) == (other.race_time_ms, other.zone)
        assert one.metres == pytest.approx(other.metres, abs=1e-6)
        np.testing.assert_allclose(other.terms, one.terms, rtol=1e-5, atol=1e-5)


def test_pictures_are_mirrored_but_for_the_grain_of_the_ground(races):
    """On the road, heading off it. The grain lies in the world; an edge may take the pixel on either side."""
    steps = slice(42, 66)
    one = np.array([mirror_frames(step.frame) for step in races[0][steps]], dtype=int)
    other = np.array([step.frame for step in races[1][steps]], dtype=int)
    unmirrored = np.array([step.frame for step in races[0][steps]], dtype=int)
    assert np.abs(one - other).mean() < 4
    assert np.abs(unmirrored - other).mean() > 10
