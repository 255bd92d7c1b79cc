"""Collectors that remember every step that they sent, to hold against what is drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.experience.races import How, MadeUpRaces
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.ring import Ring
from tmrl_ray.racing.rollout import RaceEnd, Step


def guarded(ring: Ring, rows: np.ndarray) -> np.ndarray:
    """Return which rows lie in the guard band ahead of the writer: live perhaps, but not to be drawn."""
    ahead: np.ndarray = (rows - ring._newest.cursor) % ring.rows
    return ahead < ring._files.description.guard_rows


class SentRace(NamedTuple):
    """A race as it was driven."""

    steps: list[Step]
    end: RaceEnd
    version: int

    @property
    def frames(self) -> list[np.ndarray | None]:
        return [*(step.frame for step in self.steps), self.end.frame]

    @property
    def floats(self) -> list[np.ndarray]:
        return [*(step.floats for step in self.steps), self.end.floats]


class SentStep(NamedTuple):
    """Where a step belongs."""

    race: SentRace
    number: int


class JournalledCollector:
    """Drives made-up races, mostly greedily, and remembers each step by its ``metres``, which is different for all.

    Args:
        ring: that grants the incarnation.
        number: of the collector.
        greedy_share: of the decisions.
    """

    def __init__(self, ring: Ring, number: int = 0, *, seed: int = 0, greedy_share: float = 0.7) -> None:
        self.races = MadeUpRaces(seed, ring.format, made=100_000 * number)
        self.builder = ChunkBuilder(ring.format, number, ring.grant(number))
        self.sent: dict[float, SentStep] = {}
        self._rng = np.random.default_rng(seed)
        self._greedy_share = greedy_share

    def race(self, steps: int, how: How = "finish", *, flushes: frozenset[int] = frozenset()) -> list[Chunk]:
        """Return the chunks of a race."""
        driven, chunks = [], []
        version = self.builder.race_id
        for number in range(steps):
            step = self.races.step(number)
            greedy = bool(self._rng.random() < self._greedy_share)
            object.__setattr__(step, "decision", step.decision._replace(greedy=greedy))
            driven.append(step)
            chunks += self.builder.add(step, policy_version=version)
            if number in flushes:
                chunks += self.builder.flush()
        end = self.races.end(steps, how)
        race = SentRace(driven, end, version)
        for number, step in enumerate(driven):
            self.sent[step.metres] = SentStep(race, number)
        return chunks + self.builder.end(end)
