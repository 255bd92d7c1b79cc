"""Collectors as Ray actors: they drive from their start on, and the pool of a run starts and ends them.

An actor is a member of the pool, with one or more collectors in threads of their own. When its process dies, the pool
starts another one, after a pause (``actors.collector_pool``); Ray itself starts none again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, OutOfMemoryError

from actors.collector import Collector
from actors.collector_pool import Death, Life, Sighting
from actors.collector_threads import CollectorThreads
from actors.messages import Heartbeat
from actors.race_report import RaceReport
from actors.remote.calls import Shell, answer, end_actor, start_actor
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of

log = logging.getLogger(__name__)

CPUS = 0.4
"""What one collector of simulated races reserves: two of them, the learner, the replay buffer and the evaluator fit a
laptop with two cores."""
GAME = "game"
"""Ray's resource, of which a machine has as many as it can run games."""
MOST_REPORTS = 4096
"""Reports of races that are kept for whoever takes them; the oldest make way."""

_NODE_DIED = "its node has died"
"""In Ray's message, which is all that tells it from the death of a process."""

MakeCollectors = Callable[[int], Sequence[Collector]]


class Seen(NamedTuple):
    """How a member is."""

    heartbeats: tuple[Heartbeat, ...]
    reports: list[RaceReport]
    """Of races since the last look."""
    has_ended: bool
    """Whether it drives no more, and all that it drove has arrived."""
    tellings: tuple[Telling, ...]
    """Its metrics since the last look."""


class CollectorShell(Shell):
    """Drives races in some games."""

    def __init__(self, make: MakeCollectors, number: int) -> None:
        self._number = number
        self._threads = CollectorThreads(make(number))
        self._threads.start()

    def look(self) -> Seen:
        """Return how it is; raises what ended the driving, where nobody asked for its end."""
        has_ended = self._threads.join(0.0)
        tellings = (*self._threads.tell(), memory_of(f"collector-{self._number}"))
        return Seen(self._threads.heartbeats(), self._threads.take_reports(), has_ended, tellings)

    def stop(self) -> None:
        """Drive no more, and send what is left."""
        self._threads.stop()


@dataclass
class _Member:
    actor: ActorHandle[Any]
    looking: Future[Seen] | None = None
    """The answer that is awaited."""
    life: Life = Life.PENDING
    reason: str = ""
    death: Death = Death.CRASH
    collectors: tuple[int, ...] = ()
    """Their numbers, as far as they were heard of."""


class RayCollectors:
    """The host of a pool whose members are Ray actors; see :class:`~actors.collector_pool.CollectorHost`.

    Args:
        run: name of the run.
        make: makes the collectors of a member in its own process, given its number; a function of a module, or a
            ``partial`` of one.
        games: how many each member has.
        forget: is told the number of each collector that is no more.
        options: Ray's, beside what games need.
    """

    def __init__(
        self, run: str, make: MakeCollectors, *, games: int = 1, forget: Callable[[int], None], **options: Any
    ) -> None:
        self._run = run
        self._make = make
        self._forget = forget
        reserved = {"num_cpus": CPUS * games, "resources": {GAME: games}, "scheduling_strategy": "SPREAD"}
        self._options = {**reserved, **options, "max_restarts": 0}
        self._members: dict[int, _Member] = {}
        self._starts: dict[int, int] = {}
        self._reports: deque[RaceReport] = deque(maxlen=MOST_REPORTS)
        self._tellings: deque[Telling] = deque(maxlen=MOST_REPORTS)

    def start(self, number: int) -> None:
        """See ``CollectorHost``."""
        starts = self._starts[number] = self._starts.get(number, 0) + 1
        # A name is free again some time after its actor died.
        part = f"collector-{number}" if starts == 1 else f"collector-{number}-{starts}"
        self._members[number] = _Member(
            start_actor(self._run, part, CollectorShell, self._make, number, **self._options)
        )

    def drain(self, number: int) -> None:
        """See ``CollectorHost``."""
        member = self._members[number]
        answer(member.actor.stop.remote, f"collector {number}")

    def kill(self, number: int) -> None:
        """See ``CollectorHost``."""
        member = self._members.pop(number, None)
        if member is not None:
            end_actor(member.actor)
            for collector in member.collectors:
                self._forget(collector)

    def look(self, number: int) -> Sighting:
        """See ``CollectorHost``; asks for what the next look returns."""
        member = self._members[number]
        heartbeats: tuple[Heartbeat, ...] = ()
        if member.looking is not None and member.looking.done():
            heartbeats = self._take(member, member.looking)
            member.looking = None
        if member.looking is None and member.life in {Life.PENDING, Life.UP}:
            member.looking = answer(member.actor.look.remote, f"collector {number}")
        return Sighting(member.life, heartbeats, member.reason, member.death)

    def take_reports(self) -> list[RaceReport]:
        """Return the reports of races since the last call."""
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def take_tellings(self) -> list[Telling]:
        """Return the metrics of all members since the last call."""
        return [self._tellings.popleft() for _ in range(len(self._tellings))]

    def actor(self, number: int) -> ActorHandle[Any]:
        """Return a member."""
        return self._members[number].actor

    def _take(self, member: _Member, looked: Future[Seen]) -> tuple[Heartbeat, ...]:
        error = looked.exception()
        if error is None:
            seen = looked.result()
            member.life = Life.ENDED if seen.has_ended else Life.UP
            member.collectors = tuple(beat.collector for beat in seen.heartbeats)
            self._reports.extend(seen.reports)
            self._tellings.extend(seen.tellings)
            return seen.heartbeats
        cause = error.__cause__
        if isinstance(cause, OutOfMemoryError):
            member.death = Death.MEMORY  # the next look finds it dead
        if not isinstance(error, PeerUnavailableError) or isinstance(cause, ActorDiedError):
            member.life, member.reason = Life.DEAD, f"{error}"
            if _NODE_DIED in str(cause):
                member.death = Death.NODE
        return ()
