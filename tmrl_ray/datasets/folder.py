"""Races as folders: ``<root>/<map>/<race>/`` with ``metadata.json``, ``manifest.json`` and one picture per frame.

The layout is that of the public TMNF datasets (rulka's), which this reads as it is found, old variants included: a
manifest that is a plain list of entries, or none at all; no timeline of actions; states inside the entries; JPEGs.
What we write has further fields: ``schema_version``, ``layout_hash``, ``decision_period_ms`` and, for each state,
``velocity_car``, ``angular_velocity_car`` and ``metres``.

A race is written into a folder whose name begins with ``.partial-`` and renamed when it is complete, so that a race
that is there is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from tmrl_ray.datasets.race import SCHEMA_VERSION, Actions, Entry, Race, RaceFacts
from tmrl_ray.datasets.states import states_of_json
from tmrl_ray.errors import DatasetError, InvalidInputError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, KEY_NAMES
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk

METADATA, MANIFEST = "metadata.json", "manifest.json"
PICTURE_ENDINGS = (".png", ".jpeg", ".jpg")
_PICTURE = re.compile(r"frame_(?P<step>\d+)_(?P<time_ms>-?\d+)ms\.(?:png|jpe?g)")
_STATE_IN_ENTRY = "state"
_KNOWN_FACTS = {
    "track_id", "replay_name", "capture_interval_ms", "width", "height", "race_time_ms", "race_finished",
    "decision_period_ms", "layout_hash", "schema_version",
}  # fmt: skip
_KNOWN_OF_ENTRY = {"file", "step", "time_ms", "action_idx", "inputs", _STATE_IN_ENTRY}


class FolderImages(Sequence[bytes]):
    """The pictures of a race's folder, read when they are asked for."""

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        self._folder = folder
        self._files = [entry.file for entry in entries]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return (self._folder / self._files[index]).read_bytes()


def file_name(step: int, time_ms: int) -> str:
    """Return what the picture of a frame is called."""
    return f"frame_{step:05d}_{time_ms}ms.png"


def told_by_name(file: str) -> tuple[int, int] | None:
    """Return the step and the time in ms that the name of a picture tells; None: it tells nothing."""
    match = _PICTURE.fullmatch(file)
    return None if match is None else (int(match["step"]), int(match["time_ms"]))


def pictures_in(folder: Path) -> list[str]:
    """Return the names of the pictures in a race's folder, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(PICTURE_ENDINGS))


def find_races(root: Path, maps: Iterable[str] | None = None) -> list[Path]:
    """Return the folders of the races below a dataset's root, sorted by map and name.

    Args:
        root: of the dataset.
        maps: the names of those that are wanted; None: all.

    Raises:
        DatasetError: there is no such folder, no race in it, or none on one of the maps.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder", hint="Record races first: tmrl-ray record --help")
    found = [
        race
        for each in sorted(root.iterdir())
        if each.is_dir() and not each.name.startswith(".")
        for race in sorted(each.iterdir())
        if race.is_dir() and not race.name.startswith(".") and _is_race(race)
    ]
    if not found:
        raise DatasetError(
            f"{root}: no race there: a dataset is ROOT/MAP/RACE/ with {METADATA} and {MANIFEST}",
            hint="Record races first: tmrl-ray record --help",
        )
    if maps is None:
        return found
    wanted = set(maps)
    if missing := wanted - {race.parent.name for race in found}:
        raise DatasetError(f"{root}: no race on {', '.join(sorted(missing))}")
    return [race for race in found if race.parent.name in wanted]


def _is_race(folder: Path) -> bool:
    return (folder / METADATA).exists() or (folder / MANIFEST).exists() or bool(pictures_in(folder))


def read_race(folder: Path) -> Race:
    """Read a race; its pictures are read when they are asked for.

    Raises:
        DatasetError: what is there is no race, is damaged beyond reading, or is of a newer version.
    """
    facts = read_facts(folder)
    manifest = _read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
    listed = manifest.get("entries", []) if isinstance(manifest, dict) else manifest
    try:
        entries = _entries_of_names(folder) if listed is None else tuple(_entry(each) for each in listed)
        timeline = _timeline(manifest.get("actions")) if isinstance(manifest, dict) else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{folder / MANIFEST}: malformed: {type(error).__name__}: {error}") from error
    moments = manifest.get("meta") if isinstance(manifest, dict) else None
    if not moments and listed is not None:
        moments = [
            {"time_ms": each["time_ms"], **each[_STATE_IN_ENTRY]} for each in listed if each.get(_STATE_IN_ENTRY)
        ]
    try:
        states = states_of_json(moments or [], str(folder / MANIFEST))
    except InvalidInputError as error:
        raise DatasetError(str(error)) from error
    return Race(facts, entries, FolderImages(folder, entries), timeline, states)


def read_facts(folder: Path) -> RaceFacts:
    """Read the metadata of a race; without the file, only its names are known.

    Raises:
        DatasetError: it is damaged, or of a newer version.
    """
    path = folder / METADATA
    read = _read_json(path) if path.exists() else {}
    if not isinstance(read, dict):
        raise DatasetError(f"{path}: an object was expected, this is a {type(read).__name__}")
    try:
        return facts_of_json(read, map_name=folder.parent.name, name=folder.name)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: malformed: {error}") from error


def facts_of_json(read: Mapping[str, Any], *, map_name: str, name: str) -> RaceFacts:
    """Return the facts that a metadata object tells; map and name are those of the folders.

    Raises:
        ValueError, TypeError: it is malformed.
        DatasetError: it is of a newer version.
    """
    version = int(read.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        raise DatasetError(
            f"race {map_name}/{name} has schema version {version}, this program reads up to {SCHEMA_VERSION}",
            hint="Use a newer tmrl_ray.",
        )
    interval_ms, fps = read.get("capture_interval_ms"), read.get("fps")
    if not interval_ms and fps:
        interval_ms = max(1000 / float(fps), TICK_MS)
    width, height = read.get("width"), read.get("height")
    return RaceFacts(
        map=map_name,
        name=name,
        interval_ms=float(interval_ms) if interval_ms else None,
        size=(int(width), int(height)) if width and height else None,
        race_time_ms=_whole(read.get("actual_race_time_ms") or read.get("race_time_ms")),
        finished=read.get("race_finished"),
        decision_period_ms=_whole(read.get("decision_period_ms")),
        layout_hash=read.get("layout_hash"),
        schema_version=version,
        more={key: value for key, value in read.items() if key not in _KNOWN_FACTS},
    )


def facts_to_json(race: Race) -> dict[str, Any]:
    """Return the metadata object of a race, as this program writes it."""
    facts = race.facts
    width, height = facts.size or (None, None)
    interval_ms = race.interval_ms
    return {
        "schema_version": SCHEMA_VERSION,
        "track_id": facts.map,
        "replay_name": facts.name,
        "width": width,
        "height": height,
        "fps": None if not interval_ms else round(1000 / interval_ms, 3),
        "capture_interval_ms": interval_ms,
        "step_ms": TICK_MS,
        "race_time_ms": facts.race_time_ms,
        "race_finished": facts.finished,
        "total_frames": len(race.entries),
        "decision_period_ms": facts.decision_period_ms,
        "layout_hash": facts.layout_hash,
    } | {
        key: value
        for key, value in facts.more.items()
        if key not in ("fps", "step_ms", "total_frames", "actual_race_time_ms")
    }


def entries_to_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the entries of a manifest."""
    return [
        {"file": each.file, "step": each.step, "time_ms": each.time_ms}
        | ({} if each.action is None else {"action_idx": each.action})
        | ({} if each.keys is None else {"inputs": dict(zip(KEY_NAMES, each.keys, strict=True))})
        | each.more
        for each in entries
    ]


class RaceWriter:
    """Writes a race below a dataset's root, whole or not at all.

    The loop in which it is used::

        with RaceWriter(root, "loop", "human-0001") as writer:
            for name, image in pictures:
                writer.add(name, image)
            writer.commit(race)

    Args:
        root: of the dataset, made if it is not there.
        map_name: of the race.
        name: of the race; the map must have none of this name yet.
    """

    def __init__(self, root: Path, map_name: str, name: str) -> None:
        for each in (map_name, name):
            if not each or each.startswith(".") or "/" in each or "\\" in each:
                raise DatasetError(f"{each!r} cannot be the name of a folder, of a map or race that is written")
        self.folder = root / map_name / name
        self._partial = self.folder.with_name(f"{PARTIAL_PREFIX}{name}")

    def __enter__(self) -> Self:
        """Make the folder in which the race is written.

        Raises:
            DatasetError: a race of this name is there.
            OSError: the folder cannot be made.
        """
        if self.folder.exists():
            raise DatasetError(
                f"{self.folder} is there already", hint="Nothing is overwritten: remove it, or write elsewhere."
            )
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._partial, ignore_errors=True)  # of a process that was killed
        self._partial.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def add(self, file: str, image: bytes) -> None:
        """Write an encoded picture."""
        (self._partial / file).write_bytes(image)

    def commit(self, race: Race) -> None:
        """Write what is known of the race, whose pictures were all added, and make it one of the dataset."""
        disk, manifest = Disk(), {"entries": entries_to_json(race.entries)}
        if race.timeline is not None:
            manifest["actions"] = race.timeline.tolist()
        if race.states is not None:
            manifest["meta"] = race.states.to_json()
        disk.write(self._partial / MANIFEST, json.dumps(manifest, separators=(",", ":"), allow_nan=False).encode())
        facts = json.dumps(facts_to_json(race), indent=1, allow_nan=False) + "\n"
        disk.write(self._partial / METADATA, facts.encode())
        disk.sync_directory(self._partial)
        disk.rename(self._partial, self.folder)
        disk.sync_directory(self.folder.parent)


def write_race(root: Path, race: Race) -> Path:
    """Write a race with its pictures; see :class:`RaceWriter`. Returns its folder."""
    with RaceWriter(root, race.facts.map, race.facts.name) as writer:
        for entry, image in zip(race.entries, race.images, strict=True):
            writer.add(entry.file, image)
        writer.commit(race)
    return writer.folder


def _entry(read: Mapping[str, Any]) -> Entry:
    inputs, action = read.get("inputs"), read.get("action_idx")
    return Entry(
        file=str(read["file"]),
        step=int(read.get("step", -1)),
        time_ms=int(read["time_ms"]),
        action=None if action is None else int(action),
        keys=None if inputs is None else tuple(bool(inputs.get(key, False)) for key in KEY_NAMES),
        more={key: value for key, value in read.items() if key not in _KNOWN_OF_ENTRY},
    )


def _entries_of_names(folder: Path) -> tuple[Entry, ...]:
    """Return what the names of the pictures tell, where there is no manifest."""
    told = [(file, told_by_name(file)) for file in pictures_in(folder)]
    return tuple(Entry(file, step_and_time[0], step_and_time[1]) for file, step_and_time in told if step_and_time)


def _timeline(read: Sequence[Any] | None) -> Actions | None:
    """Return the timeline; what is none of the twelve actions, -1 or null for example, becomes NO_ACTION."""
    if not read:
        return None
    actions = [NO_ACTION if each is None or not 0 <= int(each) < ACTION_COUNT else int(each) for each in read]
    return np.array(actions, np.uint8)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not JSON: {error}") from error


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def iterate(root: Path, maps: Iterable[str] | None = None) -> Iterator[Race]:
    """Yield the races of a dataset, one after the other; see :func:`find_races` and :func:`read_race`."""
    for folder in find_races(root, maps):
        yield read_race(folder)
