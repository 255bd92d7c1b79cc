"""What a collector tells of itself, as metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from actors.messages import CollectorState, Heartbeat
from tmrl_ray.errors import GameHungError, GameLostError, GameProtocolError
from tmrl_ray.runs.activities import Activities
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Meter, Telling

RESTARTS = "game/restarts/{reason}"
LOSSES = ("hang", "gone", "protocol")
"""Why games are lost."""


class CollectorMeter:
    """The metrics of one collector.

    Args:
        number: of the collector.
        stopwatch: tells seconds.
    """

    def __init__(self, number: int, stopwatch: Callable[[], float] = time.perf_counter) -> None:
        self.activities = Activities("starting", clock=stopwatch)
        """starting, racing, blocked (by the limiter), waiting (for answers)."""
        self._number = number
        self._meter = Meter(f"collector-{number}")

    def raced(self, stage_ms: Mapping[str, float]) -> None:
        """Take note of where the time of a race's decisions went."""
        for stage, mean_ms in stage_ms.items():
            self._meter.observe(f"collector/stage_ms/{stage}", mean_ms)

    def lost(self, error: GameLostError) -> None:
        """Count a game that was lost."""
        reason = {GameHungError: "hang", GameProtocolError: "protocol"}.get(type(error), "gone")
        self._meter.add(METRICS.name(RESTARTS, reason=reason))

    def discarded(self, rows: int) -> None:
        """Count decisions that were never sent."""
        self._meter.add("experience/rows_dropped/discarded", rows)

    def fetched(self, seconds: float) -> None:
        """Say how long it took until newer weights acted."""
        self._meter.observe("weights/fetch_ms", 1000 * seconds)

    def tell(self, heartbeat: Heartbeat) -> Telling:
        """Return all of it since the last call."""
        meter, collector = self._meter, self._number
        self.discarded(0)
        for reason in LOSSES:
            meter.add(METRICS.name(RESTARTS, reason=reason), 0)
        for state in CollectorState:
            name = METRICS.name("collector/state/{collector}/{state}", collector=collector, state=state)
            meter.set(name, float(state is heartbeat.state))
        meter.count_to(f"collector/env_steps/{collector}", heartbeat.env_steps)
        meter.count_to(f"collector/resent_chunks/{collector}", heartbeat.resent_chunks)
        meter.set(f"collector/policy_version/{collector}", heartbeat.policy_version)
        meter.set(f"collector/racing_share/{collector}", self.activities.shares().get("racing", 0.0))
        meter.count_to("limiter/blocked_s/collectors", self.activities.seconds("blocked"))
        return meter.tell()


def count_states(heartbeats: Iterable[Heartbeat]) -> dict[str, int]:
    """Return as metrics how many collectors are in each state."""
    count = Counter(beat.state for beat in heartbeats)
    return {METRICS.name("collector/count/{state}", state=state): count[state] for state in CollectorState}
