"""The reader against files of the real game, where they are present: two maps, and two ghosts of the first one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tmrl_ray.game.gbx import MedalTimes, checkpoints_on_line, inspect, line_from_ghost, read_challenge, read_replay

DATA = Path(os.environ.get("TMRL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")).resolve()
B13 = DATA / "gbx" / "B13-Obstacle.Challenge.Gbx"
HOCK = DATA / "gbx" / "ESL-Hockolicious.Challenge.Gbx"
HOCK_LINE = DATA / "lines" / "ESL-Hockolicious_0.5m_cl2.npy"
GHOSTS = {
    "Drarker_B13-Obstacle.95.Replay.gbx": (24950, "protraintrack", (8030, 14680, 20960, 24950)),
    "Rollin_B13-Obstacle.94.Replay.Gbx": (24940, "jack1998-1998", (8020, 14730, 20950, 24940)),
}

pytestmark = pytest.mark.skipif(not B13.exists(), reason=f"no files of the game in {DATA}")


@pytest.fixture(scope="module", params=GHOSTS)
def ghost_path(request: pytest.FixtureRequest) -> Path:
    return DATA / "gbx" / str(request.param)


def test_the_map_of_the_campaign() -> None:
    challenge = read_challenge(B13)
    assert (challenge.name, challenge.author, challenge.laps) == ("B13-Obstacle", "Nadeo", 1)
    assert challenge.medal_times == MedalTimes(author=25650, gold=27170, silver=31150, bronze=38550)
    assert challenge.spawn.position == pytest.approx((363.2, 10.21, 624.0))
    assert challenge.spawn.rotation[:, 2] == pytest.approx((1, 0, 0))
    assert len(challenge.blocks) == 216
    assert len({block.name for block in challenge.blocks}) == 23


@pytest.mark.parametrize("path", [B13, HOCK], ids=lambda path: path.name)
def test_the_checkpoint_blocks_are_those_of_the_map_s_own_list(path: Path) -> None:
    challenge = read_challenge(path)
    assert sorted(block.cell for block in challenge.checkpoints) == sorted(challenge.checkpoint_cells)


def test_the_ghost(ghost_path: Path) -> None:
    race_time_ms, login, checkpoint_times_ms = GHOSTS[ghost_path.name]
    replay = read_replay(ghost_path)
    ghost = replay.ghost
    assert (replay.time_ms, ghost.race_time_ms, ghost.login) == (race_time_ms, race_time_ms, login)
    assert ghost.checkpoint_times_ms == checkpoint_times_ms
    assert (ghost.vehicle, ghost.respawns, len(replay.ghosts)) == ("StadiumCar", 0, 1)
    assert replay.challenge.spawn.position == pytest.approx(ghost.samples.positions[0])


def test_the_trace_agrees_with_itself(ghost_path: Path) -> None:
    """Velocity is the change of position, and points along the car; both are rounded in the file."""
    trace = read_replay(ghost_path).ghost.samples
    assert trace.period_ms == 100
    change = np.gradient(trace.positions, trace.times_s, axis=0)
    miss = np.linalg.norm(change - trace.velocities, axis=1)[1:-1]
    assert np.median(miss) < 2.0
    along = np.einsum("ni,ni->n", trace.rotations[:, :, 2], trace.velocities)
    assert np.median(np.abs(along - trace.forward_speeds_mps)) < 0.2
    assert np.linalg.det(trace.rotations) == pytest.approx(1.0)


def test_the_inputs_agree_with_the_steering_in_the_trace(ghost_path: Path) -> None:
    """The sample at time t shows what the tick before the last one was driven with: see ``Samples.ticks``."""
    ghost = read_replay(ghost_path).ghost
    trace = ghost.samples
    inside = (trace.ticks > 0) & (trace.ticks <= len(ghost.inputs))
    steer = np.array([(ghost.inputs[tick - 1].steer or 0) / 65536 for tick in trace.ticks[inside]])
    assert np.abs(steer - trace.steer[inside]).max() < 0.01
    assert np.abs(steer).max() > 0.5


def test_the_ghosts_hold_the_gas_from_the_first_tick(ghost_path: Path) -> None:
    inputs = read_replay(ghost_path).ghost.inputs
    assert inputs[0].accelerate
    assert len(inputs) == GHOSTS[ghost_path.name][0] // 10
    assert np.mean([one.accelerate for one in inputs]) > 0.95


def test_the_way_of_a_ghost_passes_the_gates_at_its_checkpoint_times(ghost_path: Path) -> None:
    replay = read_replay(ghost_path)
    gates = [*replay.challenge.checkpoints, *replay.challenge.finishes]
    line = line_from_ghost(replay.ghost)
    passes = checkpoints_on_line(line, np.array([gate.centre for gate in gates]))
    assert len({one.gate for one in passes}) == len(passes) == len(gates)
    assert gates[passes[-1].gate].is_finish
    trace = replay.ghost.samples
    for one, time_ms in zip(passes[:-1], replay.ghost.checkpoint_times_ms[:-1], strict=True):
        car = [np.interp(time_ms / 1000, trace.times_s, trace.positions[:, axis]) for axis in range(3)]
        assert np.linalg.norm(line[one.index] - car) < 10.0


def test_the_line_of_hockolicious_passes_every_gate_of_its_map_once() -> None:
    challenge = read_challenge(HOCK)
    assert challenge.medal_times.author == 55100
    gates = [*challenge.checkpoints, *challenge.finishes]
    passes = checkpoints_on_line(np.load(HOCK_LINE), np.array([gate.centre for gate in gates]))
    assert sorted(one.gate for one in passes) == list(range(14))
    assert passes[-1].gate == 13
    assert max(one.distance_m for one in passes) < 8.0


def test_the_report_is_for_people_too(ghost_path: Path) -> None:
    report = inspect(ghost_path)
    assert report["map"]["name"] == "B13-Obstacle"
    assert inspect(HOCK)["plain_name"] == "ESL-Hockolicious"
