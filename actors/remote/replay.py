"""The replay buffer as a Ray actor, which lives where its ring lies.

Chunks arrive in the object store and are copied into the ring once; a chunk is never a message of 100 KB to 1 MB that
Ray would copy about. Rows to learn from are answered as numbers (``experience.sampling.Draw``). Appends, draws,
questions and checkpoints have threads of their own, so that none waits for another kind.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

from actors.buffer_rings import BufferSetup
from actors.draw_messages import BufferStats, Drawn, DrawRequest, NeedMore
from actors.messages import AppendReply, AppendStatus, Grant, Standing
from actors.remote.calls import Shell, answer, ask, ask_again, is_reincarnated, start_actor
from actors.replay_buffer import ReplayBuffer
from tmrl_ray.errors import RingError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of

PART = "replay"
PEER = "the replay buffer"
CPUS = 0.2
"""What a replay buffer reserves: it sleeps most of the time."""
MOST_PENDING = 64
"""Calls on their way from one client. A collector has two, so more means that something is wrong."""

FindPart = Callable[[], Part | None]

_GROUPS = {"ingest": 2, "sample": 1, "checkpoint": 1}


class RingAddress(NamedTuple):
    """Where the ring of experience lies."""

    directory: Path
    uuid: str


class ReplayShell(Shell):
    """Keeps the experience of one run; made anew after a kill, it goes on with its ring."""

    def __init__(self, setup: BufferSetup, saved: Part | None, newest: FindPart | None = None) -> None:
        if newest is not None and is_reincarnated():
            saved = newest()  # the run has gone on since it was started
        self._buffer = ReplayBuffer(setup, saved)

    @ray.method(concurrency_group="ingest")
    def append(self, data: NDArray[np.uint8]) -> AppendReply:
        """See ``ReplayBuffer.append``; may be called again with the same chunk."""
        return self._buffer.append(data)

    @ray.method(concurrency_group="sample")
    def draw(self, request: DrawRequest) -> Drawn | NeedMore:
        """See ``ReplayBuffer.draw``."""
        return self._buffer.draw(request)

    @ray.method(concurrency_group="sample")
    def set_priorities(self, updates: tuple[PriorityUpdate, ...]) -> None:
        """See ``ReplayBuffer.set_priorities``."""
        self._buffer.set_priorities(updates)

    @ray.method(concurrency_group="checkpoint")
    def checkpoint(self) -> Part:
        """See ``ReplayBuffer.checkpoint``."""
        return self._buffer.checkpoint()

    def ring(self) -> RingAddress:
        """Return where the ring lies."""
        return RingAddress(self._buffer.ring.directory, self._buffer.ring.uuid)

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Grant:
        """See ``ReplayBuffer.hand_out_incarnation``."""
        return self._buffer.hand_out_incarnation(collector, layout_hash)

    def enlist_expert(self, number: int) -> int:
        """See ``ReplayBuffer.enlist_expert``."""
        return self._buffer.enlist_expert(number)

    @ray.method(concurrency_group="ingest")
    def add_demonstration(self, data: NDArray[np.uint8]) -> AppendStatus:
        """See ``ReplayBuffer.add_demonstration``; may be called again with the same chunk."""
        return self._buffer.add_demonstration(data)

    def standing(self, collector: int) -> Standing:
        """See ``ReplayBuffer.standing``."""
        return self._buffer.standing(collector)

    def forget(self, collector: int) -> None:
        """See ``ReplayBuffer.forget``."""
        self._buffer.forget(collector)

    def set_samples_per_insert(self, ratio: float | None) -> None:
        """See ``ReplayBuffer.set_samples_per_insert``."""
        self._buffer.set_samples_per_insert(ratio)

    def set_paused(self, paused: bool) -> None:
        """See ``ReplayBuffer.set_paused``."""
        self._buffer.set_paused(paused)

    def stats(self) -> BufferStats:
        """See ``ReplayBuffer.stats``."""
        return self._buffer.stats()

    def tell(self) -> tuple[Telling, ...]:
        """Return the metrics of the buffer and its process since the last call."""
        return self._buffer.tell(), memory_of(PART)

    def remove(self) -> None:
        """See ``ReplayBuffer.remove``; end the actor next."""
        self._buffer.remove()


def start_replay(
    run: str, setup: BufferSetup, saved: Part | None = None, newest: FindPart | None = None, **options: Any
) -> ActorHandle[Any]:
    """Start the replay buffer of a run.

    Args:
        run: name of the run, as the dashboard shows it.
        setup: what it is made with.
        saved: the experience of a checkpoint.
        newest: finds that of the newest checkpoint, for a buffer that was killed and has lost its ring; a function of
            a module, or a ``partial`` of one. None: it goes on from ``saved``.
        options: Ray's, the node to be on for example.
    """
    reserved = {"num_cpus": CPUS, "max_pending_calls": MOST_PENDING, **options}
    return start_actor(run, PART, ReplayShell, setup, saved, newest, groups=_GROUPS, **reserved)


class ReplayClient:
    """The replay buffer, for collectors, the learner and whoever runs them.

    Args:
        replay: the actor.
        compress: whether chunks travel compressed.
    """

    def __init__(self, replay: ActorHandle[Any], *, compress: bool = False) -> None:
        self.compress = compress
        self._replay = replay

    @classmethod
    def connect(cls, replay: ActorHandle[Any], format: ChunkFormat, *, timeout_s: float = 60.0) -> ReplayClient:
        """Return a client that sends chunks as they are if it is on the machine of the ring, else compressed.

        Raises:
            PeerUnavailableError: the buffer does not answer.
        """
        address: RingAddress = ask_again(replay.ring.remote, PEER, timeout_s=timeout_s)
        return cls(replay, compress=not _is_within_reach(address, format))

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Future[Grant]:
        """See ``ExperienceSink``."""
        return answer(lambda: self._replay.hand_out_incarnation.remote(collector, layout_hash), PEER)

    def append(self, data: NDArray[np.uint8]) -> Future[AppendReply]:
        """See ``ExperienceSink``."""
        return answer(lambda: self._replay.append.remote(data), PEER)

    def standing(self, collector: int) -> Future[Standing]:
        """See ``ExperienceSink``."""
        return answer(lambda: self._replay.standing.remote(collector), PEER)

    def draw(self, request: DrawRequest) -> Future[Drawn | NeedMore]:
        """Ask for rows to learn from; what the request tells is lost if no answer comes."""
        return answer(lambda: self._replay.draw.remote(request), PEER)

    def set_priorities(self, updates: tuple[PriorityUpdate, ...], *, timeout_s: float = 10.0) -> None:
        """Set the priorities of rows that were learned from, as the next question for rows would.

        Raises:
            PeerUnavailableError: the buffer does not answer; to set them again does no harm.
        """
        ask(lambda: self._replay.set_priorities.remote(updates), PEER, timeout_s=timeout_s)

    def ring(self, *, timeout_s: float = 60.0) -> RingAddress:
        """Return where the ring lies.

        Raises:
            PeerUnavailableError: the buffer does not answer.
        """
        address: RingAddress = ask_again(self._replay.ring.remote, PEER, timeout_s=timeout_s)
        return address

    def stats(self, *, timeout_s: float = 10.0) -> BufferStats:
        """Return how the buffer is.

        Raises:
            PeerUnavailableError: it does not answer.
        """
        stats: BufferStats = ask(self._replay.stats.remote, PEER, timeout_s=timeout_s)
        return stats

    def ask_for_stats(self) -> Future[BufferStats]:
        """Ask how the buffer is."""
        return answer(self._replay.stats.remote, PEER)

    def tell_pace(self, *, is_paused: bool, samples_per_insert: float | None) -> None:
        """Set both; nobody waits for an answer."""
        answer(lambda: self._replay.set_paused.remote(is_paused), PEER)
        answer(lambda: self._replay.set_samples_per_insert.remote(samples_per_insert), PEER)

    def tell(self, *, timeout_s: float = 10.0) -> tuple[Telling, ...]:
        """Return the metrics of the buffer and its process since the last call.

        Raises:
            PeerUnavailableError: it does not answer.
        """
        tellings: tuple[Telling, ...] = ask(self._replay.tell.remote, PEER, timeout_s=timeout_s)
        return tellings

    def checkpoint(self, *, timeout_s: float = 600.0) -> Part:
        """Return all experience as a part of a checkpoint.

        Raises:
            NotSavedError: the disk is full, for example.
            PeerUnavailableError: it does not answer.
        """
        part: Part = ask(self._replay.checkpoint.remote, PEER, timeout_s=timeout_s)
        return part

    def enlist_expert(self, number: int, *, timeout_s: float = 10.0) -> int:
        """Return an incarnation for somebody who sends demonstrations.

        Raises:
            InvalidInputError: the run has no demonstrations.
            PeerUnavailableError: the buffer does not answer.
        """
        incarnation: int = ask(lambda: self._replay.enlist_expert.remote(number), PEER, timeout_s=timeout_s)
        return incarnation

    def add_demonstration(self, data: NDArray[np.uint8], *, timeout_s: float = 30.0) -> AppendStatus:
        """Send a chunk of an expert's race.

        Raises:
            InvalidInputError: there is no room for it.
            PeerUnavailableError: the buffer does not answer; to send it again does no harm.
        """
        status: AppendStatus = ask(lambda: self._replay.add_demonstration.remote(data), PEER, timeout_s=timeout_s)
        return status

    def forget(self, collector: int) -> None:
        """Set nothing aside any more for a collector that is no more; nobody waits for an answer."""
        answer(lambda: self._replay.forget.remote(collector), PEER)

    def set_samples_per_insert(self, ratio: float | None, *, timeout_s: float = 10.0) -> None:
        """Change how often a row is drawn on average, from now on; None: no limit.

        Raises:
            InvalidInputError: the ratio is none.
            PeerUnavailableError: the buffer does not answer.
        """
        ask_again(lambda: self._replay.set_samples_per_insert.remote(ratio), PEER, timeout_s=timeout_s)

    def set_paused(self, paused: bool, *, timeout_s: float = 10.0) -> None:
        """Let nobody collect or learn for the moment, or go on.

        Raises:
            PeerUnavailableError: the buffer does not answer.
        """
        ask_again(lambda: self._replay.set_paused.remote(paused), PEER, timeout_s=timeout_s)

    def remove(self, *, timeout_s: float = 30.0) -> None:
        """Remove the rings.

        Raises:
            PeerUnavailableError: the buffer does not answer.
        """
        ask(self._replay.remove.remote, PEER, timeout_s=timeout_s)


def _is_within_reach(address: RingAddress, format: ChunkFormat) -> bool:
    """Return whether this process can attach to the ring, not to another one in the same place on its machine."""
    try:
        return RingReader.attach(address.directory, format).uuid == address.uuid
    except RingError:
        return False
