"""Finds what is wrong with recorded races: every defect, with the frames, ticks or states that have it.

``repair`` makes a new race of one with defects. What a defect means, and what repairing does about it, stands in
``Kind``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.datasets.cache import GAP
from tmrl_ray.datasets.folder import MANIFEST, METADATA, pictures_in, read_race, told_by_name
from tmrl_ray.datasets.race import Race, action_of_keys
from tmrl_ray.datasets.states import RaceStates
from tmrl_ray.errors import DatasetError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, ACTION_NAMES

MOST_TICKS_OFF = 30
"""A timeline is looked for in step up to so many ticks away: the public recordings are off by up to 100 ms."""
OUT_OF_ROTATION = 1e-3
"""By how much rows of a rotation may miss being of length 1 and at right angles, float32 and four decimals allowed."""
MOVING_MPS, TURNING_RADPS = 3.0, 0.2
"""Slower than this a vector says little of its frame of reference."""
FITS = 0.3
"""By what share of its length a vector may miss the change that was seen."""


class Kind(StrEnum):
    """Kinds of defects."""

    UNREADABLE = "unreadable"
    NO_METADATA = "no metadata"
    NO_MANIFEST = "no manifest"
    MISSING_PICTURE = "missing picture"
    DAMAGED_PICTURE = "damaged picture"
    OTHER_SIZE = "picture of another size"
    STRAY_PICTURE = "picture without entry"
    OTHER_NAME = "name and time differ"
    OFF_TICK = "time between ticks"
    DISORDER = "times do not rise"
    JUMP = "jump in time"
    NO_FINISH = "finish not recorded"
    NO_ACTIONS = "no actions"
    UNKNOWN_ACTION = "action is none of the twelve"
    OTHER_KEYS = "action and keys differ"
    OUT_OF_STEP = "actions out of step"
    SHORT_TIMELINE = "timeline too short"
    NO_STATE = "frame without state"
    NOT_FINITE = "state is not finite"
    NO_ROTATION = "rotation is none"
    WRONG_FRAME = "velocity in the car's frame"
    OFF_COURSE = "velocity does not fit the way"


REPAIRS = {
    Kind.NO_MANIFEST: "entries are made of the pictures' names",
    Kind.MISSING_PICTURE: "its entry is left out",
    Kind.DAMAGED_PICTURE: "its entry is left out",
    Kind.OTHER_SIZE: "its entry is left out",
    Kind.STRAY_PICTURE: "it is left out",
    Kind.OTHER_NAME: "its entry is left out",
    Kind.OFF_TICK: "its entry is left out",
    Kind.DISORDER: "sorted by time, the first of two at the same time is kept",
    Kind.UNKNOWN_ACTION: "its label is removed",
    Kind.OTHER_KEYS: "the keys hold",
    Kind.OUT_OF_STEP: "the timeline is moved to where it agrees with the frames; failing that, frames take its actions",
    Kind.SHORT_TIMELINE: "the timeline is made anew of the frames' actions",
    Kind.NOT_FINITE: "the state is left out",
    Kind.NO_ROTATION: "the state is left out",
    Kind.WRONG_FRAME: "velocities are turned into the world's frame",
}
"""What repairing does; what is not here stays as it is, and is no obstacle where it does not matter."""


class Defect(NamedTuple):
    """Something that is wrong with a race."""

    kind: Kind
    what: str
    """In words, with the first place."""
    rows: tuple[int, ...] = ()
    """Numbers of the entries, or of the states, that have it."""
    shift_ticks: int = 0
    """Of OUT_OF_STEP: by how much the timeline must be moved to later; 0: no move helps."""
    fields: tuple[str, ...] = ()
    """Of WRONG_FRAME: which velocities."""


def validate_folder(folder: Path) -> tuple[Race | None, list[Defect]]:
    """Read a race with all its pictures, and return it with its defects; None: it cannot be read at all."""
    try:
        race = read_race(folder)
    except DatasetError as error:
        return None, [Defect(Kind.UNREADABLE, error.args[0])]
    defects = [
        Defect(kind, f"{file} is not there")
        for kind, file in ((Kind.NO_METADATA, METADATA), (Kind.NO_MANIFEST, MANIFEST))
        if not (folder / file).exists()
    ]
    listed = {entry.file for entry in race.entries}
    stray = [file for file in pictures_in(folder) if file not in listed]
    if stray:
        defects.append(Defect(Kind.STRAY_PICTURE, f"{len(stray)} pictures have no entry, first {stray[0]}"))
    return race, [*defects, *find_defects(race)]


def find_defects(race: Race) -> list[Defect]:
    """Return the defects of a race, whatever it is stored in."""
    return [*_pictures(race), *_times(race), *_actions(race), *_states(race)]


def _pictures(race: Race) -> Iterator[Defect]:
    rows: dict[Kind, list[int]] = {Kind.MISSING_PICTURE: [], Kind.DAMAGED_PICTURE: [], Kind.OTHER_SIZE: []}
    size = race.facts.size
    for row in range(len(race.entries)):
        try:
            frame = race.frame(row)
        except DatasetError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            rows[Kind.MISSING_PICTURE if missing else Kind.DAMAGED_PICTURE].append(row)
            continue
        height, width = frame.shape
        size = size or (width, height)
        if size != (width, height):
            rows[Kind.OTHER_SIZE].append(row)
    for kind, found in rows.items():
        yield from _of_entries(race, kind, found)
    differing = [
        row
        for row, entry in enumerate(race.entries)
        if (told := told_by_name(entry.file)) is not None and told[1] != entry.time_ms
    ]
    yield from _of_entries(race, Kind.OTHER_NAME, differing)


def _times(race: Race) -> Iterator[Defect]:
    times_ms = race.times_ms
    yield from _of_entries(race, Kind.OFF_TICK, np.flatnonzero(times_ms % TICK_MS))
    steps = np.diff(times_ms)
    yield from _of_entries(race, Kind.DISORDER, 1 + np.flatnonzero(steps <= 0))
    interval_ms = race.interval_ms
    if interval_ms is None:
        return
    jumps = 1 + np.flatnonzero(steps > GAP * interval_ms)
    if len(jumps):
        first = int(jumps[0])
        yield Defect(
            Kind.JUMP,
            f"{len(jumps)} times more than {GAP:g} intervals of {interval_ms:g} ms pass between two frames, first from "
            f"{times_ms[first - 1]} to {times_ms[first]} ms",
            tuple(jumps.tolist()),
        )
    end_ms = race.facts.race_time_ms
    if race.facts.finished and end_ms is not None and len(times_ms) and times_ms.max() < end_ms:
        yield Defect(Kind.NO_FINISH, f"the last frame is at {times_ms.max()} ms, the finish at {end_ms} ms")


def _actions(race: Race) -> Iterator[Defect]:
    entries, timeline = race.entries, race.timeline
    known = [row for row, entry in enumerate(entries) if entry.action is not None]
    unknown = [row for row in known if not 0 <= (entries[row].action or 0) < ACTION_COUNT]
    yield from _of_entries(race, Kind.UNKNOWN_ACTION, unknown)
    if not known and timeline is None:
        yield Defect(Kind.NO_ACTIONS, "neither the frames nor a timeline say what was held")
        return
    differing = [
        row
        for row in known
        if (keys := entries[row].keys) is not None
        and action_of_keys(keys) != entries[row].action
        and row not in unknown
    ]
    yield from _of_entries(race, Kind.OTHER_KEYS, differing)
    if timeline is None:
        return
    known = [row for row in known if row not in unknown]
    ticks = np.array([entries[row].time_ms // TICK_MS for row in known], np.int64)
    actions = np.array([entries[row].action for row in known])
    end_ms = TICK_MS * len(timeline)
    needed_ms = max(race.facts.race_time_ms or 0, TICK_MS * int(ticks.max(initial=-1) + 1))
    if needed_ms > end_ms:
        yield Defect(Kind.SHORT_TIMELINE, f"the timeline ends at {end_ms} ms, the race at {needed_ms} ms")
    yield from _out_of_step(race, np.array(known), ticks, actions, timeline)


def _out_of_step(
    race: Race,
    rows: NDArray[np.int64],
    ticks: NDArray[np.int64],
    actions: NDArray[np.int64],
    timeline: NDArray[np.uint8],
) -> Iterator[Defect]:
    inside = (ticks >= 0) & (ticks < len(timeline))
    inside[inside] = timeline[ticks[inside]] != NO_ACTION
    rows, ticks, actions = rows[inside], ticks[inside], actions[inside]
    wrong = timeline[ticks] != actions
    if not wrong.any():
        return
    agreeing = {}
    for shift in sorted(range(-MOST_TICKS_OFF, MOST_TICKS_OFF + 1), key=abs):  # the timeline, so much later
        there = (ticks - shift >= 0) & (ticks - shift < len(timeline))
        agreeing[shift] = int((timeline[ticks[there] - shift] == actions[there]).sum() + (~there).sum())
    shift = max(agreeing, key=lambda each: agreeing[each])
    first = int(np.flatnonzero(wrong)[0])
    held = int(timeline[ticks[first]])
    message = (
        f"{wrong.sum()} of {len(rows)} frames have another action than the timeline, first at "
        f"{race.entries[rows[first]].time_ms} ms: {_name(int(actions[first]))}, not {_name(held)}"
    )
    if shift:
        message += (
            f"; moved by {shift * TICK_MS} ms the timeline has all but {len(rows) - agreeing[shift]} of them right"
        )
    yield Defect(Kind.OUT_OF_STEP, message, tuple(rows[wrong].tolist()), shift_ticks=shift)


def _states(race: Race) -> Iterator[Defect]:
    states = race.states
    if states is None:
        yield Defect(Kind.NO_STATE, "nothing is known of the car", tuple(range(len(race.entries))))
        return
    yield from _of_entries(race, Kind.NO_STATE, np.flatnonzero(states.rows_at(race.times_ms) < 0))
    bad = ~np.isfinite(states.needed).all(axis=1)
    yield from _of_states(states, Kind.NOT_FINITE, bad)
    turned = states.rotation.reshape(-1, 3, 3).astype(np.float64)
    off = np.abs(turned @ turned.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > OUT_OF_ROTATION
    with np.errstate(invalid="ignore"):
        off |= np.linalg.det(turned) < 0
    yield from _of_states(states, Kind.NO_ROTATION, off & ~bad)
    yield from _frames_of_reference(states.taken(~bad & ~off))


def _frames_of_reference(states: RaceStates) -> Iterator[Defect]:
    """Compare the velocities with how position and rotation change: each fits in the world's frame or in the car's."""
    dt_s = np.diff(states.times_ms)[:, None] / 1000
    near = (dt_s[:, 0] > 0) & (dt_s[:, 0] <= 0.1)
    if near.sum() < 3:
        return
    to_world = states.rotation.reshape(-1, 3, 3).astype(np.float64).transpose(0, 2, 1)
    change = (to_world[1:] @ to_world[:-1].transpose(0, 2, 1))[near]
    seen_turn = np.stack(
        [
            change[:, 2, 1] - change[:, 1, 2],
            change[:, 0, 2] - change[:, 2, 0],
            change[:, 1, 0] - change[:, 0, 1],
        ],
        axis=1,
    ) / (2 * dt_s[near])
    seen_way = (np.diff(states.position.astype(np.float64), axis=0) / dt_s)[near]
    wrong: list[str] = []
    off: list[str] = []
    for field, seen, least in (
        ("velocity", seen_way, MOVING_MPS),
        ("angular_velocity", seen_turn, TURNING_RADPS),
    ):
        told = getattr(states, field).astype(np.float64)
        turned = np.einsum("sij,sj->si", to_world, told)
        size = np.linalg.norm(seen, axis=1)
        enough = size > least
        if enough.sum() < 3:
            continue
        misses = [
            np.linalg.norm((each[:-1] + each[1:])[near] / 2 - seen, axis=1)[enough].mean() for each in (told, turned)
        ]
        if misses[0] > FITS * size[enough].mean():
            (wrong if misses[1] < misses[0] / 2 else off).append(field)
    if wrong:
        yield Defect(
            Kind.WRONG_FRAME,
            f"{' and '.join(wrong)}: fits the car's way only after it is turned from the car's frame into the world's",
            fields=tuple(wrong),
        )
    if off:
        yield Defect(Kind.OFF_COURSE, f"{' and '.join(off)}: fits the car's way in no frame of reference")


def _of_entries(race: Race, kind: Kind, rows: Iterable[int] | NDArray[np.int64]) -> Iterator[Defect]:
    found = tuple(int(row) for row in rows)
    if found:
        first = race.entries[found[0]]
        yield Defect(
            kind, f"{len(found)} of {len(race.entries)} frames, first {first.file} at {first.time_ms} ms", found
        )


def _of_states(states: RaceStates, kind: Kind, bad: Any) -> Iterator[Defect]:
    rows = np.flatnonzero(bad)
    if len(rows):
        yield Defect(
            kind, f"{len(rows)} of {len(states)} states, first at {states.times_ms[rows[0]]} ms", tuple(rows.tolist())
        )


def _name(action: int) -> str:
    return ACTION_NAMES[action] if 0 <= action < ACTION_COUNT else str(action)
