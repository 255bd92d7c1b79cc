"""What lies between the learner and the others on a cluster: its questions and weights, as calls of Ray actors."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future

from actors.draw_messages import Drawn as BufferDrawn
from actors.draw_messages import DrawRequest, NeedMore
from actors.remote.calls import then
from actors.remote.replay import ReplayClient
from actors.remote.weights import WeightClient
from actors.version_board import VersionBoard
from actors.weight_store import Weights
from learner.learner import Drawn, Question
from tmrl_ray.errors import PeerUnavailableError, RingError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks at what the weight store has: so much longer it may be empty once it was killed."""


class LearnerLine:
    """The replay buffer and the weight store as the learner sees them.

    Args:
        replay: the buffer.
        weights: the store.
        format: of the experience.
    """

    def __init__(self, replay: ReplayClient, weights: WeightClient, format: ChunkFormat) -> None:
        self._replay = replay
        self._weights = weights
        self._format = format
        self._board: VersionBoard | None = None
        self._newest: Weights | None = None
        self._publishing: Future[int] | None = None
        self._next: Weights | None = None
        self._look_s = 0.0
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Future[Drawn]:
        """See ``learner.learner.RowSource``. The weight store is looked after in passing."""
        self._look_after_store()
        request = DrawRequest(
            question.batches,
            question.batch_size,
            policy_version=question.policy_version,
            priorities=question.priorities,
            extra_samples=question.extra_samples,
            test_batches=question.test_batches,
        )
        return then(self._replay.draw(request), _convert)

    def ring(self) -> RingReader:
        """See ``learner.learner.RowSource``."""
        address = self._replay.ring()
        self._board = VersionBoard(address.directory)
        try:
            return RingReader.attach(address.directory, self._format)
        except RingError as error:
            raise PeerUnavailableError(f"the ring {address.uuid} cannot be read: {error}") from error

    def set_priorities(self, updates: tuple[PriorityUpdate, ...]) -> None:
        """See ``learner.learner.RowSource``."""
        if updates:
            self._replay.set_priorities(updates)

    def publish(self, version: int, data: bytes) -> None:
        """See ``learner.learner.WeightSink``. While weights are on their way only the newest others wait."""
        self._newest = Weights.of(version, data)
        self._send(self._newest)

    def _look_after_store(self) -> None:
        """Publish again what a store that was killed has lost; returns at once."""
        now_s, newest = time.monotonic(), self._newest
        if newest is None or now_s < self._look_s or self._publishing is None or not self._publishing.done():
            return
        self._look_s = now_s + LOOK_S

        def compare(answer: Future[int]) -> None:
            if newest is not self._newest or answer.cancelled() or answer.exception() is not None:
                return
            if answer.result() < newest.version:
                log.warning("the weight store has lost the weights: version %d is published again", newest.version)
                self._send(newest)

        self._weights.version().add_done_callback(compare)

    def _send(self, weights: Weights) -> None:
        with self._lock:
            if self._publishing is not None and not self._publishing.done():
                self._next = weights
                return
            publishing = self._publishing = self._weights.publish(weights)
        publishing.add_done_callback(self._published)

    def _published(self, reply: Future[int]) -> None:
        """Write up what can be fetched from now on, and publish what was waiting."""
        if self._board is not None and not reply.cancelled() and reply.exception() is None:
            self._board.write(reply.result())
        with self._lock:
            weights, self._next = self._next, None
        if weights is not None:
            self._send(weights)


def _convert(answer: BufferDrawn | NeedMore) -> Future[Drawn]:
    future: Future[Drawn] = Future()
    if isinstance(answer, NeedMore):
        future.set_result(Drawn(answer.env_steps, None, ring_uuid=answer.ring_uuid))
    else:
        drawn = Drawn(answer.env_steps, answer.draw, answer.demonstrations, answer.test, answer.ring_uuid)
        future.set_result(drawn)
    return future
