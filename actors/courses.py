"""What is driven: the maps of the cycle with their reference lines, in turn, and where races on them start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.weight_fetcher import ActingPolicy
from tmrl_ray.config.collector import StartSettings
from tmrl_ray.config.race import CutOffSettings, MapEntry
from tmrl_ray.errors import ConfigError, StateError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.chunk_builder import TdErrors
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import ReferenceLine
from tmrl_ray.racing.rollout import RaceEnd
from tmrl_ray.racing.start_states import (
    Bytes,
    MixedStart,
    NearBestStart,
    RaceStart,
    ReverseCurriculum,
    StartPolicy,
    StateStore,
    UniformStart,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Course:
    """One line of the cycle of maps, with the reference line of its map."""

    entry: MapEntry
    line: ReferenceLine


@dataclass(frozen=True)
class Driving:
    """What a collector drives, and how races are seen."""

    courses: Sequence[Course]
    """The cycle of maps."""
    layout: ObservationLayout
    """Which floats are observed."""
    cut_offs: CutOffSettings
    """When a race is given up."""
    make_policy: Callable[[int], ActingPolicy]
    """Makes the policy, given the seed of all that it leaves to chance."""
    format: ChunkFormat
    """Of the chunks."""
    td_errors: TdErrors | None = None
    """Fills the TD errors of a chunk; None: they stay unknown."""


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
        self.races = offset
        """How many races into the cycle it is."""

    def next(self) -> Course:
        """Return the course of the next race."""
        course = self._races[self.races % len(self._races)]
        self.races += 1
        return course


class Starts:
    """Where the races on one map start, and the states that are kept for it.

    Args:
        settings: shares of the kinds of start.
        line: of the map.
        seed: of all that is left to chance.
    """

    def __init__(self, settings: StartSettings, line: ReferenceLine, seed: int) -> None:
        self._curriculum = ReverseCurriculum()
        policies: list[tuple[StartPolicy, float]] = [
            (RaceStart(), settings.race_start),
            (UniformStart(), settings.uniform),
            (NearBestStart(), settings.near_best),
            (self._curriculum, settings.reverse_curriculum),
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

    def state_dict(self) -> tuple[Bytes, dict[str, Any]]:
        """Return all that is needed to go on after a race: simulation states, and JSON-able values."""
        states, store = self._store.state_dict()
        return states, {
            "rng": self._rng.bit_generator.state,
            "curriculum": self._curriculum.state_dict(),
            "store": store,
        }

    def load_state_dict(self, states: Bytes, values: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            StateError: it is of another line, or of stretches of another length; nothing was changed.
        """
        self._store.load_state_dict(states, values["store"])
        self._curriculum.load_state_dict(values["curriculum"])
        self._rng.bit_generator.state = values["rng"]


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

    def state_dict(self) -> tuple[dict[str, Bytes], dict[str, Any]]:
        """Return all that is needed to go on after a race: simulation states, and JSON-able values, both by map."""
        found = {name: starts.state_dict() for name, starts in self._starts.items()}
        return {name: states for name, (states, _) in found.items()}, {name: each for name, (_, each) in found.items()}

    def load_state_dict(
        self, courses: Sequence[Course], states: Mapping[str, Bytes], values: Mapping[str, Any]
    ) -> None:
        """Go on where ``state_dict`` was taken, on the maps that are still driven as they were then.

        Args:
            courses: that are driven now.
            states: by map.
            values: by map.
        """
        driven = {course.entry.map: course for course in courses}
        for name in [name for name in values if name in driven]:
            try:
                self.on(driven[name]).load_state_dict(states[name], values[name])
            except StateError as error:
                log.warning("races on %s begin at the start line until others are saved: %s", name, error)
