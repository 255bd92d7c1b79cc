"""A whole run on Ray of which one process after the other is killed, stopped or given nonsense: it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray

from actors.buffer_rings import EXPERIENCE
from actors.collector_pool import MemberState
from actors.remote.calls import find_actor
from actors.remote.control import PART as CONTROL
from actors.remote.control import ControlClient
from tests.actors.remote_parts import PATIENCE_S, eventually, kill_process, own_cluster, process_of
from tests.faults.conftest import Recovery
from tests.faults.faulty_run import measuring, nonsense, publishing
from tests.faults.parts import resident_bytes
from tests.faults.watched_run import Started, Watched, faults_on_demand
from tmrl_ray.cluster import ClusterRun, ClusterStatus, connected
from tmrl_ray.control import controlled
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.experience.memory import ring_directory
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.overview import Watch
from tmrl_ray.runs.cluster_file import ClusterPlace
from tmrl_ray.runs.rundir import Start

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with own_cluster():
        yield Started(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def watched(started: Started) -> Iterator[Watched]:
    run, store = started.open(Start.NEW)
    with faults_on_demand(started.journal), run, ClusterRun(started.training, run, store) as live:
        ring = live.replay.ring().directory
        watched = Watched(live)
        watched.until(lambda status: status.learner_steps >= 30 and min(status.acknowledged.values(), default=0) >= 3)
        yield watched
    shutil.rmtree(ring, ignore_errors=True)  # a run that was not stopped leaves it to whoever resumes


def test_row_16_a_killed_learner_goes_on_from_the_newest_checkpoint(watched: Watched, recovery: Recovery) -> None:
    """Learner SIGKILL: goes on from its checkpoint, nobody else starts again, versions of weights only rise; 60 s."""
    watched.until(lambda _: watched.saved[-1:] > [0])
    before, saved_steps = watched.cluster.status(), watched.saved[-1]
    recovery.begin()
    os.kill(watched.cluster.learner.process_id(), signal.SIGKILL)
    versions: list[int] = []

    def goes_on(status: ClusterStatus) -> bool:
        versions.extend(status.acknowledged.values())
        return status.learner_restarts == 1 and status.policy_version > before.policy_version + 1

    status = watched.until(goes_on)
    recovery.end()
    assert status.learner_steps >= saved_steps
    assert versions == sorted(versions)
    assert status.buffer.ring_uuid == before.buffer.ring_uuid
    assert status.buffer.env_steps >= before.buffer.env_steps
    assert [member.restarts for member in status.members] == [0]


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["before", "under way"])
def test_row_17_a_learner_killed_while_it_publishes_leaves_whole_weights(
    watched: Watched, started: Started, moment: str, recovery: Recovery
) -> None:
    """Learner SIGKILL while publishing: nobody ever gets a part of the weights, versions go on rising; 60 s."""
    before = watched.cluster.status()
    seen = [before.policy_version]
    publishing(started.journal.folder).arm(moment)
    recovery.begin()

    def goes_on(status: ClusterStatus) -> bool:
        weights = watched.cluster.weights.fetch_if_newer(0).result(60.0)
        assert weights is not None
        weights.check()
        seen.append(weights.version)
        restarted = status.learner_restarts == before.learner_restarts + 1
        return restarted and min(status.acknowledged.values()) > before.policy_version + 2

    watched.until(goes_on)
    recovery.end()
    assert seen == sorted(seen)


@pytest.mark.faults
def test_row_18_batches_without_a_finite_loss_are_set_aside_with_their_rows(
    watched: Watched, started: Started, recovery: Recovery
) -> None:
    """NaN loss: a few batches are undone and written down; nothing but NaN: restarted from the last good, 60 s."""
    before = watched.cluster.status()
    aside = watched.cluster.records.run.set_aside
    assert not aside.exists()
    nonsense(started.journal.folder).arm("3")
    watched.until(lambda _: aside.exists() and len(aside.read_text().splitlines()) == 3)
    for line in aside.read_text().splitlines():
        entry = json.loads(line)
        assert len(entry["rows"]) == len(entry["generations"]) == 32
    status = watched.until(lambda status: status.learner_steps > before.learner_steps + 20)
    assert status.learner_restarts == before.learner_restarts
    nonsense(started.journal.folder).arm("1000000")
    recovery.begin()
    watched.until(lambda status: status.learner_restarts == before.learner_restarts + 1)
    restarted = watched.cluster.status().policy_version
    status = watched.until(lambda status: min(status.acknowledged.values()) > restarted + 2)
    recovery.end()
    weights = watched.cluster.weights.fetch_if_newer(0).result(60.0)
    assert weights is not None
    assert all(bool(tensor.isfinite().all()) for tensor in weights.tensors().values())


@pytest.mark.faults
def test_row_19_a_stopped_learner_holds_the_collectors_back(watched: Watched, recovery: Recovery) -> None:
    """Learner SIGSTOP for 20 s: inserts stop at the edge of the band, memory is flat, SIGCONT and it goes on."""
    before = watched.cluster.status()
    pid = watched.cluster.learner.process_id()
    others = [process_of(ray.get_actor("faulty.replay")), process_of(watched.cluster.collectors.actor(0))]
    os.kill(pid, signal.SIGSTOP)
    try:
        status = watched.until(lambda status: status.buffer.balance >= status.buffer.band - 2 * 256)
        memory = [resident_bytes(each) for each in others]
        watched.until(lambda later: later.buffer.env_steps >= status.buffer.env_steps)
        watched.go_on(20.0)
        held = watched.cluster.replay.stats(timeout_s=60.0)
        assert held.balance <= held.band
        assert held.env_steps <= status.buffer.env_steps + 2 * 256
        grown = [resident_bytes(each) - start for each, start in zip(others, memory, strict=True)]
        assert max(grown) < 8 * 2**20, f"{grown} bytes"
    finally:
        os.kill(pid, signal.SIGCONT)
    recovery.begin()
    after = watched.until(lambda status: status.buffer.env_steps > held.env_steps + 500)
    recovery.end()
    assert after.learner_steps > before.learner_steps
    assert after.learner_restarts == before.learner_restarts


@pytest.mark.faults
def test_a_killed_evaluator_is_started_again_and_measures_on(watched: Watched) -> None:
    watched.until(lambda _: watched.measured)
    before, known = watched.cluster.status(), len(watched.measured)
    kill_process(ray.get_actor("faulty.evaluator"))
    status = watched.until(lambda _: len(watched.measured) > known + 1)
    assert status.learner_restarts == before.learner_restarts
    assert [member.restarts for member in status.members] == [member.restarts for member in before.members]
    assert watched.measured == sorted(watched.measured)


@pytest.mark.faults
def test_an_evaluator_that_breaks_costs_an_evaluation_and_no_more(
    watched: Watched, started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    before = watched.cluster.status()
    measuring(started.journal.folder).arm()
    watched.until(lambda _: "the game was lost 6 times" in caplog.text)
    known = len(watched.measured)
    status = watched.until(lambda status: len(watched.measured) > known)
    assert status.learner_steps > before.learner_steps
    assert watched.cluster.state == "training"


@pytest.mark.faults
def test_a_killed_control_tells_who_waited_and_takes_orders_again(watched: Watched) -> None:
    live = watched.cluster
    place = ClusterPlace("127.0.0.1:0", None, "", None)
    with controlled(live, live.records.run, Watch("faulty"), place) as control:
        client = ControlClient(find_actor("faulty", CONTROL))
        watched.until(lambda _: (control.attend(), client.status())[1] is not None)
        with ThreadPoolExecutor(1) as aside:
            waiting = aside.submit(client.order, "pause", timeout_s=5.0)
            kill_process(find_actor("faulty", CONTROL))
            with pytest.raises(PeerUnavailableError):
                waiting.result(PATIENCE_S)
            ordered = aside.submit(order_until_taken, client)
            watched.until(lambda _: (control.attend(), ordered.done())[1])
        name = ordered.result()
        assert (live.records.run.checkpoints / name).is_dir()
        assert live.state == "training"


def order_until_taken(client: ControlClient) -> str:
    """Order a checkpoint, again while the control is away, and return its name."""
    names: list[str] = []

    def is_taken() -> bool:
        names.append(client.order("checkpoint", timeout_s=PATIENCE_S))
        return True

    eventually(is_taken)
    return names[0]


def test_a_killed_buffer_of_a_whole_run_goes_on_with_its_ring(watched: Watched) -> None:
    before = watched.cluster.status()
    kill_process(ray.get_actor("faulty.replay"))
    status = watched.until(lambda status: status.learner_steps > before.learner_steps + 10)
    assert status.buffer.ring_uuid == before.buffer.ring_uuid
    assert status.buffer.env_steps > before.buffer.env_steps
    assert status.buffer.inserted_rows >= before.buffer.inserted_rows
    assert status.learner_restarts == before.learner_restarts


def test_collectors_come_and_go_while_it_runs(watched: Watched) -> None:
    watched.cluster.scale(2)
    watched.until(lambda status: {0, 1} <= set(status.acknowledged))
    watched.cluster.scale(1)
    status = watched.until(lambda status: [member.number for member in status.members] == [0])
    assert status.members[0].restarts == 0
    assert status.members[0].state is MemberState.RUNNING


def test_a_stopped_run_is_saved_whole_and_leaves_no_ring_behind(watched: Watched, started: Started) -> None:
    ring = watched.cluster.replay.ring().directory
    watched.finish()
    account = started.journal.check(RingReader.attach(ring, started.training.format))
    assert len(account.acknowledged) == len(account.sent)
    assert account.drawn, "the learner kept the journal, too"
    env_steps = watched.cluster.records.clocks.env_steps
    assert env_steps == account.acknowledged_rows
    watched.cluster.__exit__(None, None, None)
    assert not ring.exists()
    watched.cluster.records.run.close()
    run, store = started.open(Start.RESUME)
    with run:
        checkpoint = store.load()
        assert checkpoint.head.clocks.env_steps == env_steps
        with ClusterRun(started.training, run, store, checkpoint) as live:
            resumed = Watched(live)
            status = resumed.until(lambda status: status.learner_steps > checkpoint.head.clocks.learner_steps)
            assert status.buffer.env_steps >= env_steps
            assert status.buffer.live_rows >= env_steps
            kill_the_learner_and_stop(resumed)
            last, before = store.load(), store.load(store.names()[-2])
            assert last.head.clocks.env_steps >= status.buffer.env_steps
            assert last.parts["learner"].values == before.parts["learner"].values


def kill_the_learner_and_stop(watched: Watched) -> None:
    """Stop a run while its learner is about to be started again: nobody waits for it, and nothing fails."""
    os.kill(watched.cluster.learner.process_id(), signal.SIGKILL)
    watched.until(lambda status: status.learner_restarts == 1)
    watched.finish()


DRIVER = """
import sys
from pathlib import Path
from tests.faults.test_run import drive_until_killed
drive_until_killed(Path(sys.argv[1]), sys.argv[2])
"""


def drive_until_killed(folder: Path, directory: str) -> None:
    """A run with a cluster of its own, which says a word whenever it has saved something that was learned."""
    started = Started(folder)
    run, store = started.open(Start.NEW)
    options = {"include_dashboard": False, "_temp_dir": directory, "log_to_driver": False, "logging_level": "error"}
    connection = connected(started.training, num_cpus=4, object_store_memory=150_000_000, **options)
    with faults_on_demand(started.journal), connection, run, ClusterRun(started.training, run, store) as live:
        for news in live.run():
            if news.saved is not None and news.saved.clocks.learner_steps:
                sys.stdout.write(f"{news.saved.clocks.env_steps}\n")
                sys.stdout.flush()


@pytest.mark.faults
def test_row_36_a_run_whose_driver_was_killed_is_resumed_from_its_ring(
    started: Started, tmp_path: Path, recovery: Recovery
) -> None:
    """Driver SIGKILL: nothing goes on without it, and what had arrived is there when the run is resumed."""
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
    recovery.begin()
    _, alive = psutil.wait_procs([process for process in processes if process not in agents], timeout=60.0)
    recovery.end()
    assert alive == []
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()
    shutil.rmtree(directory, ignore_errors=True)
    again = Started(tmp_path)
    run, store = again.open(Start.RESUME)
    setup = again.training.buffer_setup(run.uuid, run.path)
    newest = RingReader.attach(ring_directory(run.uuid, EXPERIENCE, setup.ring_base), setup.format)
    version = newest.newest_policy_version()
    with faults_on_demand(again.journal), run, ClusterRun(again.training, run, store, store.load()) as live:
        assert live.replay.stats(timeout_s=60.0).env_steps >= env_steps
        checkpoint_steps = store.load().head.clocks.learner_steps
        resumed = Watched(live)
        status = resumed.until(lambda status: status.learner_steps > checkpoint_steps)
        assert status.policy_version > version > 0
        ring = RingReader.attach(live.replay.ring().directory, again.training.format)
        resumed.finish()
        again.journal.check(ring)
