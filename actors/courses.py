"""What is driven: the maps of the cycle with their reference lines, in turn, and where races on them start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tmrl_ray.config.collector import StartSettings
from tmrl_ray.config.race import MapEntry
from tmrl_ray.errors import ConfigError
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.reference_line import ReferenceLine
from tmrl_ray.racing.rollout import RaceEnd
from tmrl_ray.racing.start_states import (
    MixedStart,
    NearBestStart,
    RaceStart,
    ReverseCurriculum,
    StartPolicy,
    StateStore,
    UniformStart,
)


@dataclass(frozen=True)
class Course:
    """One line of the cycle of maps, with the reference line of its map."""

    entry: MapEntry
    line: ReferenceLine


class CourseCycle:
    """Gives out courses in their order, each as often as it says, round and round.

    Args:
        courses: the cycle.
        offset: how many races into the cycle it begins; collectors with different ones measure at different times.

    Raises:
        ConfigError: there is no course.
    """

    def __init__(self, courses: Sequence[Course], offset: int = 0) -> None:
        self._races = [course for course in courses for _ in range(course.entry.repeat)]
        if not self._races:
            raise ConfigError("there is no map to drive on", hint="Name one under maps:")
        self._next = offset % len(self._races)

    def next(self) -> Course:
        """Return the course of the next race."""
        course = self._races[self._next]
        self._next = (self._next + 1) % len(self._races)
        return course


class Starts:
    """Where the races on one map start, and the states that are kept for it.

    Args:
        settings: shares of the kinds of start.
        line: of the map.
        seed: of all that is left to chance.
    """

    def __init__(self, settings: StartSettings, line: ReferenceLine, seed: int) -> None:
        policies: list[tuple[StartPolicy, float]] = [
            (RaceStart(), settings.race_start),
            (UniformStart(), settings.uniform),
            (NearBestStart(), settings.near_best),
            (ReverseCurriculum(), settings.reverse_curriculum),
        ]
        self._settings = settings
        self._policy = MixedStart([(policy, share) for policy, share in policies if share > 0])
        self._store = StateStore(line, seed=seed, stretch_m=settings.stretch_m, per_stretch=settings.per_stretch)
        self._rng = np.random.default_rng(seed)

    def draw(self) -> SavedState | None:
        """Return where the next race starts; None: at the start line."""
        return self._policy.draw(self._store, self._rng)

    def is_due(self, race_time_ms: int, saved: Sequence[SavedState]) -> bool:
        """Return whether another state of a race is to be saved.

        Args:
            race_time_ms: race clock now.
            saved: the race's states so far.
        """
        if not self._settings.saves_states:
            return False
        return not saved or race_time_ms - saved[-1].race_time_ms >= self._settings.save_every_ms

    def finished(self, start: SavedState | None, saved: Sequence[SavedState], end: RaceEnd) -> None:
        """Hear how a race went that started from ``start``, and keep its states."""
        self._policy.report(start, end)
        self._store.add(saved, end)


class MapStarts:
    """The starts on each map that is driven.

    Args:
        settings: shares of the kinds of start.
        seed: of all that is left to chance.
    """

    def __init__(self, settings: StartSettings, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._starts: dict[str, Starts] = {}

    def on(self, course: Course) -> Starts:
        """Return where races on the course's map start; courses on one map share it."""
        name = course.entry.map
        if name not in self._starts:
            self._starts[name] = Starts(self._settings, course.line, self._seed + len(self._starts))
        return self._starts[name]
