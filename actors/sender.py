"""A collector's line to the replay buffer: at most two chunks in flight, each sent again until it is answered.

A chunk stays here until the buffer has answered it. An answer that does not come in time, or a buffer that is away,
costs nothing but time: the same bytes are sent again with the same identity, which the buffer takes in once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from actors.messages import AppendReply, AppendStatus, Grant, Standing
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.codec import encode

log = logging.getLogger(__name__)

MOST_IN_FLIGHT = 2
"""One on its way while the next is made. More would only be memory: 4.9 MB each with a 120x160 picture."""
FIRST_PAUSE_S = 0.1
"""Before a chunk is sent again to a buffer that was away; each further pause is twice as long."""
LAST_PAUSE_S = 5.0
"""A buffer that is restarted answers after 1 to 3 s."""
ASK_S = 0.1
"""Between two questions for credits. The limiter's band is worth seconds of collecting, so nobody waits for this."""
ENLIST_S = 1.0
"""Between two requests for an incarnation to a buffer that is away."""

Answer = TypeVar("Answer")


class ExperienceSink(Protocol):
    """The replay buffer as a collector sees it.

    A future that fails with :class:`~tmrl_ray.errors.PeerUnavailableError` means: ask again. Any other failure
    is final.
    """

    compress: bool
    """Whether chunks travel compressed: true for a buffer on another machine."""

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Future[Grant]:
        """Ask for an incarnation. The future fails with a ChunkError if the buffer holds another layout."""

    def append(self, data: NDArray[np.uint8]) -> Future[AppendReply]:
        """Send a chunk, as encoded."""

    def standing(self, collector: int) -> Future[Standing]:
        """Ask how the buffer stands."""


@dataclass(eq=False)
class _Parcel:
    """A chunk that was not answered yet."""

    name: str
    data: NDArray[np.uint8]
    rows: int
    """Core rows."""
    reply: Future[AppendReply] | None = None
    """None: it waits to be sent again."""
    due_s: float = 0.0
    """When to send it (again)."""
    failures: int = 0


class _Question(Generic[Answer]):
    """Something that is asked until it is answered."""

    def __init__(self, ask: Callable[[], Future[Answer]], reply_s: float, pause_s: float) -> None:
        self.future: Future[Answer] | None = None
        self._ask = ask
        self._reply_s = reply_s
        self._pause_s = pause_s
        self._due_s = 0.0

    def poll(self, now_s: float) -> Answer | None:
        """Return the answer if it came; ask (again) if that is due."""
        if now_s >= self._due_s:
            self.future = self._ask()
            self._due_s = now_s + self._reply_s
        future = self.future
        if future is None or not future.done():
            return None
        self.future = None
        self._due_s = now_s + self._pause_s
        error = future.exception()
        if error is None:
            return future.result()
        if not isinstance(error, PeerUnavailableError):
            raise error
        return None


class ChunkSender:
    """The way of one collector's chunks to the buffer.

    Args:
        sink: where they go.
        collector: number of the collector.
        layout_hash: of the columns of its chunks.
        reply_s: after this time without an answer a chunk is sent again.
        clock: tells monotonic seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        sink: ExperienceSink,
        collector: int,
        layout_hash: str,
        *,
        reply_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.incarnation: int | None = None
        """What to call the collector; None: ``enlist`` first. So it is again when the buffer does not know it any
        more."""
        self.standing: Standing | None = None
        """As of the latest answer."""
        self.first_race = 0
        """Number of the incarnation's first race."""
        self.refused = 0
        """Chunks that the buffer refused, and that are therefore lost."""
        self.resent = 0
        """How often a chunk was sent again."""
        self._sink = sink
        self._reply_s = reply_s
        self._clock = clock
        self._sleep = sleep
        self._parcels: list[_Parcel] = []
        self._enlisting = _Question(lambda: sink.hand_out_incarnation(collector, layout_hash), reply_s, ENLIST_S)
        self._asking = _Question(lambda: sink.standing(collector), reply_s, ASK_S)

    @property
    def is_full(self) -> bool:
        """Whether no further chunk may be sent now."""
        return len(self._parcels) >= MOST_IN_FLIGHT

    @property
    def is_empty(self) -> bool:
        """Whether every chunk was answered."""
        return not self._parcels

    @property
    def rows_in_flight(self) -> int:
        """Core rows of the chunks that were not answered."""
        return sum(parcel.rows for parcel in self._parcels)

    def enlist(self) -> None:
        """Ask for an incarnation, or take in the answer. Call it until there is one.

        Raises:
            ChunkError: the buffer holds rows of another layout.
        """
        grant = self._enlisting.poll(self._clock())
        if grant is not None:
            self.incarnation, self.standing, self.first_race = grant

    def may_act(self, held_rows: int) -> bool:
        """Return whether the credits allow another decision.

        Args:
            held_rows: decisions that could be sent and were not yet.
        """
        credits = None if self.standing is None else self.standing.credits
        return credits is None or self.rows_in_flight + held_rows < credits

    def send(self, chunk: Chunk) -> None:
        """Send a chunk on its way.

        Raises:
            RuntimeError: as many as may be are in flight: ``poll`` until one is answered.
        """
        if self.is_full:
            raise RuntimeError(f"{MOST_IN_FLIGHT} chunks are in flight already")
        name = f"chunk {chunk.id.sequence} of collector {chunk.id.collector}, incarnation {chunk.id.incarnation}"
        parcel = _Parcel(name, encode(chunk, compress=self._sink.compress), chunk.core)
        self._parcels.append(parcel)
        self._post(parcel)
        self.poll()

    def poll(self) -> None:
        """Take in the answers that came, and send again what is due.

        Raises:
            TmrlError: the buffer says that what we send can never be taken.
        """
        now_s = self._clock()
        for parcel in tuple(self._parcels):
            if parcel.reply is not None and parcel.reply.done():
                self._settle(parcel, parcel.reply)
            elif now_s >= parcel.due_s:
                if parcel.reply is not None:
                    log.warning("%s was not answered in %g s: sending it again", parcel.name, self._reply_s)
                self.resent += 1
                self._post(parcel)

    def ask(self) -> None:
        """Ask how the buffer stands, unless the answer to a chunk will tell."""
        if not self._parcels:
            self.standing = self._asking.poll(self._clock()) or self.standing

    def wait(self, most_s: float) -> None:
        """Wait until there is an answer, for ``most_s`` seconds at most."""
        replies = (parcel.reply for parcel in self._parcels)
        futures: list[Future[Any]] = [
            future for future in (*replies, self._enlisting.future, self._asking.future) if future is not None
        ]
        if any(not future.done() for future in futures):
            wait(futures, timeout=most_s, return_when=FIRST_COMPLETED)
        elif not futures:
            self._sleep(most_s)

    def _post(self, parcel: _Parcel) -> None:
        if parcel.reply is not None:
            parcel.reply.cancel()
        parcel.reply = self._sink.append(parcel.data)
        parcel.due_s = self._clock() + self._reply_s

    def _settle(self, parcel: _Parcel, reply: Future[AppendReply]) -> None:
        error = reply.exception()
        if isinstance(error, PeerUnavailableError):
            pause_s = min(FIRST_PAUSE_S * 2**parcel.failures, LAST_PAUSE_S)
            log.warning("%s did not arrive, sending it again in %g s: %s", parcel.name, pause_s, error)
            parcel.failures += 1
            parcel.reply = None
            parcel.due_s = self._clock() + pause_s
            return
        if error is not None:
            raise error
        answer = reply.result()
        self._parcels.remove(parcel)
        self.standing = answer.standing
        if answer.status is AppendStatus.OUTDATED:
            log.warning("the buffer takes nothing of weights as old as those of %s: it is lost", parcel.name)
            self.refused += 1
        if answer.status is AppendStatus.REFUSED:
            log.warning("the buffer does not know what came before %s: it is lost", parcel.name)
            self.refused += 1
            self.incarnation = None
