"""What a collector has while it drives: a race in progress, and what lasts from race to race."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.courses import Course, MapStarts
from actors.race_report import RaceContext, RaceFigures
from actors.stage_times import StageTimes
from actors.weight_fetcher import ActingPolicy, WeightFetcher
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.rollout import Rollout


@dataclass
class Race:
    """A race that is being driven."""

    course: Course
    context: RaceContext
    rollout: Rollout
    start: SavedState | None
    times: StageTimes
    waited_before_s: float
    figures: RaceFigures = field(default_factory=RaceFigures)
    saved: list[SavedState] = field(default_factory=list)


@dataclass
class Life:
    """What a collector has from its first incarnation on; only the builder changes with each."""

    policy: ActingPolicy
    fetcher: WeightFetcher
    builder: ChunkBuilder
    starts: MapStarts
