"""Makes races without defects of those that have some; the old ones stay as they are.

What each repair does stands in ``validate.REPAIRS``. Whatever is left out leaves a gap, over which no window of a cache
goes; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tmrl_ray.datasets.folder import write_race
from tmrl_ray.datasets.race import Actions, Entry, Race, action_of_keys, timeline_of_entries
from tmrl_ray.datasets.validate import Defect, Kind
from tmrl_ray.errors import DatasetError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT

_LEAVES_OUT = {Kind.MISSING_PICTURE, Kind.DAMAGED_PICTURE, Kind.OTHER_SIZE, Kind.OTHER_NAME, Kind.OFF_TICK}
_DROPS_STATES = {Kind.NOT_FINITE, Kind.NO_ROTATION}


def repair(race: Race, defects: Iterable[Defect]) -> Race:
    """Return a race with those of its defects repaired that can be.

    Args:
        race: it is not changed.
        defects: all of them, as :func:`~tmrl_ray.datasets.validate.validate_folder` finds them.

    Raises:
        DatasetError: nothing of it is left.
    """
    found = list(defects)
    kinds = {defect.kind for defect in found}
    race = _with_states(race, found)
    timeline = race.timeline
    for defect in found:
        if defect.kind is Kind.OUT_OF_STEP and timeline is not None and defect.shift_ticks:
            timeline = _moved(timeline, defect.shift_ticks)
    left_out = {row for defect in found if defect.kind in _LEAVES_OUT for row in defect.rows}
    rows = [row for row in range(len(race.entries)) if row not in left_out]
    if Kind.DISORDER in kinds:
        times: dict[int, int] = {}
        for row in rows:
            times.setdefault(race.entries[row].time_ms, row)
        rows = [times[time_ms] for time_ms in sorted(times)]
    if not rows:
        raise DatasetError(f"race {race.label}: no frame is left of {len(race.entries)}")
    race = race.kept(rows)
    race = replace(race, entries=tuple(_labelled(entry) for entry in race.entries))
    if Kind.SHORT_TIMELINE in kinds:
        timeline = timeline_of_entries(race)
    race = replace(race, timeline=timeline)
    if timeline is not None and Kind.OUT_OF_STEP in kinds:
        race = replace(race, entries=tuple(_as_held(entry, timeline) for entry in race.entries))
    return race


def repair_into(race: Race, defects: Iterable[Defect], root: Path) -> Path:
    """Write a repaired race below the root of another dataset; see :func:`repair`. Returns its folder."""
    return write_race(root, repair(race, defects))


def _with_states(race: Race, defects: list[Defect]) -> Race:
    states = race.states
    if states is None:
        return race
    for defect in defects:
        if defect.kind is Kind.WRONG_FRAME:
            to_world = states.rotation.reshape(-1, 3, 3).transpose(0, 2, 1)
            turned = {
                name: np.einsum("sij,sj->si", to_world, getattr(states, name)).astype(np.float32)
                for name in defect.fields
            }
            states = replace(states, **turned)
    dropped = {row for defect in defects if defect.kind in _DROPS_STATES for row in defect.rows}
    if dropped:
        states = states.taken(np.array([row for row in range(len(states)) if row not in dropped], np.int64))
    return replace(race, states=states if len(states) else None)


def _moved(timeline: Actions, ticks: int) -> Actions:
    """Return the timeline so much later, or earlier; what comes in at an end is not known."""
    moved = np.full_like(timeline, NO_ACTION)
    if ticks > 0:
        moved[ticks:] = timeline[:-ticks]
    else:
        moved[:ticks] = timeline[-ticks:]
    return moved


def _labelled(entry: Entry) -> Entry:
    action = entry.action
    if entry.keys is not None and action is not None:
        action = action_of_keys(entry.keys)
    if action is not None and not 0 <= action < ACTION_COUNT:
        action = None
    return replace(entry, action=action)


def _as_held(entry: Entry, timeline: Actions) -> Entry:
    tick = entry.time_ms // TICK_MS
    if not 0 <= tick < len(timeline) or timeline[tick] in (entry.action, NO_ACTION):
        return entry
    return replace(entry, action=int(timeline[tick]), keys=None)
