"""A buffer is told how it should be whenever it is not so: also one that was killed, and forgot that it was told."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from actors.draw_messages import BufferStats
from tests.actors.buffers import setup_in
from tmrl_ray.buffer_keeper import BufferKeeper
from tmrl_ray.errors import PeerUnavailableError, RingError


class FakeClient:
    """A buffer that does what it is told, until it is killed and forgets that."""

    def __init__(self, stats: BufferStats) -> None:
        self._fresh = self.stats = stats
        self.told: list[tuple[bool, float | None]] = []
        self.failure: Exception | None = None
        self.is_silent = False

    def ask_for_stats(self) -> Future[BufferStats]:
        future: Future[BufferStats] = Future()
        if self.failure is not None:
            future.set_exception(self.failure)
        elif not self.is_silent:
            future.set_result(self.stats)
        return future

    def tell_pace(self, *, is_paused: bool, samples_per_insert: float | None) -> None:
        self.told.append((is_paused, samples_per_insert))
        self.stats = self.stats._replace(is_paused=is_paused, target_samples_per_insert=samples_per_insert)

    def be_killed(self) -> None:
        self.stats = self._fresh


@pytest.fixture
def client(tmp_path: Any) -> FakeClient:
    from actors.replay_buffer import ReplayBuffer

    buffer = ReplayBuffer(setup_in(tmp_path))
    stats = buffer.stats()
    buffer.remove()
    return FakeClient(stats._replace(is_paused=False, target_samples_per_insert=7.0))


def look(keeper: BufferKeeper, times: int = 3) -> None:
    for _ in range(times):
        keeper.reconcile()


def test_a_buffer_that_is_as_wanted_is_told_nothing(client: FakeClient) -> None:
    keeper = BufferKeeper(client, 7.0)  # type: ignore[arg-type]
    look(keeper)
    assert client.told == []
    assert keeper.stats == client.stats


def test_a_pause_and_a_ratio_are_told_once_and_again_to_a_buffer_that_was_killed(client: FakeClient) -> None:
    keeper = BufferKeeper(client, 7.0)  # type: ignore[arg-type]
    keeper.is_paused, keeper.samples_per_insert = True, 11.0
    look(keeper, 5)
    assert client.told == [(True, 11.0)]
    client.failure = PeerUnavailableError("it is started again")
    client.be_killed()
    look(keeper)
    client.failure = None
    look(keeper, 5)
    assert client.told == [(True, 11.0)] * 2
    keeper.is_paused, keeper.samples_per_insert = False, None
    look(keeper, 5)
    assert client.told == [(True, 11.0)] * 2 + [(False, None)]


def test_nobody_waits_for_a_buffer_that_does_not_answer_and_other_errors_are_raised(client: FakeClient) -> None:
    client.is_silent = True
    keeper = BufferKeeper(client, 13.0)  # type: ignore[arg-type]
    look(keeper, 5)
    assert client.told == [] and keeper.stats is None
    other = FakeClient(client.stats)
    other.failure = RingError("the ring is damaged")
    keeper = BufferKeeper(other, 13.0)  # type: ignore[arg-type]
    with pytest.raises(RingError, match="damaged"):
        look(keeper)
