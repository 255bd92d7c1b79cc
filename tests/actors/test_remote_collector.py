"""Collectors as actors: their races reach the buffer through Ray, and no kill loses or doubles what has arrived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from safetensors.torch import save

from actors.collector_pool import CollectorPool, Member, MemberState, PoolPolicy
from actors.draw_messages import DrawRequest
from actors.messages import Heartbeat
from actors.remote.calls import wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import WeightClient, start_weight_store
from actors.weight_store import Weights
from tests.actors.fakes import FORMAT
from tests.actors.remote_parts import (
    PATIENCE_S,
    eventually,
    kill_process,
    make_broken_collectors,
    make_collectors,
    own_cluster,
    setup,
)
from tmrl_ray.experience.ring_reader import RingReader

pytestmark = pytest.mark.ray
RUN = "collect-run"


class Collecting:
    """A pool of collectors of toy races, their buffer and their weights."""

    def __init__(self, replay: Any, store: Any) -> None:
        self.replay = ReplayClient.connect(replay, FORMAT)
        self.store = store
        self.weights = WeightClient(store)
        self.host = RayCollectors(RUN, partial(make_collectors, RUN), forget=self.replay.forget)
        self.pool = CollectorPool(self.host, PoolPolicy(first_pause_s=0.1))
        self.arrived: dict[tuple[int, int], int] = {}
        """Decisions that each incarnation said it had taken when last heard of."""

    def members(self) -> list[Member]:
        """Of the pool, after one more turn of it."""
        self.pool.reconcile()
        members = self.pool.members()
        for beat in (beat for member in members for beat in member.heartbeats):
            self.arrived[beat.collector, beat.incarnation] = beat.env_steps
        return members

    def beats(self) -> list[Heartbeat]:
        return [beat for member in self.members() for beat in member.heartbeats]

    def publish(self, version: int) -> None:
        """As a learner does: to the store, and in its next question to the buffer."""
        weights = Weights.of(version, save({"weight": torch.full((3,), float(version))}))
        self.weights.publish(weights).result(PATIENCE_S)
        self.replay.draw(DrawRequest(1, 8, policy_version=version)).result(PATIENCE_S)

    def rows(self) -> int:
        return self.replay.stats().env_steps

    def chunks(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """By collector and incarnation, the sequence and core rows of each chunk in the ring."""
        reader = RingReader.attach(self.replay.ring().directory, FORMAT)
        found = defaultdict(list)
        for record in reader.live_chunks():
            found[record.id.collector, record.id.incarnation].append((record.id.sequence, record.core))
        return found


@pytest.fixture(scope="module")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    with own_cluster():
        replay = start_replay(RUN, setup(RUN, tmp_path_factory.mktemp("run"), rows=60_013))
        store = start_weight_store(RUN)
        wait_until_up(replay, PEER)
        yield Collecting(replay, store)


def test_two_collectors_fill_the_buffer_and_take_newer_weights(collecting):
    collecting.pool.scale(2)
    eventually(lambda: len(collecting.beats()) == 2 and collecting.rows() > 500)
    assert {beat.incarnation for beat in collecting.beats()} == {1, 2}
    collecting.publish(3)
    eventually(lambda: collecting.weights.acknowledged() == {0: 3, 1: 3})
    eventually(lambda: all(beat.policy_version == 3 for beat in collecting.beats()))
    eventually(lambda: {report.collector for report in collecting.host.take_reports()} == {0, 1})


def test_a_killed_weight_store_stops_nobody_and_the_next_publication_reaches_all(collecting):
    """Fault row 20."""
    collecting.publish(4)
    kill_process(collecting.store)
    rows = collecting.rows()
    eventually(lambda: collecting.rows() > rows + 300)
    collecting.publish(5)
    eventually(lambda: collecting.weights.acknowledged() == {0: 5, 1: 5}, within_s=10.0)


def test_a_killed_collector_is_replaced_and_the_other_drives_on(collecting):
    """Fault row 4."""
    before = {beat.collector: beat for beat in collecting.beats()}
    kill_process(collecting.host.actor(0))

    def is_back() -> bool:
        found = {beat.collector: beat for beat in collecting.beats()}
        return 0 in found and found[0].incarnation > before[0].incarnation and found[0].env_steps > 100

    eventually(is_back)
    restarts = [member.restarts for member in collecting.members()]
    assert restarts == [1, 0]
    assert {beat.collector: beat for beat in collecting.beats()}[1].beats > before[1].beats
    assert [incarnation for collector, incarnation in collecting.chunks() if collector == 0] == [
        before[0].incarnation,
        3,
    ]


def test_more_collectors_than_games_wait_for_one_and_the_others_drive_on(collecting):
    """Fault rows 8 and 9: the cluster has four games."""
    collecting.pool.scale(5)

    def states() -> list[MemberState]:
        return [member.state for member in collecting.members()]

    eventually(lambda: states().count(MemberState.RUNNING) == 4)
    assert states() == [MemberState.RUNNING] * 4 + [MemberState.PENDING]
    collecting.pool.scale(2)
    eventually(lambda: states() == [MemberState.RUNNING] * 2)
    assert [member.restarts for member in collecting.members()] == [1, 0]


def test_what_was_driven_has_arrived_once_when_all_are_drained(collecting):
    beats = {(beat.collector, beat.incarnation) for beat in collecting.beats()}
    collecting.pool.scale(0)
    eventually(lambda: not collecting.members())
    assert collecting.pool.is_empty
    found = collecting.chunks()
    for chunks in found.values():
        assert sorted(sequence for sequence, _ in chunks) == list(range(len(chunks)))
    assert sum(rows for chunks in found.values() for _, rows in chunks) == collecting.rows()
    for incarnation in beats:
        # A race that is given up has no rows that its last decisions could look ahead to.
        rows = sum(rows for _, rows in found[incarnation])
        assert rows >= collecting.arrived[incarnation] - FORMAT.look_ahead > 0


def test_a_collector_that_fails_again_and_again_is_left_alone_with_the_reason(collecting):
    """Fault row 5."""
    host = RayCollectors(RUN, partial(make_broken_collectors, RUN), forget=collecting.replay.forget)
    pool = CollectorPool(host, PoolPolicy(first_pause_s=0.05, most_crashes=2))
    pool.scale(1)

    def is_quarantined() -> bool:
        pool.reconcile()
        return pool.members()[0].state is MemberState.QUARANTINED

    eventually(is_quarantined)
    assert "made up" in pool.members()[0].reason
