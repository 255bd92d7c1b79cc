"""The replay buffer as an actor: killed idle and in the midst of appends, slow, and called too often."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.collector import Collector
from actors.collector_pool import CollectorPool
from actors.draw_messages import Drawn, DrawRequest
from actors.messages import AppendReply
from actors.remote.calls import end_actor, wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import start_weight_store
from tests.actors.fakes import FORMAT
from tests.actors.remote_parts import (
    PATIENCE_S,
    eventually,
    kill_process,
    make_collectors,
    own_cluster,
    process_of,
    setup,
)
from tests.experience.races import MadeUpRaces
from tests.experience.ring_processes import KILL_POINTS
from tests.faults.conftest import Recovery
from tests.faults.faulty_replay import DyingReplayShell, RaceSender, SlowReplayShell, start_faulty
from tests.faults.journal import Journal
from tests.faults.journalled_client import JournalledClient
from tests.faults.parts import Trigger, resident_bytes, spilled_bytes
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.ring_reader import RingReader

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 60_013
"""Of the rings, more than any test sends."""


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    with own_cluster() as folder:
        yield folder


@pytest.fixture
def journal(ray_folder: Path, tmp_path: Path) -> Journal:
    JournalledClient.journal = Journal(tmp_path / "journal", FORMAT)
    return JournalledClient.journal


def reader_of(client: ReplayClient) -> RingReader:
    return RingReader.attach(client.ring(timeout_s=PATIENCE_S).directory, FORMAT)


def digest(ring: RingReader) -> str:
    """Of all rows that are there."""
    found = hashlib.sha256()
    for record in ring.live_chunks():
        found.update(repr(record).encode())
        for name in ring.format.layout.names:
            found.update(ring.column(name)[record.start : record.start + record.rows].tobytes())
    return found.hexdigest()


def test_row_10_an_idle_buffer_that_is_killed_comes_back_with_all_it_had(
    journal: Journal, tmp_path: Path, recovery: Recovery
) -> None:
    """Replay SIGKILL idle: attaches to its ring again, same rows, same checksum, same limiter counters; 3 s."""
    made = setup("idle", tmp_path, rows=ROWS)
    made = replace(made, settings=made.settings.replace(samples_per_insert=0.5))  # all of it within the band
    replay = start_replay("idle", made)
    client = JournalledClient(replay)
    sender = RaceSender(client, FORMAT)
    for _ in range(5):
        sender.race(311)
    assert isinstance(client.draw(DrawRequest(3, 64)).result(PATIENCE_S), Drawn)
    before, contents = client.stats(timeout_s=PATIENCE_S), digest(reader_of(client))
    pid = kill_process(replay)
    recovery.begin()
    client.ring(timeout_s=PATIENCE_S)
    recovery.end()
    assert process_of(replay) != pid
    after = client.stats(timeout_s=PATIENCE_S)
    assert after.samples == 192
    assert after._replace(collectors=()) == before._replace(collectors=())
    assert digest(reader_of(client)) == contents
    journal.check(reader_of(client))
    end_actor(replay)


def test_row_11_a_buffer_that_is_killed_within_an_append_loses_and_doubles_nothing(
    journal: Journal, tmp_path: Path, recovery: Recovery
) -> None:
    """Replay SIGKILL mid-append, at eight points: half rows dropped, the chunk resent and there once; 3 s."""
    trigger = Trigger(tmp_path / "trigger")
    replay = start_faulty("dying", setup("dying", tmp_path, rows=ROWS), DyingReplayShell, trigger)
    client = JournalledClient(replay)
    sender = RaceSender(client, FORMAT)
    sender.race(600)
    for point in KILL_POINTS:
        trigger.arm(point)
        recovery.begin()
        sender.race(300)
        recovery.end()
        assert not trigger.is_armed
    assert sender.resent >= len(KILL_POINTS)
    account = journal.check(reader_of(client))
    assert len(account.acknowledged) == len(account.sent)
    assert client.stats(timeout_s=PATIENCE_S).env_steps == 600 + 300 * len(KILL_POINTS)
    end_actor(replay)


def make_journalled(run: str, journal: Path, member: int) -> list[Collector]:
    """Toy collectors with a journal, which send often."""
    import tests.actors.remote_parts as parts

    JournalledClient.journal = Journal(journal, FORMAT)
    parts.ReplayClient = JournalledClient  # type: ignore[misc]
    return make_collectors(run, member)


@pytest.mark.faults
def test_row_15_a_slow_buffer_holds_collectors_back_and_nothing_piles_up(
    journal: Journal, ray_folder: Path, tmp_path: Path, recovery: Recovery
) -> None:
    """Slow replay, 100 ms per append: at most two chunks in flight, collectors' memory flat, nothing spilled."""
    replay = start_faulty("slow", setup("slow", tmp_path, rows=ROWS), SlowReplayShell, 0.1)
    store = start_weight_store("slow")
    client = ReplayClient(replay)
    host = RayCollectors("slow", partial(make_journalled, "slow", journal.folder), num_cpus=0.1, forget=client.forget)
    pool = CollectorPool(host)
    pool.scale(3)

    def rows() -> int:
        pool.reconcile()
        return client.stats(timeout_s=PATIENCE_S).env_steps

    eventually(lambda: rows() > 3_000)
    pids = [process_of(host.actor(number)) for number in range(3)]
    warm = [resident_bytes(pid) for pid in pids]
    recovery.begin()
    before, end_s = rows(), time.monotonic() + 20.0
    while time.monotonic() < end_s:
        rows()
        time.sleep(0.25)
    recovery.end()
    assert rows() > before, "it goes on"
    grown = [resident_bytes(pid) - start for pid, start in zip(pids, warm, strict=True)]
    assert max(grown) < 8 * 2**20, f"{grown} bytes"
    assert spilled_bytes(ray_folder) == 0
    assert journal.read().most_in_flight == 2
    pool.scale(0)
    eventually(lambda: (pool.reconcile(), pool.is_empty)[1])
    journal.check(reader_of(client))
    for actor in (replay, store):
        end_actor(actor)


@pytest.mark.faults
def test_row_22_calls_that_are_made_again_and_in_another_order_do_no_harm(
    journal: Journal, tmp_path: Path, recovery: Recovery
) -> None:
    """At-least-once delivery, max_task_retries=-1 on append: duplicates are told and dropped, order is irrelevant."""
    replay = start_replay("often", setup("often", tmp_path, rows=ROWS), max_task_retries=-1)
    wait_until_up(replay, PEER, timeout_s=PATIENCE_S)
    client = JournalledClient(replay)
    grant = client.hand_out_incarnation(0, FORMAT.layout.hash).result(PATIENCE_S)
    races, builder = MadeUpRaces(7, FORMAT), ChunkBuilder(FORMAT, 0, grant.incarnation)
    chunks = [chunk for _ in range(36) for chunk in races.race(builder, 211)]
    recovery.begin()
    for number in range(0, len(chunks), 12):
        data = [encode(chunk, compress=False) for chunk in reversed(chunks[number : number + 12])]
        futures: list[Future[AppendReply]] = [client.append(each) for each in (*data, *data[::2])]
        kill_process(replay)
        futures += [client.append(each) for each in data[1::3]]
        wait(futures, timeout=PATIENCE_S)
        for future, each in zip(futures, (*data, *data[::2], *data[1::3]), strict=True):
            if future.exception() is not None:  # not even retries help: the collector sends it again
                assert isinstance(future.exception(), PeerUnavailableError)
                answered(client, each)
    recovery.end()
    account = journal.check(reader_of(client))
    assert len(account.acknowledged) == len(chunks)
    assert account.answers["duplicate"] > 0
    end_actor(replay)


def answered(client: ReplayClient, data: Any) -> AppendReply:
    """Send until there is an answer."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.append(data).result(PATIENCE_S)
        except PeerUnavailableError:
            assert time.monotonic() < end_s
            time.sleep(0.1)
