"""Puts rows of metrics on the record: the one place through which all of them go.

A row has values, and how far the run was by each of its clocks. Rows come in the order of env steps, which is the step
axis wherever they are shown. Names that are not declared, and values of another kind, raise before anything is
written; values that are not finite are left out and counted.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.meter import DROPPED, Value
from tmrl_ray.runs.metrics import Kind, Registry

log = logging.getLogger(__name__)

FAILED = "metrics/failed_writes/{sink}"


@dataclass(frozen=True)
class Row:
    """Values of metrics at one moment of a run."""

    clocks: Clocks
    time_s: float
    """Unix time."""
    values: Mapping[str, Value]


@runtime_checkable
class Sink(Protocol):
    """Where rows go."""

    name: str
    """For what is wrong with it; a label."""

    def write(self, row: Row) -> None:
        """Take a row. May raise OSError; then the row is lost, and the next one is tried again."""

    def close(self) -> None:
        """Write what is still to be written. May raise OSError."""


class NullSink:
    """Takes rows and does nothing with them."""

    name = "null"

    def write(self, row: Row) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Recorder:
    """Checks rows and hands them to sinks; any thread may write one.

    A sink that cannot write, because its disk is full for example, loses rows and stops nobody: that is logged at
    first and counted each time.

    Args:
        sinks: where rows go.
        registry: what is declared.
    """

    def __init__(self, sinks: Iterable[Sink] = (), *, registry: Registry = METRICS) -> None:
        self._sinks = list(sinks)
        self._registry = registry
        self._failed = {sink.name: 0 for sink in self._sinks}
        self._dropped = 0
        self._told: dict[str, Value] = {}
        self._env_steps = 0
        self._lock = threading.Lock()

    def write(self, values: Mapping[str, Value], clocks: Clocks, *, time_s: float | None = None) -> Row:
        """Record a row and return it as it was recorded.

        Args:
            values: by the filled names of metrics.
            clocks: how far the run is; its env steps never go back.
            time_s: Unix time; None: now.

        Raises:
            ValueError: a name is not declared, a value is of another kind, or env steps went back. Nothing was written.
        """
        for name, value in values.items():
            self._check(name, value)
        with self._lock:
            if clocks.env_steps < self._env_steps:
                raise ValueError(f"a row at {clocks.env_steps} env steps comes after one at {self._env_steps}")
            self._env_steps = clocks.env_steps
            row = Row(clocks, time.time() if time_s is None else time_s, self._finite(values) | self._own())
            for sink in self._sinks:
                self._write_to(sink, row)
        return row

    def close(self) -> None:
        """Close all sinks."""
        with self._lock:
            for sink in self._sinks:
                try:
                    sink.close()
                except OSError as error:
                    log.error("the metrics of the sink %s may not be complete: %s", sink.name, error)
            self._sinks = []

    def _check(self, name: str, value: Value) -> None:
        if isinstance(value, Distribution):
            metric = self._registry.expect(name, Kind.HISTOGRAM)
            if metric.bounds != value.bounds:
                raise ValueError(f"{name} has other buckets than those that are declared")
        elif isinstance(value, str):
            self._registry.expect(name, Kind.TEXT)
        else:
            self._registry.expect(name, Kind.SCALAR, Kind.COUNTER)

    def _finite(self, values: Mapping[str, Value]) -> dict[str, Value]:
        plain = {name: _plain(value) for name, value in values.items()}
        finite = {name: value for name, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}
        if len(finite) < len(values):
            self._dropped += len(values) - len(finite)
            log.warning("values that are not finite are left out: %s", ", ".join(sorted(values.keys() - finite.keys())))
        return finite

    def _own(self) -> dict[str, Value]:
        """Return what the recorder has to tell of itself that it has not told yet."""
        own: dict[str, Value] = {self._registry.name(FAILED, sink=sink): n for sink, n in self._failed.items()}
        own[self._registry.name(DROPPED, component="recorder")] = self._dropped
        news = {name: value for name, value in own.items() if self._told.get(name) != value}
        self._told = own
        return news

    def _write_to(self, sink: Sink, row: Row) -> None:
        try:
            sink.write(row)
        except OSError as error:
            if not self._failed[sink.name]:
                log.error("the sink %s of the metrics lost a row: %s", sink.name, error)
            self._failed[sink.name] += 1


def _plain(value: Value) -> Value:
    """Return a number of numpy's as one of Python's."""
    return value if isinstance(value, int | str | Distribution) else float(value)
