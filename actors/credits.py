"""Shares what the limiter allows among the collectors, so that all of them together keep inside its band."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil, inf
from typing import NamedTuple

LEAST_CREDITS = 32
"""Fewer are not given out: a collector would send a chunk for each few decisions."""
HEARD_S = 10.0
"""A collector that is not heard of for so long loses what was set aside for it. One that drives sends every 2 s."""


class _Share(NamedTuple):
    rows: int
    heard_s: float


class Credits:
    """What each collector was promised.

    Args:
        clock: tells monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares: dict[int, _Share] = {}

    @property
    def collectors(self) -> list[int]:
        """Those that were heard of lately."""
        self._forget()
        return sorted(self._shares)

    def share(self, collector: int, allowed: float) -> int | None:
        """Return how many rows a collector may bring beyond those that have arrived; None: any number.

        Args:
            collector: who asks, or has just brought some.
            allowed: rows that all collectors together may bring now; infinity: any number.
        """
        self._forget()
        now_s = self._clock()
        if allowed == inf:
            self._shares[collector] = _Share(0, now_s)
            return None
        promised = sum(share.rows for number, share in self._shares.items() if number != collector)
        others = sum(number != collector for number in self._shares)
        fair = ceil(allowed / (others + 1))
        rows = min(int(allowed) - promised, max(fair, LEAST_CREDITS))
        rows = rows if rows >= LEAST_CREDITS else 0
        self._shares[collector] = _Share(rows, now_s)
        return rows

    def forget(self, collector: int) -> None:
        """Take back what a collector was promised: it is no more."""
        self._shares.pop(collector, None)

    def _forget(self) -> None:
        now_s = self._clock()
        silent = [number for number, share in self._shares.items() if now_s - share.heard_s > HEARD_S]
        for number in silent:
            del self._shares[number]
