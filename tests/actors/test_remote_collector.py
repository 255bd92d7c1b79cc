"""Collectors as actors: their races reach the buffer through Ray, once; kills are rows of ``tests/faults``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from safetensors.torch import save

from actors.collector_pool import CollectorPool, Member, PoolPolicy
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
