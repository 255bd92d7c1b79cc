"""Datasets as stages open them: what each needs of the races, what it can do without, and where it is kept decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain.assembly import Agent, build_loop, interval_of, open_data
from tests.datasets.conftest import record
from tests.pretrain.drawn_races import drawn_race
from tests.pretrain.stages import cloning
from tests.pretrain.written_dataset import recorded, write_dataset
from tmrl_ray.config.dataset import CacheSettings
from tmrl_ray.config.pretrain import BCConfig, BCRunSettings, VisualConfig, VisualRunSettings
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.datasets.cache_build import arrays_of
from tmrl_ray.datasets.folder import find_races, read_race, write_race
from tmrl_ray.errors import DatasetError, InvalidInputError
from tmrl_ray.racing.actions import ACTION_KEYS

SIZE = (40, 36)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A race of three seconds with states, seen by 5 previous actions, with a picture for each tick."""
    root = tmp_path_factory.mktemp("filmed")
    record(root, "loop", races=1, overrides=("cut_offs.race_ms=3000", "cut_offs.no_progress_ms=3000"), fps=100.0)
    return root


def agent(folder: Path, *, observation: str = "{}", period_ms: int = 50) -> Agent:
    path = folder / "agent.yaml"
    game = f"{{frame_size: {list(SIZE)}, decision_period_ms: {period_ms}}}"
    path.write_text(f"game: {game}\nobservation: {observation}\n")
    return Agent.load(path)


def visual(data: Path, folder: Path, **changes: Any) -> VisualConfig:
    return VisualConfig(data_dir=data, finished_only=False, run=VisualRunSettings(folder=folder), **changes)


def clone(data: Path, folder: Path, **changes: Any) -> BCConfig:
    return BCConfig(data_dir=data, finished_only=False, run=BCRunSettings(folder=folder), **changes)


def test_an_agent_may_see_more_previous_actions_than_were_recorded(filmed: Path, tmp_path: Path) -> None:
    held = np.random.default_rng(0).integers(12, size=300, dtype=np.uint8)
    race = replace(read_race(find_races(filmed)[0]), timeline=held)
    write_race(tmp_path / "races", race)
    seeing = agent(tmp_path, observation="{previous_actions: 25}", period_ms=10)
    cache = open_data(clone(tmp_path / "races", tmp_path, use_floats=True), seeing)
    as_recorded = arrays_of(race, CacheSettings(frame_size=SIZE, decision_period_ms=10)).floats
    assert cache.floats.shape == (301, 184 + 20 * 4)
    assert as_recorded is not None
    np.testing.assert_array_equal(cache.floats[:, 1 + 25 * 4 :], as_recorded[:, 1 + 5 * 4 :])
    for row in (25, 131, 300):
        np.testing.assert_array_equal(cache.floats[row, 1 : 1 + 25 * 4], ACTION_KEYS[held[row - 25 : row]].ravel())


@pytest.mark.parametrize("observation", ["{way_points: 20}", "{finish_margin_m: 300.0}"])
def test_floats_that_were_not_recorded_are_missed_by_those_who_see_them_only(
    filmed: Path, tmp_path: Path, observation: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = agent(tmp_path, observation=observation)
    for config in (visual(filmed, tmp_path), clone(filmed, tmp_path)):
        caplog.clear()
        cache = open_data(config, other)
        assert np.isnan(cache.floats).all()
        first, second = caplog.messages
        assert "1 of 1 races are kept without floats: race loop/human-0-0000 was recorded for another" in first
        assert second == "no race gives floats: the probes of speed, lateral_offset, heading_error, curvature_ahead " \
            "are left out"  # fmt: skip
    with pytest.raises(DatasetError, match="for another observation") as error:  # though it is decoded by now
        open_data(clone(filmed, tmp_path, use_floats=True), other)
    assert "use_floats: false" in (error.value.hint or "")


def test_races_without_states_are_of_use_for_their_pictures(
    filmed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    races = tmp_path / "races"
    write_race(races, read_race(find_races(filmed)[0]))
    write_dataset(races, maps=1)
    cache = open_data(visual(races, tmp_path), agent(tmp_path))
    known = np.isfinite(cache.floats).all(axis=1)
    assert [known[race.first_row : race.end_row].mean() for race in cache.races] == [1.0, 0.0]
    assert [message.partition(":")[0] for message in caplog.messages] == ["1 of 2 races are kept without floats"]
    with pytest.raises(DatasetError, match="map0/race0 says nothing of the car's state"):
        open_data(clone(races, tmp_path, use_floats=True), agent(tmp_path))


def test_pictures_without_labels_teach_tasks_that_see_no_actions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    races = tmp_path / "races"
    for number in range(3):
        write_race(races, replace(recorded(f"map{number}", "race", 21), timeline=None))
    seeing = agent(tmp_path)
    for task in ("ae", "vae", "simclr", "atc"):
        config = visual(races, tmp_path, task=task, epochs=1, batch_size=16)
        loop = build_loop(config, seeing, open_data(config, seeing), device=torch.device("cpu"))
        (report,) = loop.run()
        assert np.isfinite(report.score)
    assert any("3 of 3 races are kept without actions" in message for message in caplog.messages)
    for needing in (visual(races, tmp_path, task="idm"), visual(races, tmp_path, task="spr"), clone(races, tmp_path)):
        with pytest.raises(DatasetError, match="does not say what was held"):
            open_data(needing, seeing)


def test_races_that_were_not_finished_are_learned_from_when_asked_for(filmed: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none of 1 races reached the finish") as error:
        open_data(visual(filmed, tmp_path).replace(finished_only=True), agent(tmp_path))
    assert error.value.hint == "To use such races: finished_only=false"
    assert len(open_data(visual(filmed, tmp_path), agent(tmp_path))) == 301


def test_each_dataset_and_recipe_is_decoded_once(filmed: Path, tmp_path: Path) -> None:
    def built(data: Path, seeing: Agent) -> bool:
        told: list[int] = []
        config = clone(data, tmp_path, preprocess_cache_dir=tmp_path / "caches")
        open_data(config, seeing, told=lambda *progress: told.append(progress[0]))
        return bool(told)

    one, other = agent(tmp_path), agent(tmp_path, observation="{previous_actions: 25}")
    same_name = write_dataset(tmp_path / "elsewhere" / filmed.name, maps=1)
    turns = [(filmed, one), (filmed, other), (same_name, one)]
    assert [built(*turn) for turn in 2 * turns] == [True] * 3 + [False] * 3


def test_the_frame_rate_is_that_of_the_chosen_races() -> None:
    fast = drawn_race("fast", "race")
    cache = RaceCache.of([replace(fast, times_ms=fast.times_ms // 5), *(drawn_race(name, "race") for name in "ab")])
    assert [race.interval_ms for race in cache.races] == [10, 50, 50]
    assert interval_of(cache, cloning(track_ids=("a",))) == 50
    assert interval_of(cache, cloning(track_ids=("a",), val_track_ids=("b",))) == 50
    for maps in ({}, {"track_ids": ("a",), "val_track_ids": ("fast",)}):
        with pytest.raises(InvalidInputError, match="pictures every 10 ms, 50 ms"):
            interval_of(cache, cloning(**maps))
