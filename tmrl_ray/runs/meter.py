"""Collects values of metrics in a component, until somebody asks for a row of them.

The loop in which it is used::

    meter = Meter("learner")
    while True:
        with meter.time("learner/step_ms"):
            update.step(batch)
        meter.add("learner/samples", len(batch))
        meter.set("learner/learning_rate", rate)
        ...
        values = meter.row()          every few seconds

A component in a process of its own is asked to :meth:`Meter.tell` instead; the meter of whoever asked takes that in.

Names that are not declared raise at once. Values that are not finite are left out, counted and named in the log once.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.distribution import Distribution, DistributionWindow
from tmrl_ray.runs.metrics import Kind, Registry

log = logging.getLogger(__name__)

Value = float | int | str | Distribution
"""Of a scalar or a counter a number, of a text a string, of a histogram a distribution."""
DROPPED = "metrics/dropped_values/{component}"
MOST_SOURCES = 4096
"""Meters of which the totals are remembered that they told last; more would be a leak somewhere."""


@dataclass(frozen=True)
class Telling:
    """What a meter tells another one; small, and may be sent to another process."""

    source: str
    """Which meter; one that was made anew, after a kill, is another one, and its counters began at 0."""
    values: Mapping[str, Value]
    """Since the last telling; totals of counters since the meter was made. One that gets lost costs no count."""


class Meter:
    """Values of one component; any thread may give some.

    Args:
        component: its name, for what is wrong with its values.
        registry: what is declared.
        clock: tells seconds, for rates.
    """

    def __init__(
        self, component: str, *, registry: Registry = METRICS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._source = f"{component}-{secrets.token_hex(6)}"
        self._told: dict[str, dict[str, float]] = {}  # by source, the totals that it told last
        self._dropped = registry.name(DROPPED, component=component)
        self._named: set[str] = set()
        self._lock = threading.Lock()
        self._latest: dict[str, float | str] = {}
        self._sums: dict[str, tuple[float, int]] = {}
        self._windows: dict[str, DistributionWindow] = {}
        self._totals: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._since_s = clock()

    def add(self, name: str, amount: float = 1) -> None:
        """Add to a counter.

        Raises:
            ValueError: it is no declared counter, or the amount is negative.
        """
        self._registry.expect(name, Kind.COUNTER)
        if amount < 0:
            raise ValueError(f"the counter {name} cannot go down by {-amount}")
        with self._lock:
            if self._is_finite(name, amount):
                self._totals[name] = self._totals.get(name, 0) + amount

    def count_to(self, name: str, total: float) -> None:
        """Set a counter to a total that somebody else keeps; one that went down is taken as it is.

        Raises:
            ValueError: it is no declared counter.
        """
        self._registry.expect(name, Kind.COUNTER)
        with self._lock:
            if self._is_finite(name, total):
                self._totals[name] = total

    def set(self, name: str, value: float | str) -> None:
        """Say what a scalar or a text is now; the latest of a row counts.

        Raises:
            ValueError: it is no declared scalar or text.
        """
        self._registry.expect(name, Kind.TEXT if isinstance(value, str) else Kind.SCALAR)
        with self._lock:
            if isinstance(value, str) or self._is_finite(name, value):
                self._latest[name] = value

    def observe(self, name: str, value: float) -> None:
        """Take in one of many values: of a histogram, or of a scalar that is told as their mean.

        Raises:
            ValueError: it is neither.
        """
        metric = self._registry.expect(name, Kind.SCALAR, Kind.HISTOGRAM)
        with self._lock:
            if not self._is_finite(name, value):
                return
            if metric.kind is Kind.HISTOGRAM:
                self._window(name, metric.bounds).add(value)
            else:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, count + 1

    def observe_all(self, name: str, values: ArrayLike) -> None:
        """Take in values of a histogram, of any shape.

        Raises:
            ValueError: it is no declared histogram.
        """
        metric = self._registry.expect(name, Kind.HISTOGRAM)
        array = np.asarray(values, dtype=np.float64)
        finite = np.isfinite(array)
        with self._lock:
            if not finite.all():
                self._drop(name, int(array.size - np.count_nonzero(finite)))
            self._window(name, metric.bounds).add_all(array[finite])

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Observe how many milliseconds something takes, if it does not fail."""
        started = time.perf_counter()
        yield
        self.observe(name, 1000 * (time.perf_counter() - started))

    def row(self) -> dict[str, Value]:
        """Return the values since the last row, totals of counters included, and begin anew."""
        with self._lock:
            now_s = self._clock()
            values = self._take() | self._rates(now_s - self._since_s)
            self._before, self._since_s = dict(self._totals), now_s
        return values

    def tell(self) -> Telling:
        """Return the same for another meter, which works out rates by itself."""
        with self._lock:
            return Telling(self._source, self._take())

    def take_in(self, telling: Telling) -> None:
        """Take in what another meter tells: its counters add to those here.

        Raises:
            ValueError: something of it is not declared.
        """
        with self._lock:
            if telling.source not in self._told and len(self._told) >= MOST_SOURCES:
                del self._told[next(iter(self._told))]
            told = self._told.setdefault(telling.source, {})
            for name, value in telling.values.items():
                metric = self._registry.resolve(name).metric
                if isinstance(value, Distribution):
                    self._window(name, metric.bounds).merge(value)
                elif isinstance(value, str) or metric.kind is not Kind.COUNTER:
                    self._latest[name] = value
                else:
                    self._totals[name] = self._totals.get(name, 0) + value - told.get(name, 0)
                    told[name] = value

    def state_dict(self) -> dict[str, float]:
        """Return the totals of the counters: what a resumed run goes on from."""
        with self._lock:
            return dict(self._totals)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from the totals of :meth:`state_dict`; those that are no longer declared are left out."""
        with self._lock:
            for name, total in state.items():
                try:
                    self._registry.expect(name, Kind.COUNTER)
                except ValueError:
                    log.info("the counter %s is no longer declared", name)
                    continue
                self._totals[name] = total
            self._before = dict(self._totals)

    def _take(self) -> dict[str, Value]:
        """Return what was given since the last call, and totals; hold the lock."""
        values: dict[str, Value] = {**self._latest, **self._totals}
        values |= {name: total / count for name, (total, count) in self._sums.items()}
        taken = ((name, window.take()) for name, window in self._windows.items())
        values |= {name: distribution for name, distribution in taken if distribution is not None}
        self._latest, self._sums = {}, {}
        return values

    def _rates(self, passed_s: float) -> dict[str, Value]:
        rates: dict[str, Value] = {}
        for name, total in self._totals.items():
            counter = self._registry.resolve(name)
            metric = self._registry.rates.get(counter.metric.name)
            if metric is not None and passed_s > 0:
                grown = max(0.0, total - self._before.get(name, 0.0))
                rates[metric.fill(counter.labels)] = grown / passed_s
        return rates

    def _window(self, name: str, bounds: tuple[float, ...]) -> DistributionWindow:
        if name not in self._windows:
            self._windows[name] = DistributionWindow(bounds)
        return self._windows[name]

    def _is_finite(self, name: str, value: float) -> bool:
        if math.isfinite(value):
            return True
        self._drop(name, 1)
        return False

    def _drop(self, name: str, count: int) -> None:
        self._totals[self._dropped] = self._totals.get(self._dropped, 0) + count
        if name not in self._named:
            self._named.add(name)
            log.warning("a value of the metric %s is not finite and is left out, like any such from now on", name)
