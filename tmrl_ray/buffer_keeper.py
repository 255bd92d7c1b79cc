"""Keeps the replay buffer of a run as it is wanted: paused or not, and how often a row is drawn.

Both are told again to a buffer that was started again. Nothing here waits for an answer.
"""

from __future__ import annotations

from concurrent.futures import Future

from actors.draw_messages import BufferStats
from actors.remote.replay import ReplayClient
from tmrl_ray.errors import PeerUnavailableError


class BufferKeeper:
    """Keeps one buffer; call ``reconcile`` about twice a second.

    Args:
        replay: the buffer.
        samples_per_insert: how often a row is drawn on average; None: no limit.
    """

    def __init__(self, replay: ReplayClient, samples_per_insert: float | None) -> None:
        self.stats: BufferStats | None = None
        """As of the latest answer; None: there was none yet."""
        self.is_paused = False
        """Whether nobody is to collect or to learn."""
        self.samples_per_insert = samples_per_insert
        self._replay = replay
        self._asked: Future[BufferStats] | None = None

    def reconcile(self) -> None:
        """See how the buffer is, and tell it what it should be; returns at once.

        Raises:
            TmrlError: something is wrong with it, other than that it is away.
        """
        if self._asked is not None:
            if not self._asked.done():
                return
            error = self._asked.exception()
            if error is None:
                self._tell(self._asked.result())
            elif not isinstance(error, PeerUnavailableError):
                raise error
        self._asked = self._replay.ask_for_stats()

    def _tell(self, stats: BufferStats) -> None:
        self.stats = stats
        if (stats.is_paused, stats.target_samples_per_insert) != (self.is_paused, self.samples_per_insert):
            self._replay.tell_pace(is_paused=self.is_paused, samples_per_insert=self.samples_per_insert)
