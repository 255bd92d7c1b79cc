"""Recorded inputs of real races, replayed from the start of B13 on a road of that line's profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tmrl_ray.game.gbx import read_replay
from tmrl_ray.game.gbx.ghost import Ghost
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.manoeuvres import drive_inputs, speeds_kmh
from tmrl_ray.simulator.proving_ground import B13_START, SPAWN_HEIGHT_M, car_at, road
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.tuning import CarTuning

GHOSTS = ("Rollin_B13-Obstacle.94.Replay.Gbx", "Drarker_B13-Obstacle.95.Replay.gbx")
ROAD_AT_THE_START_M = 9.982
"""Height of B13's road under the spawn: what a ghost's standing car (0.0275 m above its road) says."""
MAX_ERROR_M = {1.0: 0.3, 2.0: 1.0, 3.0: 3.0}
"""Allowed error of the position by race time in s; after 4 s the line leaves this road for a loop."""


@pytest.fixture(scope="module", params=GHOSTS)
def ghost(request: pytest.FixtureRequest, real_data: Path) -> Ghost:
    path = real_data / "gbx" / request.param
    if not path.is_file():
        pytest.skip(f"no such replay: {path}")
    return read_replay(path).ghost


def recorded_inputs(ghost: Ghost, ticks: int) -> Floats:
    """Return gas, brake and steer (T, 3) of the ghost's first ticks."""
    rows = []
    for held in ghost.inputs[:ticks]:
        steer = held.steer / 65536 if held.steer is not None else float(held.right) - float(held.left)
        rows.append((float(held.accelerate), float(held.brake), steer))
    return np.array(rows)


def on_our_road(ghost: Ghost) -> Floats:
    """Return the ghost's positions (N, 3) with our axes: the car starts at the origin and faces +z."""
    spawn = np.array([ghost.samples.positions[0, 0], ROAD_AT_THE_START_M, ghost.samples.positions[0, 2]])
    offset = ghost.samples.positions - spawn  # the real start faces +x, so that left is -z
    return np.stack([-offset[:, 2], offset[:, 1], offset[:, 0]], axis=1)


def test_positions_stay_near_the_recorded_ones(ghost: Ghost, record_property: pytest.RecordProperty) -> None:
    trace = drive_inputs(car_at(SPAWN_HEIGHT_M), recorded_inputs(ghost, 310), road(B13_START), CarTuning().arrays)
    real, ticks = on_our_road(ghost), ghost.samples.ticks
    errors = {}
    for time_s in MAX_ERROR_M:
        sample = int(np.argmin(np.abs(ghost.samples.times_s - time_s)))
        ours = trace[ticks[sample] - 1, cs.POSITION : cs.POSITION + 3]
        errors[time_s] = float(np.sqrt(((ours - real[sample]) ** 2).sum()))
        record_property(f"position_error_after_{time_s:.0f}_s_m", round(errors[time_s], 3))
    assert all(errors[time_s] < MAX_ERROR_M[time_s] for time_s in errors), errors


def test_speed_and_turning_stay_near_the_recorded_ones(ghost: Ghost) -> None:
    trace = drive_inputs(car_at(SPAWN_HEIGHT_M), recorded_inputs(ghost, 360), road(B13_START), CarTuning().arrays)
    samples = ghost.samples
    chosen = (samples.times_s >= 0.25) & (samples.times_s <= 3.55)
    ours = trace[samples.ticks[chosen] - 1]
    real_kmh = np.sqrt((samples.velocities[chosen] ** 2).sum(axis=1)) * 3.6
    assert np.sqrt(((speeds_kmh(ours) - real_kmh) ** 2).mean()) < 3.0
    real_yaw = np.einsum("nij,ni->nj", samples.rotations, samples.angular_velocities)[chosen, 1]
    assert np.abs(ours[:, cs.TURNING_RATE] - real_yaw).max() < 0.03
