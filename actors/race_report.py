"""The figures of one race, as a collector or the evaluator reports it: small, whatever the length of the race."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import nan
from typing import Literal

from actors.stage_times import StageTimes
from tmrl_ray.racing.rollout import RaceEnd, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceContext:
    """What is known of a race before it is driven."""

    collector: int
    """Number of the collector."""
    incarnation: int
    race_id: int
    """Number of the race within the incarnation, those included that are not stored."""
    map: str
    """Name of the map in the configuration."""
    exploration: bool
    """Whether it explores; else it is greedy."""
    stored: bool
    """Whether its steps become experience."""
    epsilon: float
    """Probability of an action by chance when it starts."""
    first_version: int
    """Of the weights at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceReport(RaceContext):
    """One race that was driven."""

    last_version: int
    """Of the weights at the end."""
    from_start_line: bool
    how: Literal["finish", "cut_off", "lost"]
    cut_off: Literal["stuck", "time"] | None
    finish_time_ms: int | None
    """Of a whole race that was finished."""
    race_time_ms: int
    """Race clock at the end."""
    split_times_ms: tuple[int, ...]
    steps: int
    metres: float
    """Progress along the line."""
    furthest_share: float
    """The furthest zone as a share of the line."""
    wall_s: float
    """Seconds that the race took, without those in which it waited for the learner."""
    waited_s: float
    """Seconds for which it waited for the learner to keep up."""
    time_ratio: float
    """Race time driven per wall time."""
    greedy_share: float
    """Share of the decisions that the policy held for the best."""
    mean_q: float
    """Mean over decisions and actions of what the policy expected; NaN: it had no such estimate."""
    mean_action_gap: float
    """Mean over decisions of the best action's value less the mean of all actions'; NaN likewise."""
    start_q: float
    """Value of the best action at the first decision; NaN likewise."""
    stage_ms: Mapping[str, float]
    """Mean time of a decision by stage: game, observe, policy, store; empty: not measured."""


@dataclass(slots=True)
class RaceFigures:
    """Adds up what a report says about the decisions of a race."""

    decisions: int = 0
    greedy: int = 0
    valued: int = 0
    """Decisions with values."""
    sum_q: float = 0.0
    sum_gap: float = 0.0
    start_q: float = nan
    waited_s: float = 0.0

    def add(self, step: Step) -> None:
        """Take in a decision."""
        decision = step.decision
        self.decisions += 1
        self.greedy += decision.greedy
        if decision.q_values is None:
            return
        best, mean = float(decision.q_values.max()), float(decision.q_values.mean())
        if self.decisions == 1:
            self.start_q = best
        self.valued += 1
        self.sum_q += mean
        self.sum_gap += best - mean

    @property
    def greedy_share(self) -> float:
        """See :class:`RaceReport`."""
        return self.greedy / self.decisions if self.decisions else nan

    @property
    def mean_q(self) -> float:
        """See :class:`RaceReport`."""
        return self.sum_q / self.valued if self.valued else nan

    @property
    def mean_action_gap(self) -> float:
        """See :class:`RaceReport`."""
        return self.sum_gap / self.valued if self.valued else nan


def report_race(
    context: RaceContext, figures: RaceFigures, end: RaceEnd, last_version: int, times: StageTimes | None = None
) -> RaceReport:
    """Return the report of a race that has ended."""
    driven_s = end.wall_s - figures.waited_s if times is None else times.race_s + times.store_s
    wall_s = max(driven_s, 1e-9)
    return RaceReport(
        **asdict(context),
        last_version=last_version,
        from_start_line=end.from_start_line,
        how=end.how,
        cut_off=end.cut_off,
        finish_time_ms=end.finish_time_ms,
        race_time_ms=end.race_time_ms,
        split_times_ms=end.split_times_ms,
        steps=end.steps,
        metres=end.metres,
        furthest_share=end.furthest_share,
        wall_s=wall_s,
        waited_s=figures.waited_s,
        time_ratio=(end.race_time_ms - end.started_ms) / 1000 / wall_s,
        greedy_share=figures.greedy_share,
        mean_q=figures.mean_q,
        mean_action_gap=figures.mean_action_gap,
        start_q=figures.start_q,
        stage_ms={} if times is None else times.per_decision_ms(figures.decisions),
    )
