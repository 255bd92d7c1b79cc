"""Races as folders: ours, and those of other tools as they are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets import wild
from tmrl_ray.config.dataset import CacheSettings
from tmrl_ray.datasets.cache_build import arrays_of
from tmrl_ray.datasets.folder import RaceWriter, find_races, read_race, write_race
from tmrl_ray.datasets.states import floats_at
from tmrl_ray.errors import DatasetError
from tmrl_ray.racing.actions import ACTION_KEYS, FORWARD
from tmrl_ray.racing.observation_layout import ObservationLayout

LAYOUT = ObservationLayout()


def test_a_race_of_another_tool_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    race = read_race(wild.write(tmp_path / "4711" / "one", wild.manifest(), metadata=wild.METADATA))
    assert (race.facts.map, race.facts.name, race.facts.schema_version) == ("4711", "one", 0)
    assert (race.interval_ms, race.facts.size, race.facts.finished) == (100, wild.SIZE, True)
    assert race.actions.tolist() == [wild.held(tick) for tick in range(wild.TICKS)]
    assert race.times_ms.tolist() == list(range(0, 1300, 100))
    assert [round(int(race.frame(step).mean()) / 10) for step in range(13)] == list(range(13))
    assert race.facts.more["challenge_name"] == "A-Track"


def test_floats_of_another_tool_are_in_the_cars_frame_with_actions_at_the_agents_period(tmp_path: Path) -> None:
    race = read_race(wild.write(tmp_path / "4711" / "one", wild.manifest(), metadata=wild.METADATA))
    assert race.states is not None
    floats = floats_at(race.states, race.actions, race.times_ms, LAYOUT, period_ms=50)
    assert floats.shape == (13, 184)
    np.testing.assert_allclose(floats[:, LAYOUT.velocity], [[0, 0, 20]] * 13, atol=1e-5)
    np.testing.assert_allclose(floats[:, LAYOUT.angular_velocity], [[0, 0.4, 0]] * 13, atol=1e-6)
    np.testing.assert_allclose(floats[:, LAYOUT.up], [[0, 1, 0]] * 13, atol=1e-6)
    assert floats[5, LAYOUT.way_points].tolist() == list(range(120))
    for step in (0, 1, 2, 7):
        ticks = [10 * step - 5 * age for age in (5, 4, 3, 2, 1)]
        expected = [ACTION_KEYS[wild.held(tick) if tick >= 0 else FORWARD] for tick in ticks]
        assert floats[step, LAYOUT.previous_actions].reshape(5, 4).tolist() == np.array(expected).tolist()


OLD = [
    pytest.param(lambda m: m["entries"], id="a plain list of entries"),
    pytest.param(lambda m: {"entries": m["entries"]}, id="no timeline and no states"),
    pytest.param(
        lambda m: {"entries": [each | {"state": wild.state(each["time_ms"])} for each in m["entries"]]},
        id="states in the entries",
    ),
    pytest.param(lambda m: None, id="no manifest"),
]


@pytest.mark.parametrize("change", OLD)
def test_old_variants_are_read(tmp_path: Path, change: Any) -> None:
    manifest = change(wild.manifest())
    race = read_race(wild.write(tmp_path / "4711" / "one", manifest, metadata=wild.METADATA))
    assert race.times_ms.tolist() == list(range(0, 1300, 100))
    assert (race.states is not None) == ("state" in json.dumps(manifest))
    if manifest is None:
        with pytest.raises(DatasetError, match="does not say what was held"):
            race.actions  # noqa: B018 - reading it raises
        return
    nearest = [wild.held(10 * min(12, max(0, -(-(tick - 5) // 10)))) for tick in range(130)]
    assert race.actions.tolist() == nearest


def test_what_is_read_is_written_in_our_form_and_read_again(tmp_path: Path) -> None:
    race = read_race(wild.write(tmp_path / "a" / "4711" / "one", wild.manifest(), metadata=wild.METADATA))
    again = read_race(write_race(tmp_path / "b", race))
    assert again.facts.schema_version == 1
    assert again.entries == race.entries
    assert again.actions.tolist() == race.actions.tolist()
    assert again.states is not None and race.states is not None
    for name, column in race.states.columns.items():
        np.testing.assert_array_equal(again.states.columns[name], column)
    written = json.loads((tmp_path / "b/4711/one/manifest.json").read_bytes())["meta"][3]
    np.testing.assert_allclose(written["velocity_car"], [0, 0, 20], atol=1e-5)
    assert written["metres"] is None


def test_a_race_that_was_not_committed_is_not_there(tmp_path: Path) -> None:
    race = read_race(wild.write(tmp_path / "a" / "4711" / "one", wild.manifest(), metadata=wild.METADATA))
    with RaceWriter(tmp_path / "b", "4711", "one") as writer:
        writer.add("frame_00000_0ms.png", b"half")
    assert list((tmp_path / "b" / "4711").iterdir()) == []
    (tmp_path / "b" / "4711" / ".partial-one").mkdir()  # what a killed process leaves
    (tmp_path / "b" / "4711" / ".partial-one" / "frame_00000_0ms.png").write_bytes(b"half")
    with pytest.raises(DatasetError, match="no race there"):
        find_races(tmp_path / "b")
    write_race(tmp_path / "b", race)
    assert [each.name for each in find_races(tmp_path / "b")] == ["one"]
    with pytest.raises(DatasetError, match="is there already"):
        write_race(tmp_path / "b", race)


@pytest.mark.parametrize(
    ("manifest", "metadata", "message"),
    [
        ({"entries": [{"step": 0}]}, wild.METADATA, "manifest.json: malformed"),
        ([3], wild.METADATA, "manifest.json: malformed"),
        ({"entries": [], "meta": [{"time_ms": 0, "position": [1, 2]}]}, wild.METADATA, "position has"),
        (wild.manifest(), {"width": "wide", "height": 3}, "metadata.json: malformed"),
        (wild.manifest(), {"schema_version": 99}, "schema version 99"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, manifest: Any, metadata: dict[str, Any], message: str
) -> None:
    folder = wild.write(tmp_path / "4711" / "one", manifest, metadata=metadata)
    with pytest.raises(DatasetError, match=message):
        read_race(folder)


def test_there_must_be_races(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_races(tmp_path / "nothing")
    (tmp_path / "4711").mkdir()
    with pytest.raises(DatasetError, match="no race there"):
        find_races(tmp_path)
    wild.write(tmp_path / "4711" / "one", wild.manifest(), metadata=wild.METADATA)
    with pytest.raises(DatasetError, match="no race on 4712"):
        find_races(tmp_path, ["4711", "4712"])


def test_a_race_without_what_a_cache_needs_is_refused(tmp_path: Path) -> None:
    race = read_race(wild.write(tmp_path / "4711" / "one", wild.manifest()["entries"], metadata=wild.METADATA))
    with pytest.raises(DatasetError, match="nothing of the car's state"):
        arrays_of(race, CacheSettings())
    arrays = arrays_of(race, CacheSettings(floats=False, frame_size=(10, 6)))
    assert arrays.frames.shape == (13, 6, 10)
    assert arrays.floats is None
