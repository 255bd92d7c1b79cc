"""Where the time of a component goes: it does exactly one of several things at any moment, so that shares add up to 1.

::

    activities = Activities("waiting")
    activities.begin("training")
    ...
    activities.shares()          {"waiting": 0.2, "training": 0.8}
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Activities:
    """Adds up seconds by what was done; any thread may ask.

    Args:
        first: what is done now.
        clock: tells seconds.
    """

    def __init__(self, first: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._current = first
        self._since_s = clock()
        self._told: dict[str, float] = {}

    @property
    def current(self) -> str:
        """What is done now."""
        return self._current

    def begin(self, activity: str) -> None:
        """Do something else from now on."""
        with self._lock:
            self._settle()
            self._current = activity

    @contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Do something else meanwhile."""
        before = self._current
        self.begin(activity)
        try:
            yield
        finally:
            self.begin(before)

    def seconds(self, activity: str) -> float:
        """Return for how long something was done so far."""
        with self._lock:
            self._settle()
            return self._seconds.get(activity, 0.0)

    def shares(self) -> dict[str, float]:
        """Return the share of time of all that was ever done, since the last call."""
        with self._lock:
            self._settle()
            spent = {name: total - self._told.get(name, 0.0) for name, total in self._seconds.items()}
            self._told = dict(self._seconds)
        whole = sum(spent.values())
        return {name: seconds / whole for name, seconds in spent.items()} if whole > 0 else {}

    def _settle(self) -> None:
        now_s = self._clock()
        self._seconds[self._current] = self._seconds.get(self._current, 0.0) + now_s - self._since_s
        self._since_s = now_s
