"""A run over two nodes: learner and buffer on one, all collectors on the other, which is lost and comes back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from ray.cluster_utils import Cluster

from actors.collector import Collector
from actors.collector_pool import MemberState
from actors.remote.calls import find_actor
from actors.remote.replay import PART as REPLAY
from tests.actors.remote_parts import process_of
from tests.faults.conftest import Recovery
from tests.faults.journal import Journal
from tests.faults.journalled_client import JournalledClient
from tests.faults.watched_run import CONFIG, Started, Watched
from tmrl_ray import cluster as runs
from tmrl_ray import makers
from tmrl_ray.cluster import ClusterRun, ClusterStatus, connected
from tmrl_ray.config.run import RunConfig
from tmrl_ray.experience.codec import decode, encode
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.runs.rundir import Start
from tmrl_ray.training import Training

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "faulty"
OURS = CONFIG.replace(collector=CONFIG.collector.replace(count=2, compress=True))
STORE_BYTES = 100_000_000
START_S = 400.0
"""For new workers, which import torch, on a machine that others load."""


class CompressingClient(JournalledClient):
    """Sends as a collector on another machine does, and fails if it does not."""

    def append(self, data: NDArray[np.uint8]) -> Any:
        raw = encode(decode(data, self.journal._format), compress=False)
        assert data.nbytes < raw.nbytes, "a chunk for another machine is not compressed"
        return super().append(data)


def make_collectors(folder: Path, config: RunConfig, run: str, member: int) -> list[Collector]:
    """As a run makes them, with a journal of what they send."""
    CompressingClient.journal = Journal(folder, Training.of(config).format)
    makers.ReplayClient = CompressingClient
    return makers.make_collectors(config, run, member)


class TwoNodes:
    """Two nodes of one cluster on this machine: games are on the second only."""

    def __init__(self, directory: str) -> None:
        self._options = {"object_store_memory": STORE_BYTES, "temp_dir": directory, "include_dashboard": False}
        self.cluster = Cluster()
        self._add(num_cpus=3, include_log_monitor=False)
        self.add()

    def add(self) -> None:
        """Let a node with games join."""
        self.second = self._add(num_cpus=4, resources={"game": 4})

    def _add(self, **options: Any) -> Any:
        """Start a node. Ray gives one 30 s to come up, which is short on a loaded machine: then it is started again."""
        for _ in range(4):
            try:
                return self.cluster.add_node(**self._options, **options)
            except Exception as error:
                if "timed out during startup" not in str(error):
                    raise
        raise AssertionError("no node came up in four attempts")

    def lose(self) -> None:
        """Kill all of the second node, as a power cut does."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def is_on_second(self, actor: Any) -> bool:
        """Whether an actor's process is one of the second node."""
        return psutil.Process(process_of(actor)).ppid() == self.second.all_processes["raylet"][0].process.pid


class Running(Watched):
    """The run, the nodes that it is on, and what its collectors wrote down."""

    def __init__(self, cluster: ClusterRun, nodes: TwoNodes, journal: Journal) -> None:
        super().__init__(cluster)
        self.nodes = nodes
        self.journal = journal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory, folder = tempfile.mkdtemp(prefix="r"), tmp_path_factory.mktemp("two-nodes")
    ours = Started(folder, OURS)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        nodes = TwoNodes(directory)
        stack.callback(nodes.cluster.shutdown)
        stack.enter_context(connected(ours.training, nodes.cluster.address))
        run, store = ours.open(Start.NEW)
        stack.enter_context(run)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(runs, "make_collectors", partial(make_collectors, ours.journal.folder))
        cluster = stack.enter_context(ClusterRun(ours.training, run, store))
        yield Running(cluster, nodes, ours.journal)


def states(status: ClusterStatus) -> list[MemberState]:
    return [member.state for member in status.members]


def learns_from(*collectors: int, after: ClusterStatus | None = None) -> Callable[[ClusterStatus], bool]:
    """Whether these collectors drive, with weights newer than those of before, and the learner learns from them."""
    version = 2 if after is None else after.policy_version + 1
    env_steps, steps = (512, 10) if after is None else (after.buffer.env_steps + 100, after.learner_steps + 3)

    def holds(status: ClusterStatus) -> bool:
        drive = [member.number for member in status.members if member.state is MemberState.RUNNING]
        newest = [status.acknowledged.get(collector, 0) >= version for collector in collectors]
        return (
            drive == list(collectors)
            and all(newest)
            and status.buffer.env_steps >= env_steps
            and status.learner_steps >= steps
        )

    return holds


def test_collectors_drive_where_the_games_are_and_send_compressed_chunks(running: Running) -> None:
    running.until(learns_from(0, 1), within_s=START_S)
    nodes, host = running.nodes, running.cluster.collectors
    assert all(nodes.is_on_second(host.actor(number)) for number in (0, 1))
    assert not nodes.is_on_second(find_actor(NAME, REPLAY))
    assert not nodes.is_on_second(find_actor(NAME, "learner"))
    assert nodes.is_on_second(find_actor(NAME, "evaluator"))  # the first node has no game for it


def test_more_and_fewer_collectors_while_it_runs(running: Running) -> None:
    before = running.cluster.status()
    running.cluster.scale(3)
    running.until(learns_from(0, 1, 2, after=before), within_s=START_S)
    running.cluster.scale(2)
    status = running.until(lambda status: len(status.members) == 2)
    assert [member.restarts for member in status.members] == [0, 0]


def test_row_24_a_lost_collector_node_is_missed_and_used_again(running: Running, recovery: Recovery) -> None:
    """The node of the collectors is lost."""
    before = running.cluster.status()
    recovery.begin()
    running.nodes.lose()
    lost = running.until(lambda status: MemberState.RUNNING not in states(status), within_s=65.0)
    assert [member.restarts for member in lost.members] == [0, 0] or MemberState.PENDING in states(lost)
    running.nodes.add()
    status = running.until(learns_from(0, 1, after=before), within_s=START_S)
    recovery.end()
    assert status.learner_restarts == 0
    assert status.buffer.ring_uuid == before.buffer.ring_uuid
    assert running.nodes.is_on_second(running.cluster.collectors.actor(0))


def test_what_was_acknowledged_is_there_once(running: Running) -> None:
    """Last: drains the collectors, and holds the ring against the journal."""
    running.cluster.scale(0)
    running.until(lambda status: not status.members)
    ring = RingReader.attach(running.cluster.replay.ring().directory, running.cluster.training.format)
    account = running.journal.check(ring)
    assert account.acknowledged_rows > 1000
    running.finish()  # removes the ring
