"""Recorded races as demonstrations: rows of replay, as a collector would have sent them had it driven the race.

A decision is taken each period from the start on; its action is the one that was held for most of the period. What the
agent would have seen is worked out anew along the line of the training: zone, way-points, distance to the finish and
the terms of the reward are those of training, also where the race was recorded along another line or at another pace.

Where a picture, a state or an action is missing, the race is taken apart: the stretch before it ends as one whose game
was lost, so that no value reaches beyond what is known.

Shape letters: K decisions of a race, F floats of an observation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tmrl_ray.datasets.race import Race
from tmrl_ray.datasets.states import RaceStates, floats_at
from tmrl_ray.errors import DatasetError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, ACTION_KEYS, FORWARD
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import Point, ReferenceLine
from tmrl_ray.racing.reward import measure_terms
from tmrl_ray.racing.rollout import Decision, Floats, Frame, RaceEnd, Step

Numbers = NDArray[np.int64]


class DemonstrationReader:
    """Turns recorded races of one map into chunks.

    Args:
        line: of the map, as in training.
        layout: which floats are observed.
        period_ms: between two decisions.
        frame_size: width and height of the pictures; None: the agent sees none.

    Raises:
        LineError: the line does not go on far enough after the finish for the way-points.
    """

    def __init__(
        self, line: ReferenceLine, layout: ObservationLayout, *, period_ms: int, frame_size: tuple[int, int] | None
    ) -> None:
        Observer(line, layout)  # sees that the line goes on far enough
        self.line = line
        self.layout = layout
        self.period_ms = period_ms
        self.frame_size = frame_size

    def chunks(self, race: Race, builder: ChunkBuilder) -> Iterator[Chunk]:
        """Yield the chunks of a race, which ``builder`` numbers.

        Raises:
            DatasetError: the race has no states, or no decision of which all is known.
        """
        seen = _Seen(self, race)
        stretches = list(seen.stretches())
        if not stretches:
            raise DatasetError(
                f"race {race.label}: picture, state and action are not known at any two moments {self.period_ms} ms "
                "apart, which is how often a decision is taken",
                hint=f"Record races with a picture each {self.period_ms} ms, or each divisor of that.",
            )
        for first, after in stretches:
            for number in range(first, after):
                yield from builder.add(seen.step(number))
            yield from builder.end(seen.end(first, after))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the car is along the line of the training."""

    zone: int
    furthest_zone: int
    metres: float
    metres_left: float


class _Seen:
    """What an agent would have seen of a race, moment by moment: at each decision, and at the end."""

    def __init__(self, reader: DemonstrationReader, race: Race) -> None:
        if race.states is None or not len(race.states):
            raise DatasetError(
                f"race {race.label} says nothing of the car's state, of which floats and rewards are made",
                hint="Such a race is of use for its pictures only.",
            )
        self._reader, self._race = reader, race
        states = race.states
        end_ms = race.facts.race_time_ms or int(states.times_ms[-1])
        self._times_ms: Numbers = np.append(np.arange(0, end_ms, reader.period_ms), end_ms)  # (K + 1,)
        self._actions = self._held()
        rows = states.rows_at(self._times_ms)
        self._places = self._drive_along(states, rows)
        self._floats = self._observed(states, rows)
        self._pictures = self._pictured()
        known = np.isfinite(self._floats).all(axis=1) & ((self._pictures >= 0) | (reader.frame_size is None))
        self._usable = known[:-1] & known[1:] & (self._actions != NO_ACTION)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Yield the first decision of each stretch of which all is known, and the moment after its last one."""
        padded = np.concatenate([[False], self._usable, [False]])
        borders = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
        yield from zip(borders[::2], borders[1::2], strict=True)

    def step(self, number: int) -> Step:
        """Return a decision and what it led to."""
        here, there = self._places[number], self._places[number + 1]
        action = int(self._actions[number])
        terms = measure_terms(
            self._reader.layout,
            self._floats[number],
            self._floats[number + 1],
            action=action,
            elapsed_ms=int(self._times_ms[number + 1] - self._times_ms[number]),
            advanced_m=there.metres - here.metres,
            finished=self._finishes(number + 1),
        )
        return Step(
            self._frame(number), self._floats[number], Decision(action), terms,
            int(self._times_ms[number]), here.zone, here.metres,
        )  # fmt: skip

    def end(self, first: int, after: int) -> RaceEnd:
        """Return how the stretch of the decisions ``first`` to ``after`` - 1 ended."""
        place, line = self._places[after], self._reader.line
        is_last = after == len(self._actions)
        return RaceEnd(
            how="finish" if self._finishes(after) else "cut_off" if is_last else "lost",
            cut_off=None,
            lost=None,
            frame=self._frame(after),
            floats=self._floats[after],
            race_time_ms=int(self._times_ms[after]),
            started_ms=int(self._times_ms[first]),
            from_start_line=first == 0,
            split_times_ms=(),
            steps=after - first,
            metres=place.metres,
            furthest_zone=place.furthest_zone,
            furthest_share=max(0.0, (place.furthest_zone - line.first_zone) / (line.last_zone - line.first_zone)),
            wall_s=0.0,
        )

    def _finishes(self, moment: int) -> bool:
        return moment == len(self._actions) and bool(self._race.facts.finished)

    def _held(self) -> Numbers:
        """Return (K,) what was held for most of each period, the earlier one of two that were held as long."""
        ticks = np.minimum(self._times_ms // TICK_MS, len(self._race.actions))
        held = [self._race.actions[first:after] for first, after in pairwise(ticks)]
        counts = [np.bincount(each[each < ACTION_COUNT], minlength=ACTION_COUNT) for each in held]
        chosen = []
        for each, count in zip(held, counts, strict=True):
            longest = np.flatnonzero(count == count.max()) if count.any() else np.array([NO_ACTION])
            chosen.append(next((int(action) for action in each if action in longest), NO_ACTION))
        return np.array(chosen, np.int64)

    def _drive_along(self, states: RaceStates, rows: Numbers) -> list[_Place]:
        """Return where the car is at each moment; where nothing is known, where it was before."""
        progress, places = Progress(self._reader.line), list[_Place]()
        for moment, row in enumerate(rows.tolist()):
            position = _point(states.position[row])
            if moment == 0:
                progress.begin(position)
            elif self._finishes(moment):
                progress.finish()
            elif row >= 0:
                progress.update(position)
            places.append(_Place(progress.zone, progress.furthest_zone, progress.metres, progress.metres_left))
        return places

    def _observed(self, states: RaceStates, rows: Numbers) -> Floats:
        """Return the floats (K + 1, F), NaN where the state is not known."""
        reader, layout = self._reader, self._reader.layout
        floats = floats_at(states, self._race.actions, self._times_ms, layout, period_ms=reader.period_ms)
        remembered = np.tile(ACTION_KEYS[FORWARD], (layout.settings.previous_actions, 1))
        gearbox_count, zones = 0, layout.settings.way_point_zones
        for moment, place in enumerate(self._places):
            seen = floats[moment]
            gearbox_count = gearbox_count + 1 if seen[layout.gearbox_state] else 0
            if moment and len(remembered) and self._actions[moment - 1] != NO_ACTION:
                remembered = np.vstack([remembered[1:], ACTION_KEYS[self._actions[moment - 1]]])
            if rows[moment] < 0 or not np.isfinite(seen).all():
                seen[:] = np.nan
                continue
            seen[layout.previous_actions] = remembered.ravel()
            seen[layout.gearbox_count] = gearbox_count
            ahead = reader.line.zones[place.zone : place.zone + layout.zones_ahead + 1 : zones]
            rotation = states.rotation[rows[moment]].reshape(3, 3).astype(np.float64)
            seen[layout.way_points] = ((ahead - states.position[rows[moment]]) @ rotation.T).ravel()
            seen[layout.metres_left] = min(layout.settings.finish_margin_m, place.metres_left)
        return floats

    def _pictured(self) -> Numbers:
        """Return (K + 1,) the number of the picture of each moment, -1 where there is none of just that time."""
        numbers = {entry.time_ms: number for number, entry in enumerate(self._race.entries)}
        return np.array([numbers.get(time_ms, -1) for time_ms in self._times_ms.tolist()], np.int64)

    def _frame(self, moment: int) -> Frame | None:
        size = self._reader.frame_size
        if size is None:
            return None
        frame = self._race.frame(int(self._pictures[moment]))
        if frame.shape != (size[1], size[0]):  # the area average, as the game draws a smaller picture
            frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
        return frame


def _point(position: Floats) -> Point:
    x, y, z = position.tolist()
    return x, y, z
