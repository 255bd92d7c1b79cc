"""Replay buffers as actors that die in the midst of an append, or are slow; and who sends to them.

The actors import this module anew when they are restarted: what would make them slower than the product's, as
torch does, is not imported here.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

import actors.buffer_rings
from actors.buffer_rings import BufferSetup
from actors.messages import AppendReply
from actors.remote.calls import start_actor, wait_until_up
from actors.remote.replay import CPUS, PART, PEER, ReplayClient, ReplayShell
from actors.sender import ChunkSender
from tests.experience.races import MadeUpRaces
from tests.experience.ring_processes import DyingRing
from tests.faults.parts import Trigger, die
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.ring import AppendResult
from tmrl_ray.runs.checkpoint_files import Part

GROUPS = {"ingest": 2, "sample": 1, "checkpoint": 1}
"""Threads, as many as the product's buffer has."""
PATIENCE_S = 120.0
"""What a loaded machine may take before a test gives up."""


class ArmedRing(DyingRing):
    """A ring whose writer dies in an append when its trigger says so."""

    trigger: Trigger

    def _insert(self, chunk: Chunk, *arguments: Any) -> AppendResult:
        self.point = self.trigger.fires() or ""
        result = super()._insert(chunk, *arguments)
        if self.point == "not acknowledged":
            die()
        return result


class DyingReplayShell(ReplayShell):
    """A replay buffer that dies in an append, at the point that its trigger names."""

    def __init__(self, setup: BufferSetup, saved: Part | None, trigger: Trigger) -> None:
        ArmedRing.trigger = trigger
        actors.buffer_rings.Ring = ArmedRing  # type: ignore[misc]
        super().__init__(setup, saved)


class SlowReplayShell(ReplayShell):
    """A replay buffer that takes its time for each chunk."""

    def __init__(self, setup: BufferSetup, saved: Part | None, append_s: float) -> None:
        self._append_s = append_s
        super().__init__(setup, saved)

    @ray.method(concurrency_group="ingest")
    def append(self, data: NDArray[np.uint8]) -> AppendReply:
        time.sleep(self._append_s)
        return self._buffer.append(data)


def start_faulty(run: str, setup: BufferSetup, shell: type[ReplayShell], *arguments: Any) -> ActorHandle[Any]:
    """Start one of these in the place of the run's replay buffer."""
    replay = start_actor(run, PART, shell, setup, None, *arguments, groups=GROUPS, num_cpus=CPUS, max_pending_calls=64)
    wait_until_up(replay, PEER, timeout_s=PATIENCE_S)
    return replay


class RaceSender:
    """A collector that drives made-up races and sends them with the product's sender, however long that takes."""

    def __init__(self, client: ReplayClient, format: ChunkFormat, number: int = 0) -> None:
        self._sender = ChunkSender(client, number, format.layout.hash, reply_s=10.0)
        end_s = time.monotonic() + PATIENCE_S
        while self._sender.incarnation is None and time.monotonic() < end_s:
            self._sender.enlist()
            self._sender.wait(0.05)
        assert self._sender.incarnation is not None
        self.incarnation = self._sender.incarnation
        self._races = MadeUpRaces(self.incarnation, format)
        self._builder = ChunkBuilder(format, number, self.incarnation)

    @property
    def resent(self) -> int:
        """Chunks that were sent again."""
        return self._sender.resent

    def race(self, steps: int) -> None:
        """Send a race, and wait until all of it is acknowledged."""
        waiting = self._races.race(self._builder, steps)
        end_s = time.monotonic() + PATIENCE_S
        while waiting or not self._sender.is_empty:
            if waiting and not self._sender.is_full:
                self._sender.send(waiting.pop(0))
                continue
            self._sender.wait(0.05)
            self._sender.poll()
            assert time.monotonic() < end_s, "the buffer did not answer"
