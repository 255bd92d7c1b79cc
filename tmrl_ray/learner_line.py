"""What lies between the learner and the others on a cluster: its questions and weights, as calls of Ray actors."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from actors.draw_messages import Drawn as BufferDrawn
from actors.draw_messages import DrawRequest, NeedMore
from actors.remote.calls import then
from actors.remote.replay import ReplayClient
from actors.remote.weights import WeightClient
from actors.version_board import VersionBoard
from actors.weight_store import PublishReply, Weights
from learner.learner import Drawn, Question
from tmrl_ray.errors import PeerUnavailableError, RingError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate


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
        self._publishing: Future[PublishReply] | None = None
        self._next: Weights | None = None
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Future[Drawn]:
        """See ``learner.learner.RowSource``."""
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
        self._send(Weights.of(version, data))

    def _send(self, weights: Weights) -> None:
        with self._lock:
            if self._publishing is not None and not self._publishing.done():
                self._next = weights
                return
            publishing = self._publishing = self._weights.publish(weights)
        publishing.add_done_callback(self._published)

    def _published(self, reply: Future[PublishReply]) -> None:
        """Write up what can be fetched from now on, and publish what was waiting."""
        if self._board is not None and not reply.cancelled() and reply.exception() is None:
            self._board.write(reply.result().newest)
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
