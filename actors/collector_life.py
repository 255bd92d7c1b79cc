"""What a collector reaches, and has while it drives: a race in progress, and what lasts from race to race."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.courses import Course, Driving, MapStarts
from actors.game_keeper import GameKeeper
from actors.race_report import RaceContext, RaceFigures
from actors.sender import ExperienceSink
from actors.stage_times import StageTimes
from actors.weight_fetcher import ActingPolicy, WeightFetcher
from actors.weight_store import WeightSource
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.errors import CheckpointError
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.rollout import Rollout
from tmrl_ray.racing.start_states import Bytes
from tmrl_ray.runs.checkpoint_files import ArrayLike

if TYPE_CHECKING:
    from torch import Tensor

STATE_FORMAT = 1
_STATES, _WEIGHTS = "states.", "weights."


@dataclass(frozen=True)
class Ports:
    """All that a collector reaches beyond itself."""

    game: GameKeeper
    sink: ExperienceSink
    weights: WeightSource
    clock: Callable[[], float] = time.monotonic
    """Tells seconds."""
    sleep: Callable[[float], None] = time.sleep
    """Waits so many seconds."""
    stopwatch: Callable[[], float] = time.perf_counter
    """Tells seconds, for metrics only."""
    newest_version: Callable[[], int] = int
    """Tells the newest weights that can be fetched, where that is known without asking."""


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

    def state_dict(self) -> tuple[dict[str, ArrayLike], dict[str, Any]]:
        """Return all that is needed to go on after a race: arrays by name, and JSON-able values."""
        states, starts = self.starts.state_dict()
        arrays: dict[str, ArrayLike] = {_STATES + name: each for name, each in states.items()}
        arrays |= {_WEIGHTS + name: each for name, each in self.policy.weights().items()}
        return arrays, {
            "incarnation": self.builder.incarnation,
            "sequence": self.builder.sequence,
            "race_id": self.builder.race_id,
            "version": self.policy.version,
            "chance": self.policy.state_dict(),
            "starts": starts,
        }

    def go_on_from(self, saved: SavedLife, courses: Sequence[Course]) -> None:
        """Begin races where they would have begun then; in the same incarnation go on with everything else too."""
        self.starts.load_state_dict(courses, saved.states, saved.values["starts"])
        if saved.incarnation != self.builder.incarnation:
            return
        self.builder.sequence, self.builder.race_id = saved.values["sequence"], saved.values["race_id"]
        self.policy.load(saved.weights, version=saved.values["version"])
        self.policy.load_state_dict(saved.values["chance"])
        self.fetcher.asked_for = saved.values["version"]


@dataclass(frozen=True)
class SavedLife:
    """What ``Life.state_dict`` returned, when it was read again."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    @property
    def incarnation(self) -> int:
        """What the collector called itself."""
        return int(self.values["incarnation"])

    @property
    def states(self) -> dict[str, Bytes]:
        """Simulation states by map."""
        return {name: tensor.numpy() for name, tensor in self._below(_STATES).items()}

    @property
    def weights(self) -> dict[str, Tensor]:
        """What it acted with."""
        return self._below(_WEIGHTS)

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def check_format(values: Mapping[str, Any]) -> None:
    """See that the state of a collector is of the present format.

    Raises:
        CheckpointError: it is not.
    """
    if values["format"] != STATE_FORMAT:
        raise CheckpointError(
            f"the collector's state has format {values['format']}, this version of tmrl_ray reads {STATE_FORMAT}",
            hint="Resume with the version of tmrl_ray that wrote it, or replace --resume by --restart.",
        )


def begin_life(  # noqa: PLR0913 - what it is made of
    builder: ChunkBuilder,
    settings: CollectorSettings,
    driving: Driving,
    ports: Ports,
    *,
    run_seed: int,
    fetched: Callable[[float], None],
    saved: SavedLife | None = None,
) -> Life:
    """Return the life of a collector that ``builder`` names, whose chance follows from its incarnation.

    Args:
        builder: of its chunks.
        settings: how it starts races.
        driving: what is driven.
        ports: the weights and the clock.
        run_seed: seed of the run.
        fetched: is told how many seconds it took until newer weights acted.
        saved: to go on from; None: it is new.
    """
    number = builder.collector
    seeds = np.random.SeedSequence((run_seed, number, builder.incarnation)).generate_state(2)
    policy, patience_s = driving.make_policy(int(seeds[0])), settings.fetch_s
    fetcher = WeightFetcher(ports.weights, policy, number, patience_s=patience_s, clock=ports.clock, fetched=fetched)
    life = Life(policy, fetcher, builder, MapStarts(settings.starts, int(seeds[1])))
    if saved is not None:
        life.go_on_from(saved, driving.courses)
    return life
