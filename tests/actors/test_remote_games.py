"""An actor with several games: they are driven at the same time, and one that breaks stops none of the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import Any

import pytest

from actors.collector import Collector
from actors.collector_life import Ports
from actors.collector_pool import CollectorPool, Member, MemberState
from actors.messages import CollectorState, Heartbeat
from actors.remote.calls import find_actor, wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.replay import PART as REPLAY
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import PART as WEIGHTS
from actors.remote.weights import WeightClient, start_weight_store
from tests.actors.fakes import FORMAT, FakeKeeper, driving
from tests.actors.remote_parts import SlowPolicy, eventually, own_cluster, setup
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.errors import GameRefusedError

pytestmark = pytest.mark.ray

RUN = "games-run"
GAMES = 3
BROKEN = 1
"""Which of the games is lost in each of its races."""


def make_collectors(run: str, member: int) -> list[Collector]:
    """One for each game of a member; the same line to the buffer serves all."""
    sink, weights = ReplayClient.connect(find_actor(run, REPLAY), FORMAT), WeightClient(find_actor(run, WEIGHTS))

    def keeper(number: int) -> FakeKeeper:
        if number != BROKEN:
            return FakeKeeper()
        broken = FakeKeeper(most=3, lost_at_ms=repeat(500))
        broken.refusal = GameRefusedError("the game was lost three times")
        return broken

    settings = CollectorSettings(games=GAMES, reply_s=5.0, flush_s=0.1)
    drives = driving(make_policy=SlowPolicy)
    return [
        Collector(number, settings, drives, Ports(keeper(number), sink, weights), run_seed=7)
        for number in range(member * GAMES, (member + 1) * GAMES)
    ]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorPool]:
    with own_cluster():
        replay: Any = start_replay(RUN, setup(RUN, tmp_path_factory.mktemp("run"), rows=60_013))
        store: Any = start_weight_store(RUN)
        wait_until_up(replay, PEER)
        wait_until_up(store, "the weight store")
        client = ReplayClient.connect(replay, FORMAT)
        host = RayCollectors(RUN, partial(make_collectors, RUN), games=GAMES, forget=client.forget)
        yield CollectorPool(host)


def members(pool: CollectorPool) -> list[Member]:
    pool.reconcile()
    return pool.members()


def beats(pool: CollectorPool) -> dict[int, Heartbeat]:
    return {beat.collector: beat for member in members(pool) for beat in member.heartbeats}


def test_all_games_of_an_actor_are_driven_and_a_broken_one_stops_no_other(pool: CollectorPool) -> None:
    pool.scale(1)

    def is_told() -> bool:
        seen = beats(pool)
        return len(seen) == GAMES and seen[BROKEN].state is CollectorState.QUARANTINED

    eventually(is_told, within_s=90.0)
    before = beats(pool)
    assert before[BROKEN].game_losses == 3
    assert "lost three times" in before[BROKEN].reason
    whole = [number for number in range(GAMES) if number != BROKEN]
    eventually(lambda: all(beats(pool)[number].races >= before[number].races + 2 for number in whole))
    (member,) = members(pool)
    assert (member.state, member.restarts) == (MemberState.RUNNING, 0)


def test_an_actor_waits_for_as_many_games_as_it_has(pool: CollectorPool) -> None:
    pool.scale(2)  # the cluster has four games
    assert [member.state for member in members(pool)] == [MemberState.RUNNING, MemberState.PENDING]
    pool.scale(0)
    eventually(lambda: members(pool) == [])
