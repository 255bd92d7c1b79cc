"""Watches whether collectors get newer weights: one that acts with old ones for too long raises an alarm, once.

Policy lag as a number is no reason for an alarm: it is large wherever learning is fast. A collector whose weights do
not change any more, while newer ones are published, has lost its way to them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from actors.messages import CollectorState, Heartbeat

log = logging.getLogger(__name__)

_RESTING = {CollectorState.STOPPED, CollectorState.QUARANTINED}
"""Collectors that act no more, and want no weights."""


@dataclass
class _Behind:
    version: int
    since_s: float
    told: bool = False


class WeightWatch:
    """Tells of collectors whose weights stand still.

    Args:
        patience_s: a collector may act with the same weights for so long while there are newer ones.
        clock: tells monotonic seconds.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._behind: dict[int, _Behind] = {}

    @property
    def stale(self) -> tuple[int, ...]:
        """Numbers of the collectors that an alarm was raised about, and that still act with those weights."""
        return tuple(sorted(number for number, behind in self._behind.items() if behind.told))

    def look(self, heartbeats: Iterable[Heartbeat], newest: int) -> None:
        """Take in how collectors are, and raise what alarms there are.

        Args:
            heartbeats: of all collectors that there are.
            newest: version that was published last.
        """
        now_s, before = self._clock(), self._behind
        self._behind = {}
        for beat in heartbeats:
            if beat.policy_version >= newest or beat.state in _RESTING:
                continue
            behind = before.get(beat.collector)
            if behind is None or behind.version != beat.policy_version:
                behind = _Behind(beat.policy_version, now_s)
            self._behind[beat.collector] = behind
            if not behind.told and now_s - behind.since_s >= self._patience_s:
                behind.told = True
                log.error(
                    "collector %d has acted with weights of version %d for %.0f s, the newest are %d: it does not get "
                    "them any more",
                    beat.collector,
                    beat.policy_version,
                    now_s - behind.since_s,
                    newest,
                )
