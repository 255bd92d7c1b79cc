"""Several collectors in one process, each with a game and a thread of its own.

Games and the network let go of the interpreter while they compute, so threads drive at the same time; nothing is shared
between them but the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from actors.collector import Collector, Turn
from actors.messages import Heartbeat
from actors.race_report import RaceReport
from tmrl_ray.runs.meter import Telling


class CollectorThreads:
    """Drives collectors until they are stopped, quarantined, or one of them fails.

    Args:
        collectors: with different numbers.
    """

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self.failure: BaseException | None = None
        """What ended one of them that was not foreseen; the others are stopped then."""
        self._collectors = tuple(collectors)
        self._threads = [
            threading.Thread(target=self._drive, args=(each,), name=f"collector-{each.number}", daemon=True)
            for each in collectors
        ]

    def start(self) -> None:
        """Let all of them drive."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let none of them begin anything new; what they drove is still sent."""
        for collector in self._collectors:
            collector.stop()

    def join(self, timeout_s: float) -> bool:
        """Return whether all of them have ended within ``timeout_s`` seconds.

        Raises:
            BaseException: what ended one of them.
        """
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        if self.failure is not None:
            raise self.failure
        return not any(thread.is_alive() for thread in self._threads)

    def heartbeats(self) -> tuple[Heartbeat, ...]:
        """Return how each of them is."""
        return tuple(collector.heartbeat() for collector in self._collectors)

    def tell(self) -> tuple[Telling, ...]:
        """Return the metrics of each since the last call."""
        return tuple(collector.tell() for collector in self._collectors)

    def take_reports(self) -> list[RaceReport]:
        """Return the reports of races since the last call."""
        return [report for collector in self._collectors for report in collector.take_reports()]

    def _drive(self, collector: Collector) -> None:
        try:
            for turn in collector.run():
                if turn is Turn.WAITING:
                    collector.wait()
        except BaseException as failure:  # noqa: BLE001 - handed on to whoever joins
            self.failure = self.failure or failure
            self.stop()
