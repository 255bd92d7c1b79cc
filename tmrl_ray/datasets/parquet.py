"""Races as Parquet shards: the frames as rows with the columns of the public dataset, and the rest of each race beside.

::

    data/train-00000-of-00002.parquet     a row per frame: image {bytes, path}, track_id, replay_name, step, time_ms,
                                          action_idx, accelerate, brake, left, right, fps, width, height, race_finished
    races/train-00000-of-00002.parquet    a row per race: track_id, replay_name, metadata, manifest (JSON, no entries)

A race stands whole in one shard, its frames in order; maps for validation stand in shards of their own. The public
shards have no ``races/``: they are read with what their rows tell.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tmrl_ray.datasets.cache import split_maps
from tmrl_ray.datasets.folder import facts_of_json, facts_to_json, find_races, read_race
from tmrl_ray.datasets.race import Entry, Race, RaceFacts
from tmrl_ray.datasets.states import states_of_json
from tmrl_ray.errors import DatasetError
from tmrl_ray.racing.actions import KEY_NAMES
from tmrl_ray.runs.disk import PARTIAL_PREFIX

FRAMES = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("track_id", pa.string()),
        ("replay_name", pa.string()),
        ("step", pa.int32()),
        ("time_ms", pa.int32()),
        ("action_idx", pa.int32()),
        *((key, pa.bool_()) for key in KEY_NAMES),
        ("fps", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("race_finished", pa.bool_()),
    ]
)
RACES = pa.schema([(name, pa.string()) for name in ("track_id", "replay_name", "metadata", "manifest")])
_UNFINISHED = PARTIAL_PREFIX + "parquet"


def write_shards(
    source: Path, target: Path, *, val_fraction: float = 0.1, seed: int = 42, shard_bytes: int = 450 << 20
) -> dict[str, int]:
    """Write the races of a dataset as shards, all or none.

    Args:
        source: root of a dataset of folders.
        target: a folder that must not be there.
        val_fraction: of the maps; see :func:`~tmrl_ray.datasets.cache.split_maps`.
        seed: of the split.
        shard_bytes: of pictures, after which another shard begins.

    Returns:
        How many races are in each part.

    Raises:
        DatasetError: the target is there, or a race cannot be read.
    """
    if target.exists():
        raise DatasetError(f"{target} is there already", hint="Nothing is overwritten: give another folder.")
    folders = find_races(source)
    train, val = split_maps((folder.parent.name for folder in folders), val_fraction, seed)
    partial = target.with_name(f"{PARTIAL_PREFIX}{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        counts = {
            name: _write_part(partial, name, [folder for folder in folders if folder.parent.name in maps], shard_bytes)
            for name, maps in (("train", set(train)), ("val", set(val)))
            if maps
        }
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def read_shards(root: Path) -> Iterator[tuple[str, Race]]:
    """Yield the races of shards with the part that each is in, ``train`` or ``val``, one shard in memory at a time.

    Raises:
        DatasetError: there are no shards, or one is damaged.
    """
    shards = sorted((root / "data").glob("*.parquet"))
    if not shards:
        raise DatasetError(f"{root / 'data'}: no Parquet shard there")
    for shard in shards:
        more = root / "races" / shard.name
        try:
            frames = pq.read_table(shard)
            known = {} if not more.exists() else _by_race(pq.read_table(more).to_pylist())
            races = _races_of(frames.to_pylist(), known)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{shard} cannot be read: {error}") from error
        part = shard.name.partition("-")[0]
        yield from ((part, race) for race in races)


def _write_part(target: Path, part: str, folders: list[Path], shard_bytes: int) -> int:
    """Write the shards of one part; how many there are is known, and becomes a part of their names, at the end."""
    shards, size = 0, shard_bytes
    frames: pq.ParquetWriter | None = None
    races: pq.ParquetWriter | None = None
    for kind in ("data", "races"):
        (target / kind).mkdir(parents=True, exist_ok=True)
    try:
        for folder in folders:
            race = read_race(folder)
            if size >= shard_bytes:
                _close(frames, races)
                frames = pq.ParquetWriter(target / "data" / f"{_UNFINISHED}-{shards}", FRAMES)
                races = pq.ParquetWriter(target / "races" / f"{_UNFINISHED}-{shards}", RACES)
                shards, size = shards + 1, 0
            assert frames is not None and races is not None
            rows = list(_frame_rows(race))
            frames.write_table(pa.Table.from_pylist(rows, schema=FRAMES))
            races.write_table(pa.Table.from_pylist([_race_row(race)], schema=RACES))
            size += sum(len(row["image"]["bytes"]) for row in rows)
    finally:
        _close(frames, races)
    for kind in ("data", "races"):
        for number in range(shards):
            written = target / kind / f"{_UNFINISHED}-{number}"
            written.rename(target / kind / f"{part}-{number:05d}-of-{shards:05d}.parquet")
    return len(folders)


def _close(*writers: pq.ParquetWriter | None) -> None:
    for writer in writers:
        if writer is not None:
            writer.close()


def _frame_rows(race: Race) -> Iterator[dict[str, Any]]:
    facts = facts_to_json(race)
    shared = {name: facts[name] for name in ("track_id", "replay_name", "fps", "width", "height", "race_finished")}
    for row, entry in enumerate(race.entries):
        try:
            image = race.images[row]
        except OSError as error:
            raise DatasetError(
                f"race {race.label}: picture {entry.file} cannot be read: {error}",
                hint="Repair the dataset first: tmrl-ray dataset repair",
            ) from error
        keys = (None,) * len(KEY_NAMES) if entry.keys is None else entry.keys
        yield {
            "image": {"bytes": image, "path": entry.file},
            "step": entry.step,
            "time_ms": entry.time_ms,
            "action_idx": entry.action,
            **dict(zip(KEY_NAMES, keys, strict=True)),
            **shared,
        }


def _race_row(race: Race) -> dict[str, str]:
    manifest: dict[str, Any] = {}
    if race.timeline is not None:
        manifest["actions"] = race.timeline.tolist()
    if race.states is not None:
        manifest["meta"] = race.states.to_json()
    return {
        "track_id": race.facts.map,
        "replay_name": race.facts.name,
        "metadata": json.dumps(facts_to_json(race), allow_nan=False),
        "manifest": json.dumps(manifest, allow_nan=False),
    }


def _by_race(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["track_id"], row["replay_name"]): row for row in rows}


def _races_of(rows: list[dict[str, Any]], known: dict[tuple[str, str], dict[str, Any]]) -> list[Race]:
    by_race: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_race.setdefault((row["track_id"], row["replay_name"]), []).append(row)
    return [_race(name, of_race, known.get(name)) for name, of_race in by_race.items()]


def _race(name: tuple[str, str], rows: list[dict[str, Any]], more: dict[str, Any] | None) -> Race:
    map_name, race_name = name
    entries = tuple(_entry(row) for row in rows)
    images = [row["image"]["bytes"] for row in rows]
    if more is None:
        told = {field: rows[0].get(field) for field in ("fps", "width", "height", "race_finished")}
        return Race(facts_of_json(told, map_name=map_name, name=race_name), entries, images)
    manifest = json.loads(more["manifest"])
    facts: RaceFacts = facts_of_json(json.loads(more["metadata"]), map_name=map_name, name=race_name)
    timeline = np.array(manifest["actions"], np.uint8) if "actions" in manifest else None
    states = states_of_json(manifest.get("meta", []), f"race {map_name}/{race_name}")
    return replace(Race(facts, entries, images), timeline=timeline, states=states)


def _entry(row: dict[str, Any]) -> Entry:
    keys = [row.get(key) for key in KEY_NAMES]
    path = row["image"].get("path") or f"frame_{row['step']:05d}_{row['time_ms']}ms.jpeg"
    return Entry(
        file=Path(path).name,
        step=row["step"],
        time_ms=row["time_ms"],
        action=row.get("action_idx"),
        keys=None if any(key is None for key in keys) else tuple(bool(key) for key in keys),
    )
