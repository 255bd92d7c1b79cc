"""Experience on the disk: incremental, whole whatever happens while it is written, and restored to any size."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from actors.draw_messages import Drawn, DrawRequest
from actors.experience_checkpoint import ExperienceFolder
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, sent, settings_of, setup_in
from tests.experience.races import LAYOUT
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.errors import CheckpointError, NotSavedError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointStore, Identity
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk

IDENTITY = Identity("run-7", {"layout": LAYOUT.hash})


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


def store_in(folder: Path, disk: Disk | None = None) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", IDENTITY, disk=disk)


def save(store: CheckpointStore, buffer: ReplayBuffer) -> Part:
    part = buffer.checkpoint()
    store.save({"replay": part}, Clocks(buffer.stats().env_steps, 0, 0.0))
    return part


def load(folder: Path) -> Part:
    checkpoint: Checkpoint = store_in(folder).load()
    return checkpoint.parts["replay"]


def lose_ring(buffer: ReplayBuffer) -> None:
    """Lose the machine's memory."""
    buffer.remove()


def segments_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted((folder / "replay").glob("segment-*"))}


def test_a_checkpoint_brings_everything_back(tmp_path: Path):
    setup = setup_in(tmp_path, settings_of(priorities=PrioritySettings(), test_every=3))
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(5):
        sender.send(buffer, 70)
    for record in buffer.ring.live_chunks():
        buffer.ring._files.priorities[record.core_extent.slice] = np.arange(record.core) + 1.0
    leaves = [buffer.ring.live_priorities()[record.core_extent.slice] for record in buffer.ring.live_chunks()]
    splits = [record.split for record in buffer.ring.live_chunks()]
    before = buffer.stats()
    save(store_in(tmp_path), buffer)
    expected = buffer._sampler.state_dict()["rng"]
    lose_ring(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    assert not again.was_attached
    assert (again.restored.chunks, again.restored.rows) == (5, 350)
    assert (again.restored.lost_rows, again.restored.left_out_rows, again.restored.damaged) == (0, 0, ())
    assert contents(again) == sent(sender.acknowledged)
    assert again.stats()._replace(ring_uuid="") == before._replace(ring_uuid="", collectors=())
    assert [record.split for record in again.ring.live_chunks()] == splits
    for record, expected_leaves in zip(again.ring.live_chunks(), leaves, strict=True):
        assert again.ring.live_priorities()[record.core_extent.slice].tolist() == expected_leaves.tolist()
    again._sampler.check_valid()
    assert again._sampler.state_dict()["rng"] == expected
    again.close()


def test_an_intact_ring_is_newer_than_its_checkpoint(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 70)
    save(store_in(tmp_path), buffer)
    sender.send(buffer, 70)
    crash(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    assert again.was_attached
    assert again.restored is None
    assert contents(again) == sent(sender.acknowledged)
    again.close()


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


def test_only_what_is_new_is_written(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 150)
    save(store, buffer)
    first = segments_in(tmp_path)
    sender.send(buffer, 30)
    save(store, buffer)
    second = segments_in(tmp_path)
    assert second.items() > first.items()
    (new,) = second.keys() - first.keys()
    assert second[new] < 0.4 * sum(first.values())
    save(store, buffer)
    assert segments_in(tmp_path) == second
    buffer.close()


@pytest.mark.parametrize("is_killed", [True, False], ids=["after a kill", "after a restore"])
def test_only_what_is_new_is_written_after_a_start(tmp_path: Path, is_killed: bool):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 150)
    save(store_in(tmp_path), buffer)
    first = segments_in(tmp_path)
    crash(buffer) if is_killed else lose_ring(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    Sender(again).send(again, 30)
    save(store_in(tmp_path), again)
    assert segments_in(tmp_path).items() > first.items()
    again.close()


def test_segments_go_when_nothing_of_them_is_left(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(rows=512, samples_per_insert=None)))
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 150)
    save(store, buffer)
    old = set(segments_in(tmp_path))
    for _ in range(5):
        sender.send(buffer, 150)
    part = save(store, buffer)
    assert not old & set(segments_in(tmp_path))
    assert set(part.files) == set(segments_in(tmp_path))
    first = store.load(store.names()[0]).parts["replay"]
    assert all(file.is_whole() for file in first.files.values())  # the older checkpoint still has what it needs
    buffer.close()


def test_large_experience_goes_into_several_segments(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(6):
        sender.send(buffer, 70)
    chunk_bytes = 70 * LAYOUT.row_bytes
    folder = ExperienceFolder(tmp_path / "other", compress=False, segment_bytes=2 * chunk_bytes)
    part = folder.save(buffer.ring, {"limiter": {}, "sampler": {}})
    assert len(part.files) == 3
    assert all(2 * chunk_bytes <= file.size_bytes < 3 * chunk_bytes for file in part.files.values())
    buffer.close()


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


@pytest.mark.parametrize(("rows", "kept"), [(512, 5), (2048, 9)], ids=["smaller", "larger"])
@pytest.mark.parametrize("ring_is_there", [True, False])
def test_the_newest_rows_fit_into_another_size(tmp_path: Path, rows: int, kept: int, ring_is_there: bool):
    """Row 32."""
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(rows=1024, samples_per_insert=None)))
    sender = Sender(buffer)
    for _ in range(9):
        sender.send(buffer, 100)
    save(store_in(tmp_path), buffer)
    crash(buffer) if ring_is_there else lose_ring(buffer)
    again = ReplayBuffer(setup_in(tmp_path, settings_of(rows=rows, samples_per_insert=None)), load(tmp_path))
    assert again.was_attached == ring_is_there
    assert again.restored.left_out_rows == (9 - kept) * 100
    assert contents(again) == sent(sender.acknowledged[-kept:])
    stats = again.stats()
    assert (stats.capacity_rows, stats.live_rows, stats.env_steps) == (rows, kept * 100, 900)
    assert len(list((tmp_path / "shm").iterdir())) == 1
    again.close()


@pytest.mark.parametrize("ratio", [0.5, 64.0, None])
def test_other_settings_of_the_limiter_win(tmp_path: Path, ratio: float | None):
    """Row 33: no burst of draws, and nobody waits for ever."""
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(5):
        sender.send(buffer, 100)
    request = DrawRequest(2, 11)
    while isinstance(buffer.draw(request), Drawn):
        pass
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    again = ReplayBuffer(setup_in(tmp_path, settings_of(samples_per_insert=ratio)), load(tmp_path))
    stats = again.stats()
    assert (stats.inserted_rows, stats.target_samples_per_insert) == (500, ratio)
    assert -stats.band <= stats.balance <= stats.band
    if ratio is not None:
        draws = 0
        while isinstance(again.draw(request), Drawn):
            draws += 1
        assert draws * 22 <= 2 * stats.band
        assert again.standing(0).credits > 0
    again.close()


def test_a_checkpoint_of_other_columns_is_refused(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    Sender(buffer).send(buffer, 50)
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    other = setup_in(tmp_path, format=ChunkFormat(LAYOUT, history=2, look_ahead=5))
    with pytest.raises(CheckpointError, match="look-ahead"):
        ReplayBuffer(other, load(tmp_path))


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
