"""What evaluations become as metrics, and what is kept of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.evaluation import Evaluation, MapResult
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Value


class EvaluationBook:
    """Turns evaluations into values of metrics."""

    def __init__(self) -> None:
        self.mean_time_s: float | None = None
        """Of the newest evaluation, where each of its races was finished; None: not all were."""
        self._alarms = 0
        self._first_finish_s: dict[str, float] = {}

    def add(self, evaluation: Evaluation, *, training_hours: float) -> dict[str, Value]:
        """Take in an evaluation and return its values.

        Args:
            evaluation: of all maps.
            training_hours: how far the run is.
        """
        self._alarms += evaluation.alarm is not None
        score = evaluation.score
        self.mean_time_s = score.mean_time_s if score.finished == score.races else None
        values: dict[str, Value] = {
            "evaluation/policy_version": evaluation.version,
            "evaluation/duration_s": evaluation.wall_s,
            "evaluation/alarms": self._alarms,
            "evaluation/summary": _table(evaluation),
        }
        for result in evaluation.results:
            if result.finished:
                self._first_finish_s.setdefault(result.map, 3600 * training_hours)
            furthest = [each.furthest_share for each in evaluation.reports if each.map == result.map]
            figures = _figures(result) | {"evaluation/furthest_share/{map}": float(np.mean(furthest))}
            if result.map in self._first_finish_s:
                figures["evaluation/first_finish_s/{map}"] = self._first_finish_s[result.map]
            values |= {METRICS.name(name, map=result.map): value for name, value in figures.items()}
            values |= _bounds(result)
        return values

    @property
    def first_finish_minutes(self) -> float | None:
        """Minutes of training to the first finished greedy race on any map; None: there was none yet."""
        return min(self._first_finish_s.values()) / 60 if self._first_finish_s else None

    def state_dict(self) -> dict[str, Any]:
        """Return the state, JSON-able."""
        return {
            "mean_time_s": self.mean_time_s,
            "alarms": self._alarms,
            "first_finish_s": dict(self._first_finish_s),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.mean_time_s, self._alarms = state["mean_time_s"], state["alarms"]
        self._first_finish_s = dict(state["first_finish_s"])


def _figures(result: MapResult) -> dict[str, float]:
    figures = {"evaluation/finish_rate/{map}": result.finish_rate}
    if result.best_time_s is not None and result.mean_time_s is not None:
        figures["evaluation/best_time_s/{map}"] = result.best_time_s
        figures["evaluation/time_s/{map}"] = result.mean_time_s
    return figures


def _bounds(result: MapResult) -> dict[str, Value]:
    intervals = {"evaluation/finish_rate_{bound}/{map}": result.finish_rate_interval}
    if result.mean_time_interval_s is not None:
        intervals["evaluation/time_{bound}_s/{map}"] = result.mean_time_interval_s
    return {
        METRICS.name(name, bound=bound, map=result.map): value
        for name, interval in intervals.items()
        for bound, value in interval._asdict().items()
    }


def _table(evaluation: Evaluation) -> str:
    lines = ["| map | races | finished | best | mean |", "|---|---|---|---|---|"]
    for each in evaluation.results:
        best, mean = ("-" if time_s is None else f"{time_s:.2f} s" for time_s in (each.best_time_s, each.mean_time_s))
        lines.append(f"| {each.map} | {each.races} | {each.finish_rate:.0%} | {best} | {mean} |")
    if evaluation.alarm is not None:
        lines += ["", f"Alarm: {evaluation.alarm}."]
    return "\n".join(lines)
