"""Races as Parquet shards, and back."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets import wild
from tmrl_ray.datasets.folder import find_races, write_race
from tmrl_ray.datasets.parquet import FRAMES, read_shards, write_shards
from tmrl_ray.errors import DatasetError


def test_shards_turn_back_into_the_same_folders(recorded: Path, tmp_path: Path) -> None:
    counts = write_shards(recorded, tmp_path / "shards", val_fraction=0.5, seed=3, shard_bytes=20_000)
    assert sum(counts.values()) == 3
    assert set(counts) == {"train", "val"}
    parts: dict[str, str] = {}
    for part, race in read_shards(tmp_path / "shards"):
        assert parts.setdefault(race.facts.map, part) == part
        write_race(tmp_path / "again", race)
    for folder in find_races(recorded):
        other = tmp_path / "again" / folder.relative_to(recorded)
        names = [path.name for path in folder.iterdir()]
        assert filecmp.cmpfiles(folder, other, names, shallow=False) == (names, [], [])
    names = sorted(path.name for path in (tmp_path / "shards" / "data").iterdir())
    assert "train-00000-of-00002.parquet" in names or "val-00000-of-00002.parquet" in names


def test_public_shards_are_read_with_what_their_rows_tell(tmp_path: Path) -> None:
    rows = [
        {
            "image": {"bytes": wild.jpeg(step), "path": None},
            "track_id": "4711",
            "replay_name": "one",
            **{name: wild.entry(step)[name] for name in ("step", "time_ms", "action_idx")},
            **wild.entry(step)["inputs"],
            "fps": 10.0,
            "width": wild.SIZE[0],
            "height": wild.SIZE[1],
            "race_finished": True,
        }
        for step in range(7)
    ]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=FRAMES), tmp_path / "data" / "val-00000-of-00001.parquet")
    ((part, race),) = read_shards(tmp_path)
    assert part == "val"
    assert (race.facts.map, race.interval_ms, race.facts.finished) == ("4711", 100, True)
    assert [entry.action for entry in race.entries] == [wild.held(10 * step) for step in range(7)]
    assert race.frame(6).shape == (wild.SIZE[1], wild.SIZE[0])


def test_nothing_is_overwritten_and_damage_is_noticed(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no Parquet shard"):
        list(read_shards(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_shards(tmp_path))
    with pytest.raises(DatasetError, match="is there already"):
        write_shards(recorded, tmp_path)


def test_half_a_conversion_is_none(tmp_path: Path) -> None:
    folder = wild.write(tmp_path / "races" / "4711" / "one", wild.manifest(), metadata=wild.METADATA)
    (folder / "frame_00005_500ms.jpeg").unlink()
    with pytest.raises(DatasetError, match="frame_00005_500ms.jpeg cannot be read"):
        write_shards(tmp_path / "races", tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["races"]
