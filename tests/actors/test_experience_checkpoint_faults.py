"""Experience on the disk while it is written: kills, full disks, damage, and chunks that come meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, sent, settings_of, setup_in
from tests.actors.saved_experience import load, lose_ring, save, segments_in, store_in
from tmrl_ray.errors import NotSavedError
from tmrl_ray.runs.disk import Disk


class Killed(BaseException):
    """The process was killed."""


class FailingDisk(Disk):
    """Fails at one of its steps, or counts them.

    Args:
        at: number of the step, from 0; None: never.
        error: what is raised then.
    """

    def __init__(self, at: int | None = None, error: BaseException | None = None) -> None:
        self.steps = 0
        self._at = at
        self._error = error or Killed()

    def _step(self) -> None:
        self.steps += 1
        if self._at == self.steps - 1:
            raise self._error

    def write(self, path: Path, data: bytes) -> None:
        if self._at == self.steps:
            path.write_bytes(data[: len(data) // 2])
        self._step()
        super().write(path, data)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._step()
        super().sync_directory(path)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)


def test_a_ring_that_was_never_filled_completely_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(4):
        sender.send(buffer, 70)
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    restore, calls = type(buffer._sampler).restore, []

    def killed_at_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return restore(*arguments)

    monkeypatch.setattr(type(buffer._sampler), "restore", killed_at_the_third)
    with pytest.raises(Killed):
        ReplayBuffer(setup, load(tmp_path))
    calls[0][0].ring.close()
    again = ReplayBuffer(setup, load(tmp_path))
    assert contents(again) == sent(sender.acknowledged)
    again.close()


def test_every_point_of_a_kill_leaves_the_checkpoint_before_it(tmp_path: Path):
    """Row 29 of the fault matrix: kills between and within all writes, renames, links and syncs."""
    kills = 0
    while True:
        folder = tmp_path / str(kills)
        folder.mkdir()
        setup = setup_in(folder)
        buffer = ReplayBuffer(setup)
        sender = Sender(buffer)
        sender.send(buffer, 60)
        save(store_in(folder), buffer)
        first = sent(sender.acknowledged)
        sender.send(buffer, 60)
        disk = FailingDisk(at=kills)
        buffer._folder._disk = disk
        killed = False
        try:
            save(store_in(folder, disk), buffer)
        except Killed:
            killed = True
        lose_ring(buffer)
        again = ReplayBuffer(setup, load(folder))
        assert contents(again) in ([first] if killed and disk.steps < 14 else [first, sent(sender.acknowledged)])
        Sender(again).send(again, 10)
        part = save(store_in(folder), again)
        assert set(segments_in(folder)) == set(part.files)  # and no orphans are left
        assert not list((folder / "replay").glob(".partial-*"))
        again.close()
        if not killed:
            break
        kills += 1
    assert kills >= 14


def test_a_full_disk_costs_a_checkpoint_and_nothing_else(tmp_path: Path):
    """Row 30: whatever step fails, the run goes on, and the next checkpoint is whole."""
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for step in range(6):
        sender.send(buffer, 20)
        buffer._folder._disk = FailingDisk(at=step, error=OSError(28, "No space left on device"))
        with pytest.raises(NotSavedError, match="No space left"):
            buffer.checkpoint()
        buffer._folder._disk = Disk()
        save(store_in(tmp_path), buffer)
        assert len(store_in(tmp_path).load().parts["replay"].arrays["chunks"]) == step + 1
    lose_ring(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    assert contents(again) == sent(sender.acknowledged)
    again.close()


def test_a_corrupt_segment_costs_what_is_damaged_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Row 31: it is named, the rest is restored, and what is lost is counted."""
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender, store = Sender(buffer), store_in(tmp_path)
    for steps in (50, 60, 70):
        sender.send(buffer, steps)
    save(store, buffer)
    sender.send(buffer, 80)
    save(store, buffer)
    lose_ring(buffer)
    part = load(tmp_path)
    table = part.arrays["chunks"]
    name = part.values["segments"][table[1][0]]
    path = part.files[name].path
    data = bytearray(path.read_bytes())
    data[table[1][1] + table[1][2] - 5] ^= 0x10  # at the end of the second chunk
    path.write_bytes(data)
    again = ReplayBuffer(setup, load(tmp_path))
    assert again.restored.damaged == (path,)
    assert (again.restored.lost_chunks, again.restored.lost_rows, again.restored.rows) == (1, 60, 200)
    assert f"{path} is damaged" in caplog.text
    kept = [chunk for number, chunk in enumerate(sender.acknowledged) if number != 1]
    assert contents(again) == sent(kept)
    assert again.stats().env_steps == 260  # decisions that were taken stay taken
    fresh = save(store_in(tmp_path), again)
    assert name not in fresh.files
    again.close()


def test_a_missing_segment_costs_what_was_in_it(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 50)
    save(store, buffer)
    sender.send(buffer, 80)
    save(store, buffer)
    lose_ring(buffer)
    part = load(tmp_path)
    part.files[part.values["segments"][part.arrays["chunks"][0][0]]].path.unlink()
    again = ReplayBuffer(setup, load(tmp_path))
    assert (again.restored.lost_rows, again.restored.rows) == (50, 80)
    again.close()


def test_a_checkpoint_is_made_while_chunks_come(tmp_path: Path):
    setup = setup_in(tmp_path, settings_of(rows=512, samples_per_insert=None))
    buffer = ReplayBuffer(setup)
    sender, store = Sender(buffer), store_in(tmp_path)
    ends = threading.Event()

    def keep_sending() -> None:
        while not ends.is_set():
            sender.send(buffer, 90)
            time.sleep(0.001)

    thread = threading.Thread(target=keep_sending)
    thread.start()
    for _ in range(8):
        save(store, buffer)
    ends.set()
    thread.join()
    lose_ring(buffer)
    part = load(tmp_path)
    again = ReplayBuffer(setup, part)
    assert again.restored.lost_chunks == 0
    known = dict(sent(sender.acknowledged))
    assert again.restored.chunks > 0
    for identity, checksum in contents(again):
        assert known[identity] == checksum
    assert again.stats().env_steps == part.values["counters"]["env_steps"]
    again.close()


def test_an_unreadable_manifest_costs_one_whole_checkpoint(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 90)
    save(store_in(tmp_path), buffer)
    crash(buffer)
    (tmp_path / "replay" / "manifest.json").write_text("{")
    again = ReplayBuffer(setup)
    assert segments_in(tmp_path) == {}
    save(store_in(tmp_path), again)
    lose_ring(again)
    restored = ReplayBuffer(setup, load(tmp_path))
    assert contents(restored) == sent(sender.acknowledged)
    restored.close()
