"""A client of the replay buffer that keeps the journal, for the collectors and the learner of real runs."""

from __future__ import annotations

from concurrent.futures import Future
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from actors.draw_messages import Drawn, DrawRequest, NeedMore
from actors.messages import AppendReply
from actors.remote.replay import ReplayClient
from tests.faults.journal import Journal


class JournalledClient(ReplayClient):
    """Sends and draws as any client does; set ``journal`` in each process before it is used."""

    journal: ClassVar[Journal]

    def append(self, data: NDArray[np.uint8]) -> Future[AppendReply]:
        id = self.journal.send(data)
        future = super().append(data)

        def note(done: Future[AppendReply]) -> None:
            if not done.cancelled() and done.exception() is None:
                self.journal.answer(id, done.result().status)

        future.add_done_callback(note)
        return future

    def draw(self, request: DrawRequest) -> Future[Drawn | NeedMore]:
        future = super().draw(request)

        def note(done: Future[Drawn | NeedMore]) -> None:
            if not done.cancelled() and done.exception() is None and isinstance(drawn := done.result(), Drawn):
                self.journal.draw(drawn.ring_uuid, drawn.draw)

        future.add_done_callback(note)
        return future
