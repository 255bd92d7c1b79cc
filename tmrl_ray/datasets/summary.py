"""What is in a dataset, in figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.datasets.folder import read_race
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, ACTION_NAMES


@dataclass
class MapSummary:
    """The races on one map."""

    races: int = 0
    frames: int = 0
    times_ms: list[int] = field(default_factory=list)
    """Of the finished races."""

    def cells(self) -> list[Any]:
        """Return races, finished ones, frames, best and mean time in seconds, for a table."""
        best = f"{min(self.times_ms) / 1000:.2f}" if self.times_ms else None
        mean = f"{np.mean(self.times_ms) / 1000:.2f}" if self.times_ms else None
        return [self.races, len(self.times_ms), self.frames, best, mean]


@dataclass
class Summary:
    """A dataset in figures."""

    maps: dict[str, MapSummary] = field(default_factory=dict)
    sizes: set[str] = field(default_factory=set)
    intervals_ms: set[float] = field(default_factory=set)
    drivers: set[str] = field(default_factory=set)
    schemas: set[int] = field(default_factory=set)
    with_states: int = 0
    ticks: NDArray[np.int64] = field(default_factory=lambda: np.zeros(ACTION_COUNT, np.int64))
    """(A,) for how many ticks each action was held."""

    @property
    def races(self) -> int:
        """How many there are."""
        return sum(each.races for each in self.maps.values())

    @property
    def shares(self) -> dict[str, float]:
        """How much of the time each action was held, the most frequent first."""
        total = max(1, int(self.ticks.sum()))
        order = np.argsort(-self.ticks, kind="stable")
        return {ACTION_NAMES[action]: self.ticks[action] / total for action in order if self.ticks[action]}

    def facts(self) -> dict[str, str]:
        """Return the figures in words."""
        return {
            "races": f"{self.races} on {len(self.maps)} maps, {self.with_states} with the car's states",
            "race time": f"{TICK_MS * int(self.ticks.sum()) / 60_000:.1f} min with known actions",
            "frames": f"{', '.join(sorted(self.sizes))} pixels, every {_listed(self.intervals_ms)} ms",
            "drivers": ", ".join(sorted(self.drivers)) or "not known",
            "schema": f"{_listed(self.schemas)} (0: of other tools)",
            "held": ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items()) or "not known",
        }

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "races": self.races,
            "with_states": self.with_states,
            "sizes": sorted(self.sizes),
            "intervals_ms": sorted(self.intervals_ms),
            "drivers": sorted(self.drivers),
            "schema_versions": sorted(self.schemas),
            "held": {name: round(share, 5) for name, share in self.shares.items()},
            "maps": {
                name: {"races": each.races, "frames": each.frames, "finish_times_ms": each.times_ms}
                for name, each in self.maps.items()
            },
        }


def summarise(folders: Sequence[Path], told: Callable[[int], None]) -> Summary:
    """Return the figures of races.

    Args:
        folders: of the races.
        told: is told how many are read.

    Raises:
        DatasetError: a race cannot be read.
    """
    summary = Summary()
    for number, folder in enumerate(folders, start=1):
        race = read_race(folder)
        facts, on_map = race.facts, summary.maps.setdefault(race.facts.map, MapSummary())
        on_map.races += 1
        on_map.frames += len(race.entries)
        if facts.finished and facts.race_time_ms is not None:
            on_map.times_ms.append(facts.race_time_ms)
        if facts.size is not None:
            summary.sizes.add(f"{facts.size[0]}x{facts.size[1]}")
        if race.interval_ms is not None:
            summary.intervals_ms.add(round(race.interval_ms, 3))
        if (driver := facts.more.get("driver")) is not None:
            summary.drivers.add(str(driver))
        summary.schemas.add(facts.schema_version)
        summary.with_states += race.states is not None
        if race.timeline is not None or any(entry.action is not None for entry in race.entries):
            summary.ticks += np.bincount(race.actions, minlength=256)[:ACTION_COUNT]
        told(number)
    return summary


def _listed(numbers: set[int] | set[float]) -> str:
    return ", ".join(f"{number:g}" for number in sorted(numbers)) or "?"
