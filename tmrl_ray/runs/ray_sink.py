"""Metrics for Ray's dashboard, Prometheus and Grafana: ``ray_tmrl_...``, with the run as a label.

Counters stand at the total of the run, over all of its sessions. The names are those of the observability contract
(``Metric.ray_name``); what fills a place in a name is a label. Texts are left out. The only module of this package that
needs Ray, and only once a sink is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.metrics import Kind, Metric, Registry
from tmrl_ray.runs.recorder import Row

RUN = "run"
"""Label of all metrics."""
MOST_OBSERVATIONS = 2000
"""Ray takes the values of a histogram one at a time, at a microsecond each: of more than these, as many stand for all,
so that shares are right and counts are too low."""


class RaySink:
    """Sets Ray's metrics in this process, which must belong to a Ray cluster.

    Args:
        run: name of the run.
        registry: what is declared.
    """

    name = "ray"

    def __init__(self, run: str, *, registry: Registry = METRICS) -> None:
        self._run = run
        self._registry = registry
        self._totals: dict[str, float] = {}
        self._metrics: dict[str, Any] = {}

    def write(self, row: Row) -> None:
        """Set the metrics to the values of a row."""
        values: dict[str, Value] = {
            **row.values,
            "clock/learner_steps": row.clocks.learner_steps,
            "clock/training_hours": row.clocks.training_hours,
        }
        for name, value in values.items():
            self._set(name, value)

    def close(self) -> None:
        """Do nothing: Ray exports by itself."""

    def _set(self, name: str, value: Value) -> None:
        resolved = self._registry.resolve(name)
        if isinstance(value, str):
            return
        metric, tags = self._metric(resolved.metric), {RUN: self._run, **resolved.labels}
        if isinstance(value, Distribution):
            for each in representatives(value):
                metric.observe(each, tags=tags)
        elif resolved.metric.kind is Kind.COUNTER:
            grown = value - self._totals.get(name, 0.0)
            self._totals[name] = value
            if grown > 0:
                metric.inc(float(grown), tags=tags)
        else:
            metric.set(float(value), tags=tags)

    def _metric(self, metric: Metric) -> Any:
        """Return Ray's metric, made when it is used for the first time."""
        from ray.util.metrics import Counter, Gauge, Histogram

        name = metric.ray_name
        if name not in self._metrics:
            keys = (RUN, *(place.label for place in metric.places))
            description = f"{metric.help} [{metric.unit}]" if metric.unit else metric.help
            made: Counter | Gauge | Histogram
            if metric.kind is Kind.HISTOGRAM:
                made = Histogram(name, description, boundaries=list(metric.bounds), tag_keys=keys)
            else:
                made = (Counter if metric.kind is Kind.COUNTER else Gauge)(name, description, tag_keys=keys)
            self._metrics[name] = made
        return self._metrics[name]


def representatives(value: Distribution) -> list[float]:
    """Return as many numbers in each bucket as there were, or so many in all that their shares are nearly the same."""
    counts = value.counts
    if value.count > MOST_OBSERVATIONS:
        counts = np.round(counts * (MOST_OBSERVATIONS / value.count)).astype(np.int64)
    return np.repeat(value.edges().mean(axis=1), counts).tolist()
