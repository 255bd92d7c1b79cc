"""What an evaluation says: finish rates and times with their intervals, and when to raise an alarm.

The interval of a finish rate is Wilson's score interval (Wilson 1927), which stays within 0 and 1 and holds for few
races and for rates of 0 and 1. The interval of a mean time is a percentile bootstrap (Efron 1979) over the finished
races; for ten races it is a little too narrow, about 90 % where 95 % is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from actors.race_report import RaceReport

_RESAMPLES = 2000


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float) -> Interval:
    """Return the interval of the probability behind ``successes`` of ``trials``.

    Raises:
        ValueError: there were no trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials have no interval")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (middle - half) / scale  # exactly, whatever rounding says
    high = 1.0 if successes == trials else (middle + half) / scale
    return Interval(low, high)


def mean_interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the interval of the mean behind ``values``, at least one; always the same for the same values."""
    array = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True)
class MapResult:
    """Greedy races on one map with the same weights."""

    map: str
    races: int
    finished: int
    finish_rate: float
    finish_rate_interval: Interval
    best_time_s: float | None
    """Of the finished races; None: there were none."""
    mean_time_s: float | None
    mean_time_interval_s: Interval | None

    @classmethod
    def of(cls, map_name: str, reports: Sequence[RaceReport], confidence: float) -> MapResult:
        """Return the result of at least one race."""
        times_s = [report.finish_time_ms / 1000 for report in reports if report.finish_time_ms is not None]
        return cls(
            map=map_name,
            races=len(reports),
            finished=len(times_s),
            finish_rate=len(times_s) / len(reports),
            finish_rate_interval=wilson_interval(len(times_s), len(reports), confidence),
            best_time_s=min(times_s, default=None),
            mean_time_s=float(np.mean(times_s)) if times_s else None,
            mean_time_interval_s=mean_interval(times_s, confidence) if times_s else None,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Races on all maps with the same weights."""

    version: int
    """Of the weights."""
    results: tuple[MapResult, ...]
    reports: tuple[RaceReport, ...]
    wall_s: float
    alarm: str | None = None
    """What is wrong; None: nothing."""

    @property
    def score(self) -> EvaluationScore:
        """What evaluations are compared by."""
        means_s = [result.mean_time_s for result in self.results if result.mean_time_s is not None]
        finished, races = (sum(getattr(each, name) for each in self.results) for name in ("finished", "races"))
        return EvaluationScore(self.version, finished, races, float(np.mean(means_s)) if means_s else None)


@dataclass(frozen=True, slots=True)
class EvaluationScore:
    """What is kept of an evaluation to compare later ones with."""

    version: int
    finished: int
    races: int
    mean_time_s: float | None
    """Mean over the maps of the mean time of finished races."""

    @property
    def rank(self) -> tuple[float, float]:
        """The higher the better: the share of finished races first, then the time."""
        return self.finished / self.races, -math.inf if self.mean_time_s is None else -self.mean_time_s

    def interval(self, confidence: float) -> Interval:
        """Return the interval of the finish rate."""
        return wilson_interval(self.finished, self.races, confidence)

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON-able values, from which ``EvaluationScore(**values)`` makes it again."""
        return {name: getattr(self, name) for name in ("version", "finished", "races", "mean_time_s")}


def alarm_text(now: EvaluationScore, best: EvaluationScore | None, confidence: float) -> str | None:
    """Return what is wrong when the finish rate is surely below the best one there was; None: nothing."""
    if best is None or now.interval(confidence).high >= best.interval(confidence).low:
        return None
    return (
        f"version {now.version} finished {now.finished} of {now.races} races, "
        f"version {best.version} had finished {best.finished} of {best.races}"
    )
