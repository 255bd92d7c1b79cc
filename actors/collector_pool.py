"""Keeps as many collectors running as are wanted: starts, replaces and drains them, and leaves broken ones alone.

The loop in which it is used, every second or so::

    pool.scale(8)
    while True:
        pool.reconcile()
        show(pool.members())

The pool decides, its host acts: on a cluster that starts and kills Ray actors, in tests it pretends to. Members are
numbered from 0. A member has one or more collectors, each with a heartbeat.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from actors.collector_meter import count_states
from actors.messages import CollectorState, Heartbeat
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Meter, Telling

log = logging.getLogger(__name__)

_DRAINING_S = 0.1


class Life(StrEnum):
    """What a host knows of a member."""

    PENDING = "pending"
    """The cluster has no room for it yet."""
    UP = "up"
    ENDED = "ended"
    """By itself, with all that it drove sent."""
    DEAD = "dead"


class Death(StrEnum):
    """Why a member is started again."""

    CRASH = "crash"
    """Its process died, or what it did failed."""
    HANG = "hang"
    MEMORY = "memory"
    """Its machine was short of memory, and Ray ended it."""
    NODE = "node"
    """Its machine is gone."""


class Sighting(NamedTuple):
    """What a host sees of a member."""

    life: Life
    heartbeats: tuple[Heartbeat, ...] = ()
    """The newest of its collectors; none yet, or not again: nothing has been heard since."""
    reason: str = ""
    """Why it is dead."""
    death: Death = Death.CRASH


class CollectorHost(Protocol):
    """Whoever can start and end collectors. No call waits for anything."""

    def start(self, number: int) -> None:
        """Start a member, as soon as there is room for it."""

    def drain(self, number: int) -> None:
        """Let a member send what it has, and end."""

    def kill(self, number: int) -> None:
        """End a member at once, pending ones included. One that is dead already may be killed, too."""

    def look(self, number: int) -> Sighting:
        """Return what is seen of a member that was started."""


class MemberState(StrEnum):
    """What becomes of a member."""

    PENDING = "pending"
    """The cluster has no room for it."""
    RUNNING = "running"
    DRAINING = "draining"
    """It is not wanted any more, and sends what it has."""
    BACKING_OFF = "backing_off"
    """It crashed, and is started again after a pause."""
    QUARANTINED = "quarantined"
    """It crashed too often, or cannot play its games; it stays away until it is released."""


@dataclass(frozen=True, kw_only=True)
class PoolPolicy:
    """How patient the pool is."""

    silent_s: float = 60.0
    """A member whose collectors neither decide nor wait for so long hangs, and is replaced."""
    starting_s: float = 300.0
    """The same while one of its games is started: a simulator compiles for a minute or two at its first start, and a
    game that is lost again and again pauses for a minute."""
    drain_s: float = 30.0
    """A member that is not wanted any more is killed after this time."""
    first_pause_s: float = 1.0
    """Before a member is started again after its first crash; each further one doubles it."""
    last_pause_s: float = 60.0
    most_crashes: int = 5
    """With so many crashes within ``window_s`` a member is quarantined."""
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as shown."""

    number: int
    state: MemberState
    crashes: int
    """Lately."""
    restarts: int
    """Since it is in the pool."""
    reason: str
    """Of its last crash, or why it is quarantined."""
    heartbeats: tuple[Heartbeat, ...]


@dataclass(slots=True)
class _Entry:
    number: int
    state: MemberState
    since_s: float
    """When the state began, or when the member showed its last sign of life."""
    due_s: float = 0.0
    """When to start it again, or to kill it."""
    crashes: deque[float] = field(default_factory=deque)
    restarts: int = 0
    reason: str = ""
    heartbeats: tuple[Heartbeat, ...] = ()


class CollectorPool:
    """Keeps the wanted number of collectors; see the module for the loop in which it is used.

    Args:
        host: starts and ends them.
        policy: how patient to be.
        clock: tells monotonic seconds.
    """

    def __init__(
        self, host: CollectorHost, policy: PoolPolicy | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.wanted = 0
        """How many members there should be."""
        self._host = host
        self._policy = PoolPolicy() if policy is None else policy
        self._clock = clock
        self._entries: dict[int, _Entry] = {}
        self._meter = Meter("pool")

    def tell(self) -> Telling:
        """Return the metrics of the pool."""
        for death in Death:
            self._meter.add(METRICS.name("collector/restarts/{reason}", reason=death), 0)
        for name, count in count_states(beat for entry in self._entries.values() for beat in entry.heartbeats).items():
            self._meter.set(name, count)
        return self._meter.tell()

    def scale(self, wanted: int) -> None:
        """Want so many members from now on; the highest numbers leave first.

        Raises:
            ValueError: the number is negative.
        """
        if wanted < 0:
            raise ValueError(f"there cannot be {wanted} collectors")
        self.wanted = wanted

    def release(self, number: int) -> None:
        """Let a member out of quarantine: what broke it was mended."""
        entry = self._entries.get(number)
        if entry is not None and entry.state is MemberState.QUARANTINED:
            entry.crashes.clear()
            entry.state, entry.due_s = MemberState.BACKING_OFF, self._clock()

    def members(self) -> list[Member]:
        """Return all members by their numbers."""
        now_s = self._clock()
        return [
            Member(
                number=entry.number,
                state=entry.state,
                crashes=self._count_crashes(entry, now_s),
                restarts=entry.restarts,
                reason=entry.reason,
                heartbeats=entry.heartbeats,
            )
            for _, entry in sorted(self._entries.items())
        ]

    @property
    def is_empty(self) -> bool:
        """Whether all that are not wanted are gone, where none is wanted."""
        return self.wanted == 0 and not self._entries

    def drain(self, patience_s: float) -> None:
        """Let all members send what they have, close their games and end; wait for that, but not for ever."""
        self.scale(0)
        end_s = self._clock() + patience_s
        while not self.is_empty and self._clock() < end_s:
            self.reconcile()
            time.sleep(_DRAINING_S)

    def reconcile(self) -> None:
        """Look at all members, and do what is due; returns at once."""
        for entry in list(self._entries.values()):
            self._observe(entry)
        for number, entry in sorted(self._entries.items()):
            if number >= self.wanted:
                self._let_go(entry)
        for number in range(self.wanted):
            if number not in self._entries:
                self._entries[number] = _Entry(number, MemberState.PENDING, self._clock())
                self._host.start(number)

    def _observe(self, entry: _Entry) -> None:
        now_s = self._clock()
        if entry.state is MemberState.QUARANTINED:
            return
        if entry.state is MemberState.BACKING_OFF:
            if now_s >= entry.due_s and entry.number < self.wanted:
                entry.state, entry.since_s = MemberState.PENDING, now_s
                entry.restarts += 1
                self._host.start(entry.number)
            return
        seen = self._host.look(entry.number)
        if seen.life is Life.PENDING:
            return
        if entry.state is MemberState.PENDING:
            entry.state, entry.since_s = MemberState.RUNNING, now_s
        self._hear(entry, seen, now_s)
        if seen.life in {Life.DEAD, Life.ENDED} or (entry.state is MemberState.DRAINING and now_s >= entry.due_s):
            self._gone(entry, seen, now_s)
        elif entry.heartbeats and all(each.state is CollectorState.QUARANTINED for each in entry.heartbeats):
            self._quarantine(entry, entry.heartbeats[0].reason)
        elif entry.state is MemberState.RUNNING and now_s - entry.since_s >= self._patience_s(entry):
            self._host.kill(entry.number)
            self._crashed(entry, f"no sign of life for {now_s - entry.since_s:.0f} s", Death.HANG, now_s)

    def _hear(self, entry: _Entry, seen: Sighting, now_s: float) -> None:
        """Take in heartbeats. The member lives while each of its collectors that could do something does."""
        if not seen.heartbeats:
            return
        done = {CollectorState.STOPPED, CollectorState.QUARANTINED}
        before = {each.collector: each.beats for each in entry.heartbeats}
        still = [
            each for each in seen.heartbeats if each.state not in done and before.get(each.collector) == each.beats
        ]
        entry.heartbeats = seen.heartbeats
        if not still:
            entry.since_s = now_s

    def _patience_s(self, entry: _Entry) -> float:
        is_starting = not entry.heartbeats or any(each.state is CollectorState.STARTING for each in entry.heartbeats)
        return self._policy.starting_s if is_starting else self._policy.silent_s

    def _gone(self, entry: _Entry, seen: Sighting, now_s: float) -> None:
        if entry.state is not MemberState.DRAINING:
            reason = seen.reason or ("it ended unasked" if seen.life is Life.ENDED else "it died")
            self._host.kill(entry.number)
            self._crashed(entry, reason, seen.death, now_s)
            return
        if seen.life is not Life.ENDED:
            why = seen.reason or f"it took more than {self._policy.drain_s:g} s"
            log.warning("collector %d was not drained: %s", entry.number, why)
        self._host.kill(entry.number)
        del self._entries[entry.number]

    def _crashed(self, entry: _Entry, reason: str, death: Death, now_s: float) -> None:
        self._meter.add(METRICS.name("collector/restarts/{reason}", reason=death))
        entry.crashes.append(now_s)
        times = self._count_crashes(entry, now_s)
        entry.heartbeats = ()
        if times >= self._policy.most_crashes:
            self._quarantine(entry, f"it crashed {times} times within {self._policy.window_s:g} s, at last: {reason}")
            return
        pause_s = min(self._policy.first_pause_s * 2 ** (times - 1), self._policy.last_pause_s)
        log.warning("collector %d is started again in %g s: %s", entry.number, pause_s, reason)
        entry.state, entry.due_s, entry.reason = MemberState.BACKING_OFF, now_s + pause_s, reason

    def _quarantine(self, entry: _Entry, reason: str) -> None:
        log.error("collector %d is quarantined: %s", entry.number, reason)
        self._host.kill(entry.number)
        entry.state, entry.reason = MemberState.QUARANTINED, reason

    def _let_go(self, entry: _Entry) -> None:
        if entry.state is MemberState.RUNNING:
            entry.state, entry.due_s = MemberState.DRAINING, self._clock() + self._policy.drain_s
            self._host.drain(entry.number)
        elif entry.state is not MemberState.DRAINING:
            self._host.kill(entry.number)
            del self._entries[entry.number]

    def _count_crashes(self, entry: _Entry, now_s: float) -> int:
        while entry.crashes and now_s - entry.crashes[0] > self._policy.window_s:
            entry.crashes.popleft()
        return len(entry.crashes)
