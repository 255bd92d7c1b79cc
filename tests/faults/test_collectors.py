"""Collectors that fail, hang, are too many or too old, and weights that do not come: with toy races, as actors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from actors.collector_pool import CollectorPool, Member, MemberState, PoolPolicy
from actors.draw_messages import DrawRequest
from actors.messages import Heartbeat
from actors.remote.calls import ask, end_actor, wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import PEER as WEIGHTS_PEER
from actors.remote.weights import WeightClient, redeem, start_weight_store
from actors.weight_store import Weights
from actors.weight_watch import WeightWatch
from learner.learner import Question
from tests.actors.fakes import FORMAT
from tests.actors.remote_parts import PATIENCE_S, eventually, kill_process, own_cluster, setup
from tests.faults.conftest import Recovery
from tests.faults.faulty_collectors import (
    OTHER_FORMAT,
    Make,
    Making,
    make_failing,
    make_good,
    make_hanging,
    make_skewed,
    make_with_number_one_blocked,
)
from tmrl_ray.errors import ChunkError, PeerUnavailableError, RingError
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.learner_line import LearnerLine

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.faults]

GAMES = 8


class Collecting:
    """A pool of toy collectors, their buffer and their weights; closed with a look at the journal."""

    def __init__(self, run: str, folder: Path, make: Make, policy: PoolPolicy | None = None, **replay: Any) -> None:
        self.making = Making(run, folder)
        self.store = start_weight_store(run)
        made = setup(run, folder, rows=400_009)
        made = dataclasses.replace(made, settings=made.settings.replace(**replay))
        self.actors = [start_replay(run, made), self.store]
        wait_until_up(self.actors[0], PEER, timeout_s=PATIENCE_S)
        self.replay = ReplayClient(self.actors[0])
        self.weights = WeightClient(self.store)
        self.host = RayCollectors(run, partial(make, self.making), num_cpus=0.1, forget=self.replay.forget)
        self.pool = CollectorPool(self.host, policy or PoolPolicy(first_pause_s=0.1))

    def members(self) -> list[Member]:
        self.pool.reconcile()
        return self.pool.members()

    def states(self) -> list[MemberState]:
        return [member.state for member in self.members()]

    def beats(self) -> dict[int, Heartbeat]:
        return {beat.collector: beat for member in self.members() for beat in member.heartbeats}

    def rows(self) -> int:
        self.pool.reconcile()
        return self.replay.stats(timeout_s=PATIENCE_S).env_steps

    def publish(self, version: int) -> None:
        """As a learner does: to the store, and in its next question to the buffer."""
        weights = Weights.of(version, save({"weight": torch.full((3,), float(version))}))
        self.weights.publish(weights).result(PATIENCE_S)
        self.replay.draw(DrawRequest(1, 8, policy_version=version)).result(PATIENCE_S)

    def close(self) -> None:
        self.pool.scale(0)
        eventually(lambda: self.members() == [])
        self.making.journal.check(RingReader.attach(self.replay.ring().directory, FORMAT))
        self.replay.remove()
        for actor in self.actors:
            end_actor(actor)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with own_cluster(games=GAMES):
        yield


def test_row_5_a_collector_that_fails_at_each_start_is_left_alone(tmp_path: Path, recovery: Recovery) -> None:
    """Collector raises in a loop: longer and longer pauses, quarantine after 5 with the reason, no hot loop."""
    collecting = Collecting("failing", tmp_path, make_failing, PoolPolicy(first_pause_s=0.2))
    recovery.begin()
    collecting.pool.scale(1)
    eventually(lambda: collecting.states() == [MemberState.QUARANTINED])
    recovery.end()
    (member,) = collecting.members()
    assert (member.crashes, member.restarts) == (5, 4)
    assert "made up" in member.reason
    for _ in range(20):
        collecting.pool.reconcile()
        time.sleep(0.05)
    assert collecting.members()[0].restarts == 4
    collecting.close()


def test_row_6_a_collector_that_hangs_is_replaced(tmp_path: Path, recovery: Recovery) -> None:
    """Collector hangs in Python: its heartbeat stands still, it is killed and replaced; 60 s."""
    collecting = Collecting("hanging", tmp_path, make_hanging, PoolPolicy(first_pause_s=0.1, silent_s=5.0))
    collecting.pool.scale(2)
    eventually(lambda: len(beats := collecting.beats()) == 2 and all(beat.env_steps > 50 for beat in beats.values()))
    before = collecting.beats()
    collecting.making.trigger(0).arm()
    recovery.begin()
    eventually(lambda: 0 in (beats := collecting.beats()) and beats[0].incarnation != before[0].incarnation)
    recovery.end()
    assert [member.restarts for member in collecting.members()] == [1, 0]
    assert "no sign of life" in collecting.members()[0].reason
    assert collecting.beats()[1].incarnation == before[1].incarnation
    collecting.close()


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Collecting]:
    collecting = Collecting("good", tmp_path, make_good)
    yield collecting
    collecting.close()


def test_row_8_collectors_are_added_and_drained_while_it_runs(good: Collecting, recovery: Recovery) -> None:
    """Scale 2 -> 8 -> 1 live: nobody else is started again, what was drained is all acknowledged; 30 s."""
    good.pool.scale(2)
    eventually(lambda: len(good.beats()) == 2 and good.rows() > 200)
    first = {number: beat.incarnation for number, beat in good.beats().items()}
    recovery.begin()
    good.pool.scale(8)
    eventually(lambda: len(good.beats()) == 8 and all(beat.env_steps > 0 for beat in good.beats().values()))
    good.pool.scale(1)
    eventually(lambda: good.states() == [MemberState.RUNNING])
    recovery.end()
    assert good.members()[0].restarts == 0
    assert good.beats()[0].incarnation == first[0]
    account = good.making.journal.read()
    drained = {id for id in account.sent if id.incarnation != first[0]}
    assert {id.collector for id in drained} == set(range(1, 8))
    assert drained <= account.acknowledged.keys()


def test_row_9_more_collectors_than_games_wait_and_are_shown(good: Collecting, recovery: Recovery) -> None:
    """More collectors than game units, N + 3: three stay pending and are shown as such; the run goes on."""
    recovery.begin()
    good.pool.scale(GAMES + 3)
    eventually(lambda: good.states().count(MemberState.RUNNING) == GAMES)
    recovery.end()
    assert good.states() == [MemberState.RUNNING] * GAMES + [MemberState.PENDING] * 3
    rows = good.rows()
    eventually(lambda: good.rows() > rows + 200)
    assert good.states().count(MemberState.PENDING) == 3


def test_row_20_a_killed_weight_store_stops_nobody(good: Collecting, recovery: Recovery) -> None:
    """Weight store SIGKILL: collectors go on, the learner fills it again, acknowledged versions converge; 10 s."""
    line = LearnerLine(good.replay, good.weights, FORMAT)
    line.ring()
    good.pool.scale(2)
    eventually(lambda: len(good.beats()) == 2 and good.rows() > 100)
    line.publish(4, save({"weight": torch.full((3,), 4.0)}))

    def act_with(acknowledged: dict[int, int]) -> bool:
        line.ask(Question(1, 8, policy_version=max(acknowledged.values()))).result(PATIENCE_S)
        good.members()
        return good.weights.acknowledged() == acknowledged

    eventually(lambda: act_with({0: 4, 1: 4}))
    kill_process(good.store)
    recovery.begin()
    rows = good.rows()
    eventually(lambda: good.rows() > rows + 100)
    good.pool.scale(3)
    eventually(lambda: act_with({2: 4}))  # the others have these weights already
    recovery.end()
    line.publish(5, save({"weight": torch.full((3,), 5.0)}))
    eventually(lambda: act_with({0: 5, 1: 5, 2: 5}))
    assert [member.restarts for member in good.members()] == [0, 0, 0]


def is_published(good: Collecting, weights: Weights) -> bool:
    return good.weights.publish(weights).result(PATIENCE_S) == weights.version


def test_row_21_whoever_pulls_weights_of_an_owner_that_dies_never_hangs(good: Collecting, recovery: Recovery) -> None:
    """Owner dies during a pull: the weights whole, or an error within seconds; never a hang, never a part; 10 s."""
    for version in range(1, 6):
        weights = Weights.of(version, torch.arange(500_000 + version).numpy().tobytes())
        eventually(partial(is_published, good, weights))
        ticket = ask(lambda: good.store.ticket.remote(0), WEIGHTS_PEER, timeout_s=PATIENCE_S)
        recovery.begin()
        fetching = redeem(ticket)
        kill_process(good.store)
        again = redeem(ticket)
        for future in (fetching, again):
            try:
                assert future.result(PATIENCE_S) == weights
            except PeerUnavailableError:
                continue
        recovery.end()


def test_row_23_a_collector_that_gets_no_weights_raises_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recovery: Recovery
) -> None:
    """Stale weights, pulls of one collector blocked: its lag rises, an alarm names it, what it sends may be dropped."""
    collecting = Collecting("stale", tmp_path, make_with_number_one_blocked, max_policy_lag=5)
    watch = WeightWatch(patience_s=3.0)
    collecting.pool.scale(2)
    eventually(lambda: len(collecting.beats()) == 2 and collecting.rows() > 100)
    recovery.begin()
    version = 0
    lags: list[int] = []

    def is_told() -> bool:
        nonlocal version
        version += 1
        collecting.publish(version)
        beats = collecting.beats()
        watch.look(beats.values(), version)
        lags.append(version - beats[1].policy_version if 1 in beats else 0)
        time.sleep(0.1)
        return watch.stale == (1,)

    eventually(is_told)
    recovery.end()
    assert "collector 1 has acted with weights of version 0" in caplog.text
    assert "collector 0" not in caplog.text
    assert max(lags) == lags[-1] > 5
    eventually(lambda: collecting.making.journal.read().answers["outdated"] > 1)
    account = collecting.making.journal.read()
    assert account.answers["refused"] == 0
    rows = collecting.rows()
    eventually(lambda: (collecting.publish(version), collecting.rows() > rows + 100)[1])  # the other one goes on
    assert collecting.beats()[0].incarnation != collecting.beats()[1].incarnation
    collecting.close()


def test_row_40_another_version_is_refused_with_both_hashes(tmp_path: Path, recovery: Recovery) -> None:
    """Version skew: the handshake refuses with both hashes, the collector is quarantined and says why."""
    collecting = Collecting("skewed", tmp_path, make_skewed, PoolPolicy(first_pause_s=0.05, most_crashes=2))
    mine, theirs = FORMAT.layout.hash, OTHER_FORMAT.layout.hash
    with pytest.raises(ChunkError, match=mine) as refusal:
        collecting.replay.hand_out_incarnation(0, theirs).result(PATIENCE_S)
    assert theirs in str(refusal.value)
    with pytest.raises(RingError, match=mine) as reading:
        RingReader.attach(collecting.replay.ring().directory, OTHER_FORMAT)
    assert theirs in str(reading.value)
    recovery.begin()
    collecting.pool.scale(1)
    eventually(lambda: collecting.states() == [MemberState.QUARANTINED])
    recovery.end()
    assert mine in collecting.members()[0].reason
    assert theirs in collecting.members()[0].reason
    assert collecting.rows() == 0
    collecting.close()
