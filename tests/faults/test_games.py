"""Games that die, hang or talk nonsense under real collectors, which start them as processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from actors.collector_pool import CollectorPool, Member, PoolPolicy
from actors.messages import Heartbeat
from actors.remote.calls import end_actor, wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import start_weight_store
from tests.actors.remote_parts import PATIENCE_S, eventually, kill_process, own_cluster
from tests.faults.conftest import Recovery
from tests.faults.faulty_run import make_collectors
from tests.faults.journal import Journal
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.game import ConnectionSettings, GameSettings, LaunchSettings, Patience
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.replay import ReplaySettings, WindowSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.game.launch import free_port, simulator_launch
from tmrl_ray.game.process import GameRecord, recorded_games
from tmrl_ray.training import Training

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ANSWER_S = 5.0
"""How long a game may take for an answer in these tests."""
DECISION_S = 0.05
FASTEST_MPS = 300.0
"""No car is faster: the game itself stops at 1000 km/h."""
MARGIN_M = 10.0
"""A place is known to a few zones of the line."""
REVERSED_M = 30.0
"""So far behind the start a car may be that drives by chance: it reverses until it is stopped for want of progress."""
LARGEST = 1e5
"""Of all that is observed: revolutions are the largest numbers, some 10,000 a minute."""


def config_of(*options: str) -> RunConfig:
    """Blind races in simulators that are processes of their own, as a real game is."""
    launch = LaunchSettings(command=simulator_launch(1, *options).command, ready_s=PATIENCE_S)
    return RunConfig(
        game=GameSettings(frame_size=None),
        connection=ConnectionSettings(port=free_port(), launch=launch, patience=Patience(answer_s=ANSWER_S)),
        network=NetworkSettings(float_hidden=16, head_hidden=16, quantile_embedding=8),
        replay=ReplaySettings(
            windows=(WindowSettings(rows=120_000, learn_start_rows=512),), samples_per_insert=None, test_every=None
        ),
        collector=CollectorSettings(flush_s=0.2, reply_s=10.0),
    )


class Playing:
    """A pool of collectors with real game processes, and their buffer."""

    def __init__(self, run: str, folder: Path, state_dir: Path, config: RunConfig) -> None:
        self.training = Training.of(config)
        self.state_dir = state_dir
        setup = self.training.buffer_setup(run, folder)
        self.actors = [start_replay(run, setup), start_weight_store(run)]
        wait_until_up(self.actors[0], PEER)
        self.replay = ReplayClient(self.actors[0])
        self.journal = Journal(folder / "journal", self.training.format)
        make = partial(make_collectors, self.journal.folder, config, run)
        self.host = RayCollectors(run, make, num_cpus=0.1, forget=self.replay.forget)
        self.pool = CollectorPool(self.host, PoolPolicy(first_pause_s=0.2))

    def members(self) -> list[Member]:
        self.pool.reconcile()
        return self.pool.members()

    def beats(self) -> dict[int, Heartbeat]:
        return {beat.collector: beat for member in self.members() for beat in member.heartbeats}

    def game_of(self, collector: int) -> GameRecord:
        """What was written down about the start of a collector's game, once it is: between two games nothing is."""
        port = self.training.config.connection.port + 1 + collector

        def records() -> list[GameRecord]:
            return [each for each in recorded_games(self.state_dir) if each.port == port]

        eventually(records)
        (record,) = records()
        return record

    def drives(self, collector: int, env_steps: int, *, losses: int = 0) -> bool:
        """Whether a collector has driven on, and lost so many games."""
        beat = self.beats().get(collector)
        return beat is not None and beat.env_steps > env_steps and beat.game_losses >= losses

    def drives_after_loss(self, collector: int, before: Heartbeat) -> None:
        """Wait until a collector has lost a game, and has then driven a hundred decisions in another one."""
        eventually(lambda: self.drives(collector, 0, losses=before.game_losses + 1))
        since = self.beats()[collector].env_steps
        eventually(lambda: self.drives(collector, since + 100))

    def incarnation_of(self, collector: int) -> int | None:
        """Of a collector as far as it was heard of."""
        beat = self.beats().get(collector)
        return None if beat is None else beat.incarnation

    def close(self) -> None:
        """Drain all, and see that every row arrived once and no game is left."""
        self.pool.scale(0)
        eventually(lambda: self.members() == [])
        ring = RingReader.attach(self.replay.ring().directory, self.training.format)
        account = self.journal.check(ring)
        newest = {each.collector: each.incarnation for each in sorted(account.sent)}
        unheard = account.sent.keys() - account.acknowledged.keys()  # in flight when their collector was killed
        assert all(each.incarnation < newest[each.collector] for each in unheard)
        assert len(unheard) <= 2
        check_rows(ring, self.training.courses[0].line.length_m)
        eventually(lambda: recorded_games(self.state_dir) == [])
        self.replay.remove()
        for actor in self.actors:
            end_actor(actor)


def check_rows(ring: RingReader, length_m: float) -> None:
    """See that each row can be one of a race: finite, on the line, no jump along it, on a clock that goes on."""
    records = ring.live_chunks()
    assert records
    for record in records:
        chunk = ring.read_chunk(record)
        assert chunk is not None
        for name in ("floats", "terms", "metres"):
            values = chunk.columns[name]
            assert np.isfinite(values).all() and np.abs(values).max() < LARGEST, f"{name} of {record.id}"
        metres, times_ms = (chunk.columns[name].astype(np.float64) for name in ("metres", "race_time_ms"))
        assert metres.min() >= -REVERSED_M and metres.max() <= length_m + MARGIN_M, record.id
        assert np.abs(np.diff(metres)).max() < FASTEST_MPS * DECISION_S + MARGIN_M, record.id
        steps_ms = np.diff(times_ms)
        assert times_ms[0] >= 0 and steps_ms.min() > 0 and steps_ms.max() <= 1000 * DECISION_S, record.id


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the games of these tests are written down, and the cluster that they run in."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(folder))
        with own_cluster():
            yield folder / "tmrl_ray" / "games"


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["garbage@700", "short_frame@700", "no_number@700", "exit@700"])
def test_row_3_nonsense_from_a_game_never_reaches_the_ring(
    fault: str, state_dir: Path, tmp_path: Path, recovery: Recovery
) -> None:
    """Garbage, short reads: the race is given up, the connection or game replaced; nothing of it becomes a row."""
    seeing: dict[str, Any] = {"game": GameSettings(frame_size=(44, 36))} if fault.startswith("short") else {}
    playing = Playing(
        f"garbage-{fault.partition('@')[0]}", tmp_path, state_dir, config_of("--fault", fault).replace(**seeing)
    )
    playing.pool.scale(1)
    eventually(lambda: playing.drives(0, 0, losses=1), within_s=2 * PATIENCE_S)
    recovery.begin()
    driven = playing.beats()[0].env_steps
    eventually(lambda: playing.drives(0, driven + 5))
    recovery.end()
    eventually(lambda: playing.drives(0, 20, losses=2))
    assert playing.replay.stats().malformed_chunks == 0
    playing.close()


@pytest.fixture(scope="module")
def two(state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playing]:
    """Two collectors, each with a game, that drive."""
    playing = Playing("games", tmp_path_factory.mktemp("two"), state_dir, config_of())
    playing.pool.scale(2)
    eventually(lambda: playing.drives(0, 20) and playing.drives(1, 20))
    yield playing
    playing.close()


def test_row_1_a_game_that_dies_costs_one_race_and_a_relaunch(two: Playing, recovery: Recovery) -> None:
    """Game process dies: the race's unsent tail is lost, the game is launched again, others drive on; 30 s."""
    before, game = two.beats(), two.game_of(0)
    recovery.begin()
    for process in game.members():
        process.kill()
    two.drives_after_loss(0, before[0])
    recovery.end()
    after = two.beats()
    assert (after[0].incarnation, after[1].incarnation) == (before[0].incarnation, before[1].incarnation)
    assert after[1].env_steps > before[1].env_steps
    assert after[1].game_losses == before[1].game_losses
    assert two.game_of(0).token != game.token
    assert game.members() == []


@pytest.mark.faults
def test_row_2_a_game_that_hangs_is_killed_and_launched_again(two: Playing, recovery: Recovery) -> None:
    """Game hangs without an exception: the deadline of a step ends it, kill and relaunch; deadline + 30 s."""
    before, game = two.beats(), two.game_of(1)
    assert game.process is not None
    recovery.begin()
    os.kill(game.process.pid, signal.SIGSTOP)
    two.drives_after_loss(1, before[1])
    recovery.end()
    assert f"kept us waiting {ANSWER_S:g} s" in two.beats()[1].reason
    assert not psutil.pid_exists(game.process.pid)
    assert two.beats()[0].game_losses == before[0].game_losses


def test_row_4_a_killed_collector_is_replaced_and_its_game_does_not_outlive_it(
    two: Playing, recovery: Recovery
) -> None:
    """Collector SIGKILL: started again, its orphaned game reaped, sequences go on in a new incarnation; 10 s."""
    before, game = two.beats(), two.game_of(0)
    recovery.begin()
    kill_process(two.host.actor(0))
    eventually(lambda: two.drives(0, 100) and two.incarnation_of(0) != before[0].incarnation)
    recovery.end()
    after = two.beats()
    assert after[0].incarnation > max(before[0].incarnation, before[1].incarnation)
    assert after[1].incarnation == before[1].incarnation
    assert [member.restarts for member in two.members()] == [1, 0]
    assert game.members() == []
    assert two.game_of(0).token != game.token
