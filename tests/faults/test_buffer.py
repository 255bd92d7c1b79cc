"""The replay buffer's memory: kills while priorities are set, damaged rings, no room; and that it can be repeated."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actors.draw_messages import Drawn, DrawRequest
from tests.actors.buffers import settings_of
from tests.faults.buffer_site import ROWS, BufferSite
from tests.faults.conftest import Recovery
from tests.faults.dying import in_process, resize_until_killed, update_until_killed
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.memory import choose_base
from tmrl_ray.experience.sampling import PriorityUpdate

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
PRIORITISED = settings_of(rows=ROWS, samples_per_insert=None, priorities=PrioritySettings())


@pytest.mark.parametrize("point", ["before the leaves", "half of the leaves", "before the tree"])
def test_row_12_a_kill_while_priorities_are_set_leaves_a_tree_of_the_leaves(
    tmp_path: Path, point: str, recovery: Recovery
) -> None:
    """Replay SIGKILL mid priority update: the tree is made anew of the leaves in the ring; 5 s."""
    site = BufferSite(tmp_path, PRIORITISED)
    buffer = site.open()
    sender = site.sender(buffer)
    for _ in range(7):
        sender.send(buffer, 113)
    leaves = buffer.ring.live_priorities()
    buffer.close()
    assert in_process(update_until_killed, site, point) == -signal.SIGKILL
    recovery.begin()
    again = site.open()
    again._sampler.check_valid()
    assert isinstance(again.draw(DrawRequest(8, 32)), Drawn)
    recovery.end()
    changed = np.flatnonzero(again.ring.live_priorities() != leaves)
    assert len(changed) == 0 if point == "before the leaves" else len(changed) > 20
    assert (again.ring.live_priorities()[changed] >= 3.0).all()
    site.check(again)
    again.remove()


def _truncate(ring: Path) -> None:
    os.truncate(ring / "frame.rows", (ring / "frame.rows").stat().st_size // 2)


def _remove_column(ring: Path) -> None:
    (ring / "floats.rows").unlink()


def _change_layout(ring: Path) -> None:
    description = json.loads((ring / "ring.json").read_text())
    (ring / "ring.json").write_text(json.dumps({**description, "layout_hash": "0" * 64}))


def _garble(ring: Path) -> None:
    (ring / "ring.json").write_bytes(b"\x00" * 64)


def _wipe_records(ring: Path) -> None:
    (ring / "records").write_bytes(bytes((ring / "records").stat().st_size))


@pytest.mark.parametrize("damage", [_truncate, _remove_column, _change_layout, _garble, _wipe_records])
def test_row_13_a_damaged_ring_is_refused_and_filled_from_the_checkpoint(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture, recovery: Recovery
) -> None:
    """Ring file truncated, or of another layout: not attached to, filled from the checkpoint, loudly; 30 s."""
    site = BufferSite(tmp_path)
    buffer = site.open()
    sender = site.sender(buffer)
    for _ in range(3):
        sender.send(buffer, 113)
    site.save(buffer)
    sender.send(buffer, 97)
    ring = buffer.ring.directory
    buffer.close()
    damage(ring)
    recovery.begin()
    again = site.open(restored=True)
    recovery.end()
    assert not again.was_attached
    assert f"the ring in {ring} is of no use and is removed" in caplog.text
    site.check(again, lost=sender.acknowledged[3:])
    other = site.sender(again)
    assert other.grant.incarnation > sender.grant.incarnation + 1000, "incarnations of the lost ring may come again"
    other.send(again, 50)
    site.check(again, lost=sender.acknowledged[3:])
    again.remove()


def _on_a_small_file_system(function: str, folder: Path) -> None:
    """Run a function of ``tests.faults.dying`` whose rings lie on a file system of 8 MiB that nobody else sees."""
    (folder / "shm").mkdir()
    program = f"from pathlib import Path; from tests.faults.dying import {function}; {function}(Path({str(folder)!r}))"
    mount = f"mount -t tmpfs -o size=8m tmpfs '{folder / 'shm'}'"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mount} || exit 77; exec "$0" -c "$1"']
    done = subprocess.run(
        [*command, sys.executable, program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr.partition("\n")[0]:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr}"


@pytest.mark.parametrize("function", ["make_with_little_room", "crowd_out", "outgrow_with_little_room"])
def test_row_14_no_room_in_shared_memory_is_an_error_and_never_a_sigbus(
    tmp_path: Path, function: str, recovery: Recovery
) -> None:
    """/dev/shm full, a real file system of 8 MiB: refused with sizes, or on a disk; never SIGBUS."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    recovery.begin()
    _on_a_small_file_system(function, tmp_path)
    recovery.end()


def test_row_14_a_ring_goes_to_the_disk_where_shared_memory_is_short(tmp_path: Path) -> None:
    """/dev/shm full: refused with sizes before the start, or on a disk; never SIGBUS."""
    bill = BufferSite(tmp_path).setup.memory_bill()
    short = tmp_path / "short"
    short.mkdir()
    usage = shutil.disk_usage(short)
    with pytest.MonkeyPatch.context() as patch:
        full = type(usage)(usage.total, usage.used, bill.total_bytes)
        patch.setattr(shutil, "disk_usage", lambda path: full if Path(path) == short else usage)
        assert choose_base(bill, disk=tmp_path / "disk", shared=short) == tmp_path / "disk"
        with pytest.raises(InvalidInputError, match="MiB to spare") as refusal:
            choose_base(bill, shared=short)
    assert "total" in str(refusal.value)


@pytest.mark.parametrize("point", ["before the note", "before the old ring goes", "before the new one takes its place"])
def test_row_32_a_kill_while_a_run_moves_to_another_capacity_loses_nothing(
    tmp_path: Path, point: str, recovery: Recovery
) -> None:
    """Resume with another capacity: all that fits is kept, also what came after the newest checkpoint."""
    site = BufferSite(tmp_path)
    buffer = site.open()
    sender = site.sender(buffer)
    sender.send(buffer, 113)
    site.save(buffer)
    sender.send(buffer, 97)
    buffer.close()
    larger = BufferSite(tmp_path, settings_of(rows=2 * ROWS, samples_per_insert=None))
    assert in_process(resize_until_killed, larger, point) == -signal.SIGKILL
    recovery.begin()
    again = larger.open(restored=True)
    recovery.end()
    assert (again.was_attached, again.ring.capacity_rows) == (True, 2 * ROWS)
    larger.check(again)
    assert [each.name for each in again.ring.directory.parent.iterdir()] == [again.ring.directory.name]
    again.remove()


def _drive(folder: Path) -> tuple[str, str]:
    """Return digests of the ring and of the first hundred index batches of three collectors and a learner."""
    settings = settings_of(rows=1024, samples_per_insert=4.0, priorities=PrioritySettings(new_rows="mean"))
    site = BufferSite(folder, settings, seed=11)
    buffer = site.open()
    senders = [site.sender(buffer, number) for number in range(3)]
    rng, batches, indices = np.random.default_rng(5), 0, hashlib.sha256()
    updates: tuple[PriorityUpdate, ...] = ()
    while batches < 100:
        senders[int(rng.integers(3))].send(buffer, int(rng.integers(20, 90)))
        drawn = buffer.draw(DrawRequest(2, 31, priorities=updates))
        updates = ()
        if isinstance(drawn, Drawn):
            draw, batches = drawn.draw, batches + 2
            for array in (draw.rows, draw.generations, draw.weights):
                assert array is not None
                indices.update(array.tobytes())
            errors = rng.standard_normal(draw.rows.size).astype(np.float32)
            updates = (PriorityUpdate(draw.rows.ravel(), draw.generations.ravel(), errors),)
    ring = hashlib.sha256()
    for name in sorted(buffer.ring.format.layout.names):
        ring.update(buffer.ring.column(name).tobytes())
    ring.update(buffer.ring.live_priorities().tobytes())
    ring.update(repr([record[:-1] for record in buffer.ring.live_chunks()]).encode())
    buffer.remove()
    return ring.hexdigest(), indices.hexdigest()


def test_row_42_the_same_seed_gives_the_same_ring_and_the_same_draws(tmp_path: Path) -> None:
    """Determinism control, no faults: equal ring digests and equal first 100 index batches."""
    assert _drive(tmp_path / "one") == _drive(tmp_path / "other")
