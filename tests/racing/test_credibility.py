"""Whether the simulated game rewards what the real one rewards: brakes, lines, jumps; and on a real map's line."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from tests.racing.driven import Race, drive
from tmrl_ray.racing.car_limits import TOP_MPS, CarLimits, measure_limits
from tmrl_ray.racing.drivers import PursuitDriver
from tmrl_ray.racing.driving_line import DrivingLine, centre_line
from tmrl_ray.racing.racing_line import EDGE_M, optimise_line
from tmrl_ray.racing.speed_profile import speed_profile
from tmrl_ray.simulator.library import build, load_track
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.track_file import TrackSpec
from tmrl_ray.simulator.tuning import CarTuning

DATA = Path(os.environ.get("TMRL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")).resolve()
HOCK_LINE = DATA / "lines" / "ESL-Hockolicious_0.5m_cl2.npy"
SILVER_S, BRONZE_S = 67.0, 83.0
"""Medal times of ESL-Hockolicious."""


@pytest.fixture(scope="module")
def limits() -> CarLimits:
    return measure_limits(CarTuning())


@pytest.fixture(scope="module")
def hock() -> Track:
    if not HOCK_LINE.exists():
        pytest.skip(f"no line of the real map in {DATA}")
    checkpoints = [{"at": metres} for metres in range(300, 4000, 300)]
    line = {"file": HOCK_LINE.name, "width": 16, "checkpoints": checkpoints}
    return build(TrackSpec.model_validate({"name": "hock", "line": line}), HOCK_LINE.parent)


def by_plan(
    track: Track, line: DrivingLine, limits: CarLimits, *, margin: float = 0.85, use_brakes: bool = True
) -> Race:
    profile = speed_profile(line, limits, margin=margin, **({} if use_brakes else {"brake_share": 0.0}))
    return drive(track, PursuitDriver(line, profile, limits, use_brakes=use_brakes), until_s=100.0)


def best_time_s(track: Track, line: DrivingLine, limits: CarLimits, *, use_brakes: bool) -> float:
    races = [by_plan(track, line, limits, margin=share, use_brakes=use_brakes) for share in (0.8, 0.85, 0.9, 0.95, 1.0)]
    return min(race.time_s for race in races if race.finished)


def test_a_real_line_is_driven_between_silver_and_bronze(hock: Track, limits: CarLimits) -> None:
    line = centre_line(hock)
    race = by_plan(hock, line, limits)
    assert race.finished
    assert SILVER_S < race.time_s < BRONZE_S + 1
    assert any(keys.brake for keys in race.keys)
    assert race.beyond_edge(line) < 0


def test_flat_out_leaves_the_road(hock: Track, limits: CarLimits) -> None:
    line = centre_line(hock)
    profile = speed_profile(line, limits)
    flat_out = dataclasses.replace(profile, limit=np.full_like(profile.limit, TOP_MPS))
    race = drive(hock, PursuitDriver(line, flat_out, limits), until_s=60.0)
    assert race.speeds.max() > 60.0
    assert not race.finished
    assert race.beyond_edge(line) > 5.0


def test_who_may_not_brake_is_slower(limits: CarLimits) -> None:
    """On long straights between tight hairpins; releasing the gas alone slows this car down by 13 m/s2 at 40 m/s."""
    bends = [{"curve": side, "radius": 11, "angle": 180} for side in ("left", "right")] * 2
    parts = [part for bend in bends for part in ({"straight": 350}, bend)]
    spec = {"name": "brakes", "road": {"width": 14}, "segments": [*parts, {"straight": 60}, "finish"]}
    track = build(TrackSpec.model_validate(spec), Path())
    line = centre_line(track)
    with_brakes = best_time_s(track, line, limits, use_brakes=True)
    without = best_time_s(track, line, limits, use_brakes=False)
    assert without > 1.05 * with_brakes


@pytest.mark.parametrize("name", ["loop", "s_curves", "hairpin"])
def test_a_better_line_is_faster(name: str, limits: CarLimits) -> None:
    track = load_track(name)
    middle = centre_line(track)
    better = optimise_line(middle, limits, bumps=0)
    assert (np.abs(better.offsets) <= middle.half_width - EDGE_M + 1e-9).all()
    race = by_plan(track, better.line, limits)
    assert race.finished
    assert race.beyond_edge(middle) < 0
    assert race.time_s < 0.98 * by_plan(track, middle, limits).time_s


def test_bumps_only_ever_help_the_plan(limits: CarLimits) -> None:
    middle = centre_line(load_track("loop"))
    plain, tuned = optimise_line(middle, limits, bumps=0), optimise_line(middle, limits, bumps=40, seed=3)
    assert tuned.profile.lap_s <= plain.profile.lap_s < speed_profile(middle, limits).lap_s
    again = optimise_line(middle, limits, bumps=40, seed=3)
    assert (again.offsets == tuned.offsets).all()


def test_the_shortcut_pays_when_it_is_landed(limits: CarLimits) -> None:
    track = load_track("shortcut")
    by_road = by_plan(track, centre_line(track), limits)
    by_air = by_plan(track, centre_line(track, "leap"), limits)
    assert by_road.finished
    assert by_air.finished
    assert by_air.time_s < by_road.time_s - 1.0


def test_the_shortcut_costs_when_it_is_missed(limits: CarLimits) -> None:
    track = load_track("shortcut")
    line = centre_line(track, "leap")
    profile = speed_profile(line, limits)
    timid = dataclasses.replace(profile, limit=np.minimum(profile.limit, 18.0))
    race = drive(track, PursuitDriver(line, timid, limits), until_s=40.0)
    assert not race.finished
    assert race.positions[:, 1].min() < line.points[:, 1].min() - 0.5


def test_the_jump_is_faster_than_the_way_round_it(limits: CarLimits) -> None:
    track = load_track("jump_detour")
    jump, detour = by_plan(track, centre_line(track), limits), by_plan(track, centre_line(track, "detour"), limits)
    assert jump.finished
    assert detour.finished
    assert jump.time_s < detour.time_s - 1.0
