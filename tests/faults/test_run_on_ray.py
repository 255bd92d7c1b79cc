"""A whole run on Ray, driving in the simulator, of which one process after the other is killed: it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from actors.collector_pool import MemberState
from tests.actors.remote_parts import kill_process
from tmrl_ray.cluster import ClusterRun, ClusterStatus, connected
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.replay import ReplaySettings, WindowSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.training import TrainingSettings
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.training import Training

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 90.0
CONFIG = RunConfig(
    game=GameSettings(frame_size=None),
    network=NetworkSettings(float_hidden=32, head_hidden=32, quantile_embedding=16),
    learner=LearnerSettings(batch_size=32, quantiles=4, draw_batches=2, publish_every=5),
    replay=ReplaySettings(
        windows=(WindowSettings(rows=20_000, learn_start_rows=512),),
        samples_per_insert=1.0,
        test_every=None,
        mini_race=None,
        shaping=None,
    ),
    collector=CollectorSettings(count=1, flush_s=0.5, weights_at="decision"),
    evaluation=EvaluationSettings(races=1, every_s=600.0),
    training=TrainingSettings(checkpoint_s=4.0, metrics_s=1.0, device="cpu"),
)


class Watched:
    """A run whose loop goes on while something is waited for."""

    def __init__(self, cluster: ClusterRun) -> None:
        self.cluster = cluster
        self.saved: list[int] = []
        """Learner steps of each checkpoint."""
        self._news = cluster.run()

    def until(self, holds: Callable[[ClusterStatus], bool], *, within_s: float = PATIENCE_S) -> ClusterStatus:
        """Let the run go on until something holds, or fail."""
        end_s = time.monotonic() + within_s
        while True:
            self._take(next(self._news))
            try:
                status = self.cluster.status()
            except PeerUnavailableError:
                continue
            if holds(status):
                return status
            assert time.monotonic() < end_s, f"not within {within_s} s: {status}"

    def finish(self) -> None:
        self.cluster.stop()
        for news in self._news:
            self._take(news)

    def _take(self, news: object) -> None:
        if news.saved is not None:
            self.saved.append(news.saved.clocks.learner_steps)


class Started:
    """A folder of runs, and what is needed to go on with its only run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.training = Training.of(CONFIG)

    def open(self, start: Start) -> tuple[RunDirectory, CheckpointStore]:
        run = RunDirectory.open(self.folder, "faulty", CONFIG, start)
        return run, CheckpointStore(run.checkpoints, Identity(run.uuid, self.training.hashes))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    directory = tempfile.mkdtemp(prefix="r")
    started = Started(tmp_path_factory.mktemp("runs"))
    options = {"include_dashboard": False, "_temp_dir": directory, "log_to_driver": False, "logging_level": "error"}
    with connected(started.training, num_cpus=2, object_store_memory=150_000_000, **options):
        yield started
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def watched(started: Started) -> Iterator[Watched]:
    run, store = started.open(Start.NEW)
    with run, ClusterRun(started.training, run, store) as cluster:
        yield Watched(cluster)


def test_collectors_feed_a_learner_whose_weights_they_take(watched: Watched) -> None:
    status = watched.until(lambda status: status.learner_steps >= 30 and min(status.acknowledged.values()) >= 3)
    assert status.buffer.env_steps >= 512
    assert [member.state for member in status.members] == [MemberState.RUNNING]


def test_a_killed_learner_goes_on_from_the_newest_checkpoint(watched: Watched) -> None:
    """Fault row 16: nobody else is started again, the experience stays, versions of the weights only rise."""
    watched.until(lambda _: watched.saved[-1:] > [0])
    before, saved_steps = watched.cluster.status(), watched.saved[-1]
    os.kill(watched.cluster.learner.process_id(), signal.SIGKILL)
    versions = []

    def goes_on(status: ClusterStatus) -> bool:
        versions.extend(status.acknowledged.values())
        return status.learner_restarts == 1 and status.policy_version > before.policy_version + 1

    status = watched.until(goes_on)
    assert status.learner_steps >= saved_steps
    assert versions == sorted(versions)
    assert status.buffer.ring_uuid == before.buffer.ring_uuid
    assert status.buffer.env_steps >= before.buffer.env_steps
    assert [member.restarts for member in status.members] == [0]


def test_a_killed_replay_buffer_goes_on_with_its_ring(watched: Watched) -> None:
    before = watched.cluster.status()
    kill_process(ray.get_actor("faulty.replay"))
    status = watched.until(lambda status: status.learner_steps > before.learner_steps + 10)
    assert status.buffer.ring_uuid == before.buffer.ring_uuid
    assert status.buffer.env_steps > before.buffer.env_steps
    assert status.buffer.inserted_rows >= before.buffer.inserted_rows
    assert status.learner_restarts == 1


def test_collectors_come_and_go_while_it_runs(watched: Watched) -> None:
    watched.cluster.scale(2)
    watched.until(lambda status: {0, 1} <= set(status.acknowledged))
    watched.cluster.scale(1)
    status = watched.until(lambda status: [member.number for member in status.members] == [0])
    assert status.members[0].restarts == 0


def test_a_stopped_run_is_saved_whole_and_leaves_no_ring_behind(watched: Watched, started: Started) -> None:
    ring = watched.cluster.replay.ring().directory
    assert ring.exists()
    watched.finish()
    env_steps = watched.cluster.records.clocks.env_steps
    watched.cluster.__exit__(None, None, None)
    assert not ring.exists()
    watched.cluster.records.run.close()
    run, store = started.open(Start.RESUME)
    with run:
        checkpoint = store.load()
        assert checkpoint.head.clocks.env_steps == env_steps
        with ClusterRun(started.training, run, store, checkpoint) as cluster:
            resumed = Watched(cluster)
            status = resumed.until(lambda status: status.learner_steps > checkpoint.head.clocks.learner_steps)
            assert status.buffer.env_steps >= env_steps
            assert status.buffer.live_rows >= min(env_steps, 15_000)


DRIVER = """
import sys
from pathlib import Path
from tests.faults.test_run_on_ray import drive_until_killed
drive_until_killed(Path(sys.argv[1]), sys.argv[2])
"""


def drive_until_killed(folder: Path, directory: str) -> None:
    """A run with a cluster of its own, which says a word whenever it has saved something that was learned."""
    started = Started(folder)
    run, store = started.open(Start.NEW)
    options = {"include_dashboard": False, "_temp_dir": directory, "log_to_driver": False, "logging_level": "error"}
    cluster = connected(started.training, num_cpus=2, object_store_memory=150_000_000, **options)
    with cluster, run, ClusterRun(started.training, run, store) as live:
        for news in live.run():
            if news.saved is not None and news.saved.clocks.learner_steps:
                sys.stdout.write(f"{news.saved.clocks.env_steps}\n")
                sys.stdout.flush()


def test_a_run_whose_driver_was_killed_is_resumed_from_its_ring(started: Started, tmp_path: Path) -> None:
    """Fault row 36: nothing goes on without the driver, and what had arrived is there when the run is resumed."""
    directory = tempfile.mkdtemp(prefix="r")
    command = [sys.executable, "-c", DRIVER, str(tmp_path), directory]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        env_steps = int(driver.stdout.readline())
        processes = psutil.Process(driver.pid).children(recursive=True)
        # Ray's own agents see only after a minute that they are alone.
        agents = [process for process in processes if process.cmdline()[0].split()[0].endswith("Agent")]
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()
    _, alive = psutil.wait_procs([process for process in processes if process not in agents], timeout=15.0)
    assert alive == []
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()
    shutil.rmtree(directory, ignore_errors=True)
    again = Started(tmp_path)
    run, store = again.open(Start.RESUME)
    with run, ClusterRun(again.training, run, store, store.load()) as cluster:
        assert cluster.replay.stats().env_steps >= env_steps
        checkpoint_steps = store.load().head.clocks.learner_steps
        resumed = Watched(cluster)
        resumed.until(lambda status: status.learner_steps > checkpoint_steps)
        resumed.finish()
