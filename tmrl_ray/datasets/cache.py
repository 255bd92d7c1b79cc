"""Races as arrays to learn from: every frame once, and windows, labels and splits as index arithmetic on them.

The pretraining stages draw from it::

    cache = open_cache(directory)                      # or RaceCache.of(races), in memory
    split = cache.split(val_fraction=0.1, seed=42)     # whole maps, never parts of one
    ends = cache.window_ends(split.train, stack=4)
    batch = rng.choice(ends, 128)
    frames = cache.stacks(batch, stack=4)              # (B, 4, H, W) uint8
    floats = cache.floats[batch]                       # (B, F) float32
    labels = cache.labels(batch, offsets_ms=(0, 50))   # (B, 2) int64

Labels are read from the timeline of actions, every 10 ms, when they are asked for: nothing that depends on the kind of
label is stored, so that it cannot be stale.

Shape letters: N rows (frames) of all races, T ticks of all races, F floats, H W pixels, B rows that are asked for,
C frames of a stack, K offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS

Frames = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Target = Literal["current_tick", "next_tick"]
"""``current_tick``: the action at the frame; ``next_tick``: the action at the next frame of the race."""

NO_LABEL = -100
"""The label of a tick whose action is none of the twelve; torch's losses pass over it by default."""
GAP = 1.5
"""Frames further apart than so many intervals of their race have a frame missing between them."""


@dataclass(frozen=True)
class RaceArrays:
    """One race, to be put into a cache.

    Raises:
        InvalidInputError: the arrays do not fit together.
    """

    map: str
    """Name of its map, by which races are split."""
    name: str
    """Its own name, unique on the map."""
    frames: Frames
    """(n, H, W) grey, in the order of their times."""
    times_ms: NDArray[np.int32]
    """(n,) race clock of each frame, rising."""
    actions: NDArray[np.uint8]
    """(t,) what was held in each tick of 10 ms from race time 0 on; 255 (NO_ACTION): none of the twelve."""
    floats: Floats | None = None
    """(n, F) the observation's floats at each frame, NaN where they are not known; None: known nowhere."""
    metres: Floats | None = None
    """(n,) progress along the reference line, NaN where it is not known; None: known nowhere."""
    finished: bool = True
    interval_ms: int | None = None
    """Between two frames; None: the most frequent one."""

    def __post_init__(self) -> None:
        count = len(self.frames)
        for what, array in (("times_ms", self.times_ms), ("floats", self.floats), ("metres", self.metres)):
            if array is not None and len(array) != count:
                raise InvalidInputError(f"race {self.map}/{self.name}: {count} frames, but {len(array)} {what}")
        if count == 0 or len(self.actions) == 0:
            raise InvalidInputError(f"race {self.map}/{self.name} has {count} frames and {len(self.actions)} actions")
        if count > 1 and np.diff(self.times_ms).min() <= 0:
            raise InvalidInputError(f"race {self.map}/{self.name}: the times of its frames do not rise")

    @property
    def usual_interval_ms(self) -> int:
        """Race time between two frames."""
        if self.interval_ms is not None:
            return self.interval_ms
        return int(np.bincount(np.diff(self.times_ms)).argmax()) if len(self.times_ms) > 1 else TICK_MS


@dataclass(frozen=True)
class RaceRange:
    """Where a race stands in a cache."""

    map: str
    name: str
    first_row: int
    rows: int
    first_tick: int
    """In ``actions``."""
    ticks: int
    interval_ms: int
    finished: bool

    @property
    def end_row(self) -> int:
        """The row after its last one."""
        return self.first_row + self.rows


@dataclass(frozen=True)
class Split:
    """Races for training and for validation: numbers of a cache's races, all races of a map on the same side."""

    train: tuple[int, ...]
    val: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RaceCache:
    """Races as arrays; memory-mapped and read-only when they were opened from a disk."""

    frames: Frames
    """(N, H, W) uint8, grey, every frame once, race after race."""
    floats: Floats
    """(N, F) float32 as the agent observes them when it drives, NaN where they are not known; F is 0 without any."""
    metres: Floats
    """(N,) progress along the reference line, NaN where it is not known."""
    times_ms: NDArray[np.int32]
    """(N,) race clock of each frame."""
    actions: NDArray[np.uint8]
    """(T,) what was held in each tick of 10 ms, race after race; 255: none of the twelve actions."""
    races: tuple[RaceRange, ...]
    key: str = ""
    """Hash of the content and the recipe that it was built from; changes with either. Empty: made in memory."""

    @classmethod
    def of(cls, races: Sequence[RaceArrays]) -> RaceCache:
        """Return a cache in memory.

        Raises:
            InvalidInputError: there is none, or their frames or floats have different shapes.
        """
        if not races:
            raise InvalidInputError("no race to make a cache of")
        for what, shapes in (
            ("pictures", {race.frames.shape[1:] for race in races}),
            ("floats", {0 if race.floats is None else race.floats.shape[1] for race in races}),
        ):
            if len(shapes) > 1:
                raise InvalidInputError(f"the races have {what} of different sizes: {sorted(shapes)}")
        return cls(
            frames=np.concatenate([race.frames for race in races]),
            floats=np.concatenate([_known(race.floats, (len(race.frames), 0)) for race in races]),
            metres=np.concatenate([_known(race.metres, (len(race.frames),)) for race in races]),
            times_ms=np.concatenate([race.times_ms.astype(np.int32) for race in races]),
            actions=np.concatenate([race.actions for race in races]),
            races=tuple(ranges_of(races)),
        )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps, sorted."""
        return tuple(sorted({race.map for race in self.races}))

    @property
    def has_floats(self) -> bool:
        """Whether any floats are known."""
        return bool(self.floats.shape[1] > 0)

    def split(self, val_fraction: float, seed: int) -> Split:
        """Split the races by their maps; see :func:`split_maps`."""
        train, _ = split_maps(self.maps, val_fraction, seed)
        chosen = set(train)
        numbers = range(len(self.races))
        return Split(
            train=tuple(number for number in numbers if self.races[number].map in chosen),
            val=tuple(number for number in numbers if self.races[number].map not in chosen),
        )

    def races_on(self, maps: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of the races on some maps.

        Raises:
            InvalidInputError: there is no race on one of them.
        """
        wanted = set(maps)
        if missing := wanted - set(self.maps):
            raise InvalidInputError(
                f"no race on {', '.join(sorted(missing))}", hint=f"There are races on {', '.join(self.maps)}."
            )
        return tuple(number for number, race in enumerate(self.races) if race.map in wanted)

    def window_ends(
        self,
        races: Iterable[int] | None = None,
        *,
        stack: int = 1,
        every: int = 1,
        ahead: int = 0,
        target: Target | None = "current_tick",
        with_floats: bool = False,
    ) -> Rows:
        """Return the last row of each window that lies in one race, without a missing frame.

        Args:
            races: their numbers; None: all.
            stack: frames in a window.
            every: rows between two of its frames, for stacks that are wider than the recording is fine.
            ahead: frames, ``every`` rows apart, that must follow the window.
            target: a window counts only if it has this label; None: labels are not asked for.
            with_floats: a window counts only if the floats of its last row are known.

        Returns:
            (W,) rows, rising.
        """
        if min(stack, every) < 1 or ahead < 0:
            raise InvalidInputError(f"windows of {stack} frames, every {every} rows, {ahead} ahead: there are none")
        after = max(ahead * every, 1 if target == "next_tick" else 0)
        stretch = self._stretches
        rows = np.flatnonzero(self._race_chosen(races)[self._race_of_row])
        first, last = rows - (stack - 1) * every, rows + after
        inside = (first >= 0) & (last < len(self))
        rows, first, last = rows[inside], first[inside], last[inside]
        fits = (stretch[first] == stretch[rows]) & (stretch[last] == stretch[rows])
        if target is not None:
            labelled = rows if target == "current_tick" else rows + (rows + 1 < len(self))
            fits &= self._decided(labelled) & (self.targets(rows, target) != NO_LABEL)
        if with_floats:
            fits &= self._floats_known(rows)
        ends: Rows = rows[fits]
        return ends

    def window_rows(self, ends: Rows, stack: int, every: int = 1) -> Rows:
        """Return the rows (B, C) of the windows that end at ``ends`` (B,), oldest first."""
        rows: Rows = ends[:, None] + np.arange(-(stack - 1) * every, 1, every)
        return rows

    def stacks(self, ends: Rows, stack: int = 1, every: int = 1) -> Frames:
        """Return a copy of the frames (B, C, H, W) of the windows that end at ``ends`` (B,), oldest first."""
        return self.frames[self.window_rows(ends, stack, every)]

    def labels(self, rows: Rows, offsets_ms: Sequence[int] = (0,)) -> Rows:
        """Return the actions (B, K) that are held some time after each frame.

        The action at time t is number round(t / 10 ms) of the race's timeline; before it the first one, after it the
        last one (the rule of the public TMNF datasets). ``NO_LABEL`` where it is none of the twelve.

        Args:
            rows: (B,).
            offsets_ms: (K,) after the frame; negative: before it.
        """
        race = self._race_of_row[rows]
        times_ms = self.times_ms[rows].astype(np.int64)[:, None] + np.asarray(offsets_ms, np.int64)
        ticks = (2 * times_ms + TICK_MS) // (2 * TICK_MS)  # to the nearest, halves up
        ticks = np.clip(ticks, 0, self._race_ticks[race][:, None] - 1)
        actions = self.actions[self._race_first_tick[race][:, None] + ticks].astype(np.int64)
        return np.where(actions == NO_ACTION, NO_LABEL, actions)

    def targets(self, rows: Rows, target: Target = "current_tick") -> Rows:
        """Return one label (B,) for each row: the action at the frame, or at the next frame of the race."""
        if target == "next_tick":
            rows = np.minimum(rows + 1, len(self) - 1)
        labels: Rows = self.labels(rows)[:, 0]
        return labels

    def _decided(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether something was still decided at each row: not so at the last frame, of the finish."""
        return self.times_ms[rows] < TICK_MS * self._race_ticks[self._race_of_row[rows]]

    def _floats_known(self, rows: Rows) -> NDArray[np.bool_]:
        if not self.has_floats:
            return np.zeros(len(rows), bool)
        known: NDArray[np.bool_] = np.all(np.isfinite(self.floats[rows]), axis=1)
        return known

    def _race_chosen(self, races: Iterable[int] | None) -> NDArray[np.bool_]:
        chosen = np.full(len(self.races), races is None)
        if races is not None:
            chosen[list(races)] = True
        return chosen

    @cached_property
    def _race_of_row(self) -> Rows:
        return np.repeat(np.arange(len(self.races)), [race.rows for race in self.races])

    @cached_property
    def _race_first_tick(self) -> Rows:
        return np.array([race.first_tick for race in self.races], np.int64)

    @cached_property
    def _race_ticks(self) -> Rows:
        return np.array([race.ticks for race in self.races], np.int64)

    @cached_property
    def _stretches(self) -> Rows:
        """(N,) the number of the stretch of frames without a gap that each row is in."""
        begins = np.zeros(len(self), bool)
        begins[[race.first_row for race in self.races]] = True
        intervals = np.array([race.interval_ms for race in self.races])[self._race_of_row]
        begins[1:] |= np.diff(self.times_ms) > GAP * intervals[1:]
        return np.cumsum(begins)


def split_maps(maps: Iterable[str], val_fraction: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split maps into those for training and those for validation, the same for the same names and seed.

    Args:
        maps: their names, in any order.
        val_fraction: of the maps, rounded down, but at least one; 0: none. A single map is for training.
        seed: of the shuffle.
    """
    if not 0 <= val_fraction < 1:
        raise InvalidInputError(f"a validation share of {val_fraction}: it is at least 0 and below 1")
    names = sorted(set(maps))
    count = 0 if val_fraction == 0 or len(names) < 2 else max(1, int(len(names) * val_fraction))
    shuffled = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    return tuple(sorted(shuffled[count:])), tuple(sorted(shuffled[:count]))


def ranges_of(races: Iterable[RaceArrays]) -> Iterable[RaceRange]:
    """Yield where each race stands when they are put one after the other."""
    row = tick = 0
    for race in races:
        rows, ticks = len(race.frames), len(race.actions)
        yield RaceRange(race.map, race.name, row, rows, tick, ticks, race.usual_interval_ms, race.finished)
        row, tick = row + rows, tick + ticks


def _known(array: Floats | None, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.full(shape, np.nan, np.float32) if array is None else array.astype(np.float32)
