"""What lies between the parts of a run in one process: calls that are answered at once, and time nobody waits for."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from actors.draw_messages import DrawRequest, NeedMore
from actors.messages import AppendReply, Grant, Standing
from actors.replay_buffer import ReplayBuffer
from actors.weight_store import Weights, WeightStore
from learner.learner import Drawn, Question
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate

T = TypeVar("T")


class SerialLine:
    """The lines between collector, replay buffer, learner and weight store: calls that are answered at once."""

    compress = False

    def __init__(self, buffer: ReplayBuffer) -> None:
        self.arrived = 0
        """Chunks that the buffer was sent."""
        self._buffer = buffer
        self._store = WeightStore()
        self._now_s = 0.0

    def time(self) -> float:
        """Return seconds that pass only while somebody waits."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        self._now_s += seconds

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Future[Grant]:
        """See ``actors.sender.ExperienceSink``."""
        return _answered(self._buffer.hand_out_incarnation(collector, layout_hash))

    def append(self, data: NDArray[np.uint8]) -> Future[AppendReply]:
        """See ``actors.sender.ExperienceSink``."""
        self.arrived += 1
        return _answered(self._buffer.append(data))

    def standing(self, collector: int) -> Future[Standing]:
        """See ``actors.sender.ExperienceSink``."""
        return _answered(self._buffer.standing(collector))

    def ask(self, question: Question) -> Future[Drawn]:
        """See ``learner.learner.RowSource``."""
        answer = self._buffer.draw(
            DrawRequest(
                question.batches,
                question.batch_size,
                priorities=question.priorities,
                policy_version=question.policy_version,
                extra_samples=question.extra_samples,
                test_batches=question.test_batches,
            )
        )
        if isinstance(answer, NeedMore):
            return _answered(Drawn(answer.env_steps, None))
        return _answered(Drawn(answer.env_steps, answer.draw, answer.demonstrations, answer.test))

    @property
    def published(self) -> Weights | None:
        """The newest weights."""
        return self._store.fetch_if_newer(0)

    def ring(self) -> RingReader:
        """See ``learner.learner.RowSource``."""
        return self._buffer.ring

    def set_priorities(self, updates: tuple[PriorityUpdate, ...]) -> None:
        """See ``learner.learner.RowSource``."""
        self._buffer.set_priorities(updates)

    def publish(self, version: int, data: bytes) -> None:
        """See ``learner.learner.WeightSink``."""
        self._store.publish(Weights.of(version, data))

    def fetch_if_newer(self, version: int) -> Future[Weights | None]:
        """See ``actors.weight_store.WeightSource``."""
        return _answered(self._store.fetch_if_newer(version))

    def acknowledge(self, collector: int, version: int) -> None:
        """See ``actors.weight_store.WeightSource``."""
        self._store.acknowledge(collector, version)


def _answered(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future
