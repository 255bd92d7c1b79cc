"""Checkpoints of experience: kills and full disks while they are written, damage, and restores to other settings."""

from __future__ import annotations

import signal
from multiprocessing import get_context
from pathlib import Path

import pytest

from actors.draw_messages import Drawn, DrawRequest
from tests.actors.buffers import contents, sent, settings_of
from tests.actors.saved_experience import segments_in
from tests.experience.races import OBSERVATION
from tests.faults.buffer_site import ROWS, BufferSite
from tests.faults.conftest import Recovery
from tests.faults.dying import in_process, peak_of_restore, save_until_killed
from tests.runs.saved_state import CountingDisk, full_at
from tmrl_ray.errors import NotSavedError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.columns import Layout
from tmrl_ray.runs.disk import Disk


def test_row_29_a_kill_at_any_step_of_a_checkpoint_leaves_the_one_before(tmp_path: Path, recovery: Recovery) -> None:
    """Crash during a checkpoint, SIGKILL at each write, fsync, link and rename: the one before loads, orphans go."""
    newest = []
    for step in range(100):
        folder = tmp_path / str(step)
        if in_process(save_until_killed, folder, step) != -signal.SIGKILL:
            break
        recovery.begin()
        site = BufferSite(folder)
        attached = site.open()
        assert attached.was_attached
        everything = site.check(attached)  # what is in shared memory no kill can harm
        assert len(everything.acknowledged) == 2
        attached.remove()  # the machine went down, too

        restored = site.open(restored=True)
        recovery.end()
        newest.append(len(contents(restored)))
        second = [chunk for chunk in everything.acknowledged if chunk.sequence >= newest[-1]]
        site.journal.check(restored.ring, lost=frozenset(second))
        part = site.save(restored)
        assert set(segments_in(folder)) == set(part.files), "orphans are left"
        strays = [*(folder / "replay").glob(".partial-*"), *(folder / "checkpoints").glob(".partial-*")]
        assert strays == []
        restored.remove()
    assert newest == sorted(newest)
    assert newest.count(1) > 15, "few steps came before the second checkpoint was there"
    assert newest.count(2) >= 1


@pytest.mark.faults
def test_row_30_a_full_disk_costs_a_checkpoint_and_nothing_else(tmp_path: Path, recovery: Recovery) -> None:
    """Disk full at any step of a checkpoint: collecting goes on, the error names the disk, the old one is intact."""
    site = BufferSite(tmp_path)
    buffer = site.open()
    sender = site.sender(buffer)
    sender.send(buffer, 50)
    site.save(buffer)
    counting = CountingDisk()
    buffer._folder._disk = counting
    sender.send(buffer, 20)
    site.save(buffer, counting)
    failures = 0
    for step in range(counting.steps):
        known = len(site.load().arrays["chunks"])
        sender.send(buffer, 20)
        disk = CountingDisk(full_at(step))
        buffer._folder._disk = disk
        try:
            site.save(buffer, disk)
        except NotSavedError as error:
            failures += 1
            assert "No space left" in str(error)
            assert "Make room on that disk" in str(error)
            assert len(site.load().arrays["chunks"]) == known
        recovery.begin()
        buffer._folder._disk = Disk()
        site.save(buffer)
        recovery.end()
    assert failures > 15
    site.check(buffer)
    buffer.remove()
    restored = site.open(restored=True)
    site.check(restored)
    restored.remove()


@pytest.mark.faults
def test_row_31_a_corrupt_segment_costs_what_is_damaged_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recovery: Recovery
) -> None:
    """Corrupt segment, a byte flipped: its checksum names it, the rest is restored, the loss is counted."""
    site = BufferSite(tmp_path)
    buffer = site.open()
    sender = site.sender(buffer)
    for steps in (50, 60, 70):
        sender.send(buffer, steps)
    site.save(buffer)
    sender.send(buffer, 80)
    part = site.save(buffer)
    buffer.remove()
    table = part.arrays["chunks"]
    path = site.load().files[part.values["segments"][table[1][0]]].path
    data = bytearray(path.read_bytes())
    data[table[1][1] + table[1][2] // 2] ^= 0x10  # in the midst of the second chunk
    path.write_bytes(data)
    recovery.begin()
    restored = site.open(restored=True)
    recovery.end()
    report = restored.restored
    assert report is not None
    assert report.damaged == (path,)
    assert (report.lost_chunks, report.lost_rows, report.rows) == (1, 60, 200)
    assert f"{path} is damaged" in caplog.text
    site.check(restored, lost=[sender.acknowledged[1]], counted=True)
    assert path.name not in site.save(restored).files, "what is damaged is kept no longer"
    restored.remove()


BIG = ChunkFormat(Layout.of((60, 80), OBSERVATION), history=2, look_ahead=3)
"""Rows of 5 KB, so that a ring of them is larger than all else in the process."""


@pytest.mark.faults
@pytest.mark.parametrize("rows", [8_000, 24_000], ids=["smaller", "larger"])
def test_row_32_experience_is_restored_to_another_capacity(tmp_path: Path, rows: int, recovery: Recovery) -> None:
    """Restore to smaller or larger capacity: the newest rows are kept, memory stays under 1.2 times the ring."""
    site = BufferSite(tmp_path, settings_of(rows=16_000, samples_per_insert=None), format=BIG)
    buffer = site.open()
    sender = site.sender(buffer)
    for _ in range(80):
        sender.send(buffer, 190)
    site.save(buffer)
    buffer.remove()
    other = BufferSite(tmp_path, settings_of(rows=rows, samples_per_insert=None), format=BIG)
    told = get_context("forkserver").SimpleQueue()
    recovery.begin()
    assert in_process(peak_of_restore, other, told) == 0
    recovery.end()
    grown_bytes, live_rows, ring_bytes = told.get()
    assert live_rows == min(80 * 190, rows - rows % 190)
    assert grown_bytes < 1.2 * ring_bytes, f"{grown_bytes:,} bytes at the peak for a ring of {ring_bytes:,}"
    again = other.open()
    assert contents(again) == sent(sender.acknowledged)[-live_rows // 190 :]
    again.remove()


@pytest.mark.faults
@pytest.mark.parametrize("ratio", [0.5, 64.0, None])
def test_row_33_other_settings_of_the_limiter_win(tmp_path: Path, ratio: float | None, recovery: Recovery) -> None:
    """Restore with other limiter settings: the new ones win, no burst of draws, nobody waits for ever; 10 s."""
    site = BufferSite(tmp_path, settings_of(rows=ROWS, samples_per_insert=8.0))
    buffer = site.open()
    sender = site.sender(buffer)
    for _ in range(5):
        sender.send(buffer, 100)
    request = DrawRequest(2, 11)
    while isinstance(buffer.draw(request), Drawn):
        pass
    before = buffer.stats()
    site.save(buffer)
    buffer.remove()
    other = BufferSite(tmp_path, settings_of(rows=ROWS, samples_per_insert=ratio))
    recovery.begin()
    restored = other.open(restored=True)
    stats = restored.stats()
    assert (stats.inserted_rows, stats.samples) == (before.inserted_rows, before.samples)
    assert stats.target_samples_per_insert == ratio
    if ratio is not None:
        assert -stats.band <= stats.balance <= stats.band
        draws = 0
        while isinstance(restored.draw(request), Drawn):
            draws += 1
        assert draws * 22 <= 2 * stats.band, "a burst"
    collector = other.sender(restored, 1)
    credits = restored.standing(1).credits
    assert credits is None or credits > 0
    for _ in range(10):  # whoever waits is let on by what the other one does
        collector.send(restored, 60)
        assert isinstance(restored.draw(request), Drawn)
    recovery.end()
    other.check(restored)
    restored.remove()
