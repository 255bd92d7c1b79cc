"""How a run is, in a few figures: what the live table, ``tmrl-ray status`` and programs are shown.

The loop in which it is used::

    watch = Watch(run.name)
    for news in live.run():
        watch.take(news, live)
        show(watch.overview(live))
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from actors.collector_pool import Member
from actors.draw_messages import BufferStats
from actors.evaluation import Evaluation
from actors.race_report import RaceReport
from tmrl_ray.records import Records
from tmrl_ray.runs.checkpoint import CheckpointHead
from tmrl_ray.serial import News
from tmrl_ray.training import Training

RATE_S = 15.0
"""Rates are those of so many seconds."""
RACES = 6
"""The latest races that are shown."""
EVALUATIONS = 8
"""The latest evaluations, each map counting for itself."""

State = Literal["starting", "training", "paused", "stopping", "ended"]


class Live(Protocol):
    """A run under way, in one process or on a cluster."""

    training: Training
    """As its live settings have it now."""
    records: Records

    @property
    def stats(self) -> BufferStats | None:
        """Of the replay buffer, as of late."""

    @property
    def policy_version(self) -> int:
        """Of the newest weights that were published."""

    @property
    def learner_restarts(self) -> int:
        """How often the learner was started again."""

    @property
    def state(self) -> State:
        """What it does."""

    def members(self) -> list[Member]:
        """Return how the collectors are."""


@dataclass(frozen=True, kw_only=True)
class RaceLine:
    """A race of a collector."""

    collector: int
    map: str
    how: str
    """finish, stuck, time or lost."""
    finish_time_s: float | None
    """Of a whole race that was finished."""
    share: float
    """Of the line that was reached."""
    from_start_line: bool


@dataclass(frozen=True, kw_only=True)
class EvaluationLine:
    """The greedy races of an evaluation on one map."""

    minutes: float
    """Of training before it."""
    version: int
    """Of the weights."""
    map: str
    races: int
    finished: int
    best_time_s: float | None
    mean_time_s: float | None
    share: float
    """Of the line that the best of the races reached."""


@dataclass(frozen=True, kw_only=True)
class CollectorLine:
    """A member of the collectors' pool."""

    number: int
    state: str
    doing: str
    """Of its games: racing, waiting, ..."""
    restarts: int
    env_steps: int
    """Since it was started."""
    policy_version: int
    reason: str
    """Of its last crash, or why it is quarantined."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How a run is."""

    run: str
    state: State
    start_up_s: float | None
    """Until the first decision of this session; None: it is still to come."""
    minutes: float
    """Of training, earlier sessions included."""
    of_minutes: float | None
    of_env_steps: int | None
    env_steps: int
    learner_steps: int
    env_steps_per_s: float
    learner_steps_per_s: float
    samples_per_insert: float | None
    wanted_samples_per_insert: float | None
    rows: int
    window_rows: int
    policy_version: int
    learner_restarts: int
    epsilon: float | None
    """Of the latest race."""
    races: int
    """Of this session's collectors."""
    finished: int
    best_times_s: Mapping[str, float]
    """By map, of whole races of any kind."""
    references_s: Mapping[str, Mapping[str, float]]
    """By map and by what they are called."""
    first_finish_minutes: float | None
    """Minutes of training to the first finished greedy race; None: there was none yet."""
    collectors: tuple[CollectorLine, ...]
    latest_races: tuple[RaceLine, ...]
    evaluations: tuple[EvaluationLine, ...]
    checkpoint: str | None
    """The newest of this session."""
    checkpoint_age_s: float | None

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return asdict(self)


class Watch:
    """Gathers what an overview says.

    Args:
        run: name of the run.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._began_s = time.monotonic()
        self._start_up_s: float | None = None
        self._pace: deque[tuple[float, int, int]] = deque()
        self._races: deque[RaceReport] = deque(maxlen=RACES)
        self._evaluations: deque[EvaluationLine] = deque(maxlen=EVALUATIONS)
        self._driven = self._finished = 0
        self._saved: tuple[str, float] | None = None

    def take(self, news: News, live: Live) -> None:
        """Take in what happened."""
        now_s, clocks = time.monotonic(), live.records.clocks
        if self._start_up_s is None and live.records.is_counting:
            self._start_up_s = now_s - self._began_s
        self._pace.append((now_s, clocks.env_steps, clocks.learner_steps))
        while now_s - self._pace[0][0] > RATE_S:
            self._pace.popleft()
        self._races.extend(news.races)
        self._driven += len(news.races)
        self._finished += sum(race.how == "finish" for race in news.races)
        if news.evaluation is not None:
            self._evaluate(news.evaluation, clocks.training_hours * 60)
        if news.saved is not None:
            self.saved(news.saved)

    def saved(self, head: CheckpointHead) -> None:
        """Take note of a checkpoint."""
        self._saved = head.name, time.monotonic()

    def overview(self, live: Live) -> Overview:
        """Return how the run is now."""
        clocks, stats, config = live.records.clocks, live.stats, live.training.config
        env_rate, learner_rate = self._rates()
        saved = self._saved
        return Overview(
            run=self._run,
            state=live.state,
            start_up_s=self._start_up_s,
            minutes=clocks.training_hours * 60,
            of_minutes=config.training.minutes,
            of_env_steps=config.training.env_steps,
            env_steps=clocks.env_steps,
            learner_steps=clocks.learner_steps,
            env_steps_per_s=env_rate,
            learner_steps_per_s=learner_rate,
            samples_per_insert=stats.samples_per_insert if stats is not None and stats.inserted_rows else None,
            wanted_samples_per_insert=None if stats is None else stats.target_samples_per_insert,
            rows=0 if stats is None else stats.live_rows,
            window_rows=0 if stats is None else stats.window_rows,
            policy_version=live.policy_version,
            learner_restarts=live.learner_restarts,
            epsilon=self._races[-1].epsilon if self._races else None,
            races=self._driven,
            finished=self._finished,
            best_times_s=live.records.races.best_times_s(),
            references_s=live.training.references_s,
            first_finish_minutes=live.records.evaluations.first_finish_minutes,
            collectors=tuple(_collector(member) for member in live.members()),
            latest_races=tuple(_race(race) for race in self._races),
            evaluations=tuple(self._evaluations),
            checkpoint=None if saved is None else saved[0],
            checkpoint_age_s=None if saved is None else time.monotonic() - saved[1],
        )

    def _evaluate(self, evaluation: Evaluation, minutes: float) -> None:
        for result in evaluation.results:
            self._evaluations.append(
                EvaluationLine(
                    minutes=minutes,
                    version=evaluation.version,
                    map=result.map,
                    races=result.races,
                    finished=result.finished,
                    best_time_s=result.best_time_s,
                    mean_time_s=result.mean_time_s,
                    share=max(each.furthest_share for each in evaluation.reports if each.map == result.map),
                )
            )

    def _rates(self) -> tuple[float, float]:
        if len(self._pace) < 2:
            return 0.0, 0.0
        (begin_s, *begin), (end_s, *end) = self._pace[0], self._pace[-1]
        passed_s = max(end_s - begin_s, 1e-3)
        return (end[0] - begin[0]) / passed_s, (end[1] - begin[1]) / passed_s


def _race(race: RaceReport) -> RaceLine:
    return RaceLine(
        collector=race.collector,
        map=race.map,
        how=race.cut_off or race.how,
        finish_time_s=None if race.finish_time_ms is None else race.finish_time_ms / 1000,
        share=race.furthest_share,
        from_start_line=race.from_start_line,
    )


def _collector(member: Member) -> CollectorLine:
    beats = member.heartbeats
    return CollectorLine(
        number=member.number,
        state=str(member.state),
        doing=", ".join(sorted({str(beat.state) for beat in beats})),
        restarts=member.restarts,
        env_steps=sum(beat.env_steps for beat in beats),
        policy_version=min((beat.policy_version for beat in beats), default=0),
        reason=member.reason or next((beat.reason for beat in beats if beat.reason), ""),
    )
