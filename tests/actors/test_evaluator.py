"""Greedy races with fixed weights: what they say, and what is kept of them."""

from __future__ import annotations

import json
import math
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from actors.evaluator import EVALUATOR, Evaluator
from actors.race_archive import RaceArchive, RaceRecording, film_race, read_trajectory
from actors.weight_store import Weights
from tests.actors.fakes import LINE, RACE_STEPS, FakeKeeper, OneActionPolicy, course, driving
from tests.racing.fake_game import FakeGame
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.errors import ConfigError, DataError, GameRefusedError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.scripts import parse_script
from tmrl_ray.iqn.policy import GREEDY
from tmrl_ray.racing.actions import ACTIONS, COAST, FORWARD
from tmrl_ray.racing.rollout import rollout
from tmrl_ray.runs.disk import Disk
from tmrl_ray.simulator.film import FilmSettings
from tmrl_ray.simulator.library import load_track

SETTINGS = EvaluationSettings(races=5, keep=2)


def weights(version: int = 3) -> Weights:
    return Weights.of(version, save({"a": torch.full((2,), float(version))}))


class SometimesPolicy(OneActionPolicy):
    """Finishes when its turn says so; later ones after coasting for a while at the start."""

    turns: cycle[int | None]

    def reset(self) -> None:
        super().reset()
        self.coasts = next(type(self).turns)

    def act(self, frame, floats):
        if self.coasts is None:
            self.action = COAST
        else:
            self.action = COAST if self.coasts > 0 else FORWARD
            self.coasts -= 1
        return super().act(frame, floats)


def evaluator_in(folder: Path | None, turns: list[int | None], keeper: FakeKeeper | None = None, **settings):
    class Policy(SometimesPolicy):
        pass

    Policy.turns = cycle(turns)
    archive = None if folder is None else RaceArchive(folder, keep=2)
    game = keeper or FakeKeeper()
    return Evaluator(SETTINGS.replace(**settings), driving(make_policy=Policy), game, archive, run_seed=1)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_says_how_often_and_how_fast_the_finish_is_reached(tmp_path: Path):
    evaluation = evaluator_in(tmp_path, [0, None, 2, 4, None]).evaluate(weights())
    (result,) = evaluation.results
    assert (evaluation.version, result.map, result.races, result.finished) == (3, "straight", 5, 3)
    assert result.finish_rate == 0.6
    assert (result.best_time_s, result.mean_time_s) == pytest.approx((2.45, (2.45 + 2.55 + 2.65) / 3))
    assert result.mean_time_interval_s.low < result.mean_time_s < result.mean_time_interval_s.high
    assert evaluation.alarm is None
    for report in evaluation.reports:
        assert (report.collector, report.exploration, report.stored, report.from_start_line) == (
            EVALUATOR,
            False,
            False,
            True,
        )
        assert (report.first_version, report.last_version, report.epsilon) == (3, 3, 0.0)


def test_races_are_greedy_and_each_map_is_driven_once(tmp_path: Path):
    policies: list[OneActionPolicy] = []

    def make_policy(seed: int) -> OneActionPolicy:
        policies.append(OneActionPolicy(seed))
        return policies[-1]

    courses = (course("explore", repeat=64), course("measure", exploration=False))
    evaluator = Evaluator(SETTINGS, driving(*courses, make_policy=make_policy), FakeKeeper(), None, run_seed=1)
    evaluation = evaluator.evaluate(weights())
    assert [result.map for result in evaluation.results] == ["explore"]
    assert (policies[0].resets, policies[0].version) == (5, 3)
    assert set(policies[0].explored) == {GREEDY}
    evaluator.evaluate(weights())
    evaluator.evaluate(weights(4))
    assert policies[0].seed == policies[1].seed != policies[2].seed
    with pytest.raises(ConfigError, match="no map"):
        Evaluator(SETTINGS, driving().__class__(**{**vars(driving()), "courses": ()}), FakeKeeper(), None, run_seed=1)


def test_turns_can_be_taken_in_between():
    turns = evaluator_in(None, [0]).run(weights())
    assert sum(1 for _ in turns) == 5 * RACE_STEPS


def test_the_best_races_are_kept_and_can_be_driven_again(tmp_path: Path):
    evaluator_in(tmp_path, [4, 2, None, 2, 0]).evaluate(weights())
    assert files_in(tmp_path) == [
        "evaluation-000003.json",
        "evaluation-000003.safetensors",
        "straight-2.45.npz",
        "straight-2.45.txt",
        "straight-2.55.npz",
        "straight-2.55.txt",
    ]
    archive = RaceArchive(tmp_path, keep=2)
    assert archive.best_times_ms("straight") == [2450, 2550]
    assert archive.inputs_of_best("straight") == tmp_path / "straight-2.45.txt"
    script = parse_script((tmp_path / "straight-2.55.txt").read_text())
    assert script.at(90) == ACTIONS[COAST]
    assert script.at(100) == ACTIONS[FORWARD]
    columns = read_trajectory(tmp_path / "straight-2.55.npz")
    assert columns["action"].tolist() == [COAST] * 2 + [FORWARD] * RACE_STEPS
    assert columns["race_time_ms"][-1] == 2550
    assert columns["race_time_ms"][:3].tolist() == [50, 100, 150]
    assert columns["position"].shape == (RACE_STEPS + 2, 3)
    along = columns["position"] - LINE.first_point
    assert math.hypot(*along[-1]) == pytest.approx(60.0, abs=0.6)
    assert int(columns["policy_version"]) == 3


def test_only_better_races_replace_kept_ones(tmp_path: Path):
    evaluator_in(tmp_path, [0, 2]).evaluate(weights())
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("straight*")}
    evaluator_in(tmp_path, [4, 0, 2]).evaluate(weights(4))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("straight*")} == before


def test_the_weights_of_the_best_evaluations_are_kept(tmp_path: Path):
    for version, turns in enumerate([[None], [0], [0, None], [2]], start=1):
        evaluator_in(tmp_path, turns).evaluate(weights(version))
    archive = RaceArchive(tmp_path, keep=2)
    assert [score.version for score in archive.scores()] == [2, 4]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "evaluation-000002.safetensors",
        "evaluation-000004.safetensors",
    ]
    assert load_file(tmp_path / "evaluation-000004.safetensors")["a"].tolist() == [4.0, 4.0]
    described = json.loads((tmp_path / "evaluation-000004.json").read_text())
    assert described["maps"]["straight"]["best_time_s"] == 2.55
    assert described["score"]["finished"] == 5


def test_an_alarm_outlives_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    evaluator_in(tmp_path, [0], races=10).evaluate(weights(1))
    evaluation = evaluator_in(tmp_path, [None], races=10).evaluate(weights(2))
    assert evaluation.alarm == "version 2 finished 0 of 10 races, version 1 had finished 10 of 10"
    assert "finish rate collapsed" in caplog.text
    assert evaluator_in(tmp_path, [None], races=10, alarm=False).evaluate(weights(3)).alarm is None


def test_a_lost_game_says_nothing_about_the_weights(tmp_path: Path):
    keeper = FakeKeeper(lost_at_ms=iter([None, 500, 0, None, None, None, None]))
    evaluation = evaluator_in(tmp_path, [0], keeper).evaluate(weights())
    assert (evaluation.results[0].races, evaluation.results[0].finished) == (5, 5)
    assert keeper.losses == 2


def test_a_game_that_cannot_be_played_ends_the_evaluation():
    keeper = FakeKeeper(most=3, lost_at_ms=cycle([0]))
    keeper.refusal = GameRefusedError("the game was lost 3 times")
    with pytest.raises(GameRefusedError, match="3 times"):
        evaluator_in(None, [0], keeper).evaluate(weights())


def test_damaged_weights_are_not_measured():
    with pytest.raises(DataError, match="damaged"):
        evaluator_in(None, [0]).evaluate(Weights(3, b"abc", 5))


def test_a_full_disk_costs_the_files_only(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    class FullDisk(Disk):
        def write(self, path: Path, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    evaluator = evaluator_in(tmp_path, [0])
    evaluator._archive._disk = FullDisk()
    assert evaluator.evaluate(weights()).results[0].finished == 5
    assert "No space left" in caplog.text
    assert files_in(tmp_path) == []


def test_what_is_no_trajectory_is_told(tmp_path: Path):
    path = tmp_path / "other.npz"
    np.savez(path, format=np.array(99))
    with pytest.raises(DataError, match="format 99, not 1"):
        read_trajectory(path)
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="no trajectory"):
        read_trajectory(path)


def test_names_of_maps_become_names_of_files(tmp_path: Path):
    archive = RaceArchive(tmp_path, keep=1)
    recording = RaceRecording(50)
    driven = rollout(FakeGame(LINE), OneActionPolicy(), LINE)
    for step in driven:
        recording.add(step, driven.moment)
    path = archive.offer_race("A01/Race 3.5", 2450, recording, 1)
    assert path == tmp_path / "A01_Race_3.5-2.45.txt"
    assert archive.best_times_ms("A01/Race 3.5") == [2450]
    assert archive.offer_race("A01/Race 3.5", 2460, recording, 1) is None


def test_a_kept_race_becomes_a_video(tmp_path: Path):
    script = tmp_path / "drive.txt"
    script.write_text("0.00-2.00 press up\n")
    settings = FilmSettings(size=(64, 48), period_ms=2000)
    time_ms = film_race(script, load_track("oval"), tmp_path / "drive.mp4", settings=settings)
    assert time_ms == 62_000  # it stops on the way
    assert (tmp_path / "drive.mp4").stat().st_size > 1000
    assert (tmp_path / "drive.png").stat().st_size > 1000
    assert parse_script(script.read_text()).at(0) == Inputs(accelerate=True)
