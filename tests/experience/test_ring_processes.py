"""The ring among processes: writers that are killed at every point of an append, and readers beside a writer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.experience.races import FORMAT
from tests.experience.ring_processes import KILL_POINTS, TELLING, chunks, telling_chunk
from tests.experience.test_ring import metres_drawn
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk
from tmrl_ray.experience.incarnations import Arrival
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring import TRAIN, Ring

SIZE = RingSize(capacity_rows=509, chunk_rows=31, guard_rows=0)
ROOT = Path(__file__).parents[2]
COMMITTED = {"record not named", "not acknowledged"}


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.experience.ring_processes", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def assert_recovered(ring: Ring, committed: list[Chunk]) -> None:
    """See that the ring holds the newest of what was committed, byte for byte, and nothing else."""
    live = ring.live_chunks()
    assert [record.id for record in live] == [chunk.id for chunk in committed[len(committed) - len(live) :]]
    for record, sent in zip(live, committed[len(committed) - len(live) :], strict=True):
        kept = ring.read_chunk(record)
        assert kept is not None
        assert all(kept.columns[name].tobytes() == sent.columns[name].tobytes() for name in sent.columns)
    assert ring.counters.env_steps == ring.counters.inserted_rows == sum(chunk.core for chunk in committed)
    assert ring.counters.incarnations == 1
    assert metres_drawn(ring) == [
        metres
        for record in live
        for metres in ring.column("metres")[record.core_start : record.core_start + record.core].tolist()
    ]
    lost = sum(chunk.core for chunk in committed[: len(committed) - len(live)])
    assert lost == 0 or ring.live_core_rows > SIZE.capacity_rows - 2 * 37


@pytest.mark.parametrize("before", [0, 61], ids=["new ring", "wrapped ring"])
@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path, point: str, before: int) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    incarnation, uuid = ring.grant(0), ring.uuid
    made = chunks(before + 6, incarnation)
    for chunk in made[:before]:
        ring.append(chunk)
    ring.close()
    with start("die", ring.directory, incarnation, before, 5, point) as writer:
        acknowledged, _ = writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    assert acknowledged.split() == [str(before + number) for number in range(4)]

    again = Ring.attach(ring.directory, FORMAT, verify_contents=True)
    survived = before + 4 + (point in COMMITTED)
    assert again.uuid == uuid
    assert_recovered(again, made[:survived])
    resent = made[before + 4]
    expected = Arrival.DUPLICATE if point in COMMITTED else Arrival.ACCEPTED
    assert [again.append(resent).arrival for _ in range(2)] == [expected, Arrival.DUPLICATE]
    assert again.append(made[before + 5]).arrival is Arrival.ACCEPTED
    assert_recovered(again, made)
    again.close()


def test_a_writer_that_is_killed_at_any_time_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    incarnation, done, longest = ring.grant(0), 0, 400
    made = chunks(longest, incarnation)
    for wait_s in (0.001, 0.003, 0.01):
        ring.close()
        with start("die", ring.directory, incarnation, done, longest - done, "evicted") as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline()]
            time.sleep(wait_s)
            writer.kill()
            acknowledged += writer.stdout.readlines()
        told = [int(line) for line in acknowledged if line.endswith("\n")]
        assert told == list(range(done, told[-1] + 1))
        ring = Ring.attach(ring.directory, FORMAT)
        done = ring.live_chunks()[-1].sequence + 1
        assert told[-1] + 1 <= done <= told[-1] + 2
        assert_recovered(ring, made[:done])
    ring.close()


def test_chunks_whose_rows_were_damaged_are_left_out(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    made = chunks(5, ring.grant(0))
    for chunk in made:
        ring.append(chunk)
    damaged = ring.live_chunks()[2]
    ring._files.columns["frame"][damaged.core_start, 3, 3] ^= 1
    ring.close()
    again = Ring.attach(ring.directory, FORMAT, verify_contents=True)
    assert [record.sequence for record in again.live_chunks()] == [0, 1, 3, 4]
    assert again.counters.env_steps == sum(chunk.core for chunk in made)
    again.close()


def test_a_thread_may_draw_while_another_one_appends(tmp_path: Path) -> None:
    size = RingSize(capacity_rows=7 * MAX_CORE_ROWS, chunk_rows=MAX_CORE_ROWS, guard_rows=MAX_CORE_ROWS)
    ring = Ring.create(tmp_path / "ring", TELLING, size, run="test")
    incarnation, rng, stop = ring.grant(0), np.random.default_rng(3), threading.Event()

    def append() -> None:
        for sequence in range(400):
            ring.append(telling_chunk(incarnation, sequence))
        stop.set()

    appender = threading.Thread(target=append)
    appender.start()
    drawn = intact = 0
    out = {"metres": np.zeros(61, np.float32), "frame": np.zeros((61, 60, 80), np.uint8)}
    while not stop.is_set():
        with ring.lock:
            index = ring.drawable[TRAIN]
            if not index.total:
                continue
            rows, generations = index.locate(rng.integers(index.total, size=61))
        for name, array in out.items():
            ring.take(name, rows, array)
        good = ring.intact(rows, generations)
        drawn, intact = drawn + 61, intact + int(good.sum())
        assert (out["frame"] == (out["metres"] % 251).astype(np.uint8)[:, None, None])[good].all()
    appender.join()
    ring.close()
    assert intact > 0.9 * drawn > 0


def test_readers_beside_a_writer_that_writes_flat_out_miss_no_torn_row(tmp_path: Path) -> None:
    size = RingSize(capacity_rows=3 * MAX_CORE_ROWS, chunk_rows=MAX_CORE_ROWS, guard_rows=0)
    directory = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    ring = Ring.create(directory / f"tmrl_ray-test-{tmp_path.name}", TELLING, size, run="test")
    ring.close()
    try:
        processes = [
            start("read", ring.directory, 4),
            start("read", ring.directory, 4),
            start("write", ring.directory, 4),
        ]
        reports = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        ring.remove()
    *readers, writer = reports
    assert writer["appends"] > 100
    assert sum(reader["missed"] for reader in readers) == 0
    assert sum(reader["torn"] for reader in readers) > 0, readers
    assert sum(reader["intact"] for reader in readers) > 100, readers
