"""What a ring costs, where it goes, and what is left of killed runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.experience.races import FORMAT
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience import left_over_rings as left_over
from tmrl_ray.experience import memory, ring_files
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.columns import Layout
from tmrl_ray.experience.memory import MIB, MemoryBill, RingSize, bytes_needed, choose_base, ring_directory
from tmrl_ray.experience.ring import Ring

SIZE = RingSize(capacity_rows=307, chunk_rows=13, guard_rows=31)
BILL = MemoryBill((("frame", 1000 * MIB),))


def test_the_bill_is_what_the_files_take(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    files = [path for path in ring.directory.iterdir() if path.name not in {"lock", "ring.json"}]
    bill = bytes_needed(FORMAT, SIZE)
    assert sum(path.stat().st_size for path in files) == bill.total_bytes
    assert ring.rows == 307 + 24 * 5 + 31 + 2 * (2 + 256 + 3)
    assert bill.table().splitlines()[-1].startswith("total")
    ring.close()


def test_a_short_bill_names_what_costs_most() -> None:
    bill = MemoryBill((("terms", 3 * MIB), ("frame", 1000 * MIB), ("action", MIB), ("floats", 70 * MIB)))
    rows = [line.rsplit(maxsplit=2)[:2] for line in bill.table(largest=2).splitlines()]
    assert rows == [["frame", "1,000.0"], ["floats", "70.0"], ["the rest", "4.0"], ["total", "1,074.0"]]


def test_a_large_ring_costs_what_was_measured() -> None:
    """200,000 rows of 120x160 and 184 floats, each frame once: 4.0 GB, and the overlap."""
    bill = bytes_needed(ChunkFormat(Layout.of((120, 160)), 0, 3), RingSize(200_000))
    assert 4.0e9 < bill.total_bytes < 4.4e9


@pytest.mark.parametrize(
    ("shared_mib", "disk_mib", "memory_mib", "expected"),
    [
        (2000, 9000, 9000, "shm"),
        (1100, 9000, 9000, "disk"),
        (2000, 9000, 1100, "disk"),
        (1100, None, 9000, r"shm and the memory behind it have 1,100 MiB free\n.*total +1,000"),
        (1100, 1200, 9000, r"disk has 1,200 MiB free"),
        (None, None, 9000, r"shm does not exist"),
    ],
)
def test_a_ring_goes_where_it_fits_or_nowhere(  # noqa: PLR0913
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_mib: int | None,
    disk_mib: int | None,
    memory_mib: int,
    expected: str,
) -> None:
    free = {tmp_path / "shm": shared_mib, tmp_path / "disk": disk_mib}
    if shared_mib is not None:
        (tmp_path / "shm").mkdir()
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path] * MIB))
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: memory_mib * MIB)
    disk = None if disk_mib is None else tmp_path / "disk"
    if expected in {"shm", "disk"}:
        assert choose_base(BILL, disk=disk, shared=tmp_path / "shm") == tmp_path / expected
    else:
        with pytest.raises(InvalidInputError, match=r"(?s)needs 1,000 MiB and 256 MiB to spare.*" + expected):
            choose_base(BILL, disk=disk, shared=tmp_path / "shm")


def test_a_file_system_without_room_refuses_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(ring_files, "reserve", full)
    with pytest.raises(InvalidInputError, match=r"cannot reserve [\d,]+ bytes for a ring in .* No space left"):
        Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    assert not (tmp_path / "ring").exists()


def test_the_memory_of_a_ring_is_reserved_when_it_is_made(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    stat = (ring.directory / "frame.rows").stat()
    assert stat.st_blocks * 512 >= stat.st_size
    ring.remove()
    assert not ring.directory.exists()


def test_sizes_and_names_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="256 rows or more"):
        RingSize(255)
    with pytest.raises(InvalidInputError, match="cannot be in the name"):
        ring_directory("../run", "experience")
    assert ring_directory("run-3", "experience") == Path("/dev/shm/tmrl_ray-run-3-experience")


@pytest.fixture
def killed_run(tmp_path: Path) -> Iterator[Path]:
    """The ring of a process that was killed."""
    directory = ring_directory("killed", "experience", tmp_path)
    make = (
        "import os, signal, sys; from pathlib import Path; from tests.experience.test_memory import *; "
        f"Ring.create(Path({str(directory)!r}), FORMAT, SIZE, run='killed'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", make], cwd=root, timeout=60).returncode == -9
    yield directory


def test_what_killed_runs_left_behind_is_found_and_removed(tmp_path: Path, killed_run: Path) -> None:
    mine = Ring.create(ring_directory("mine", "experience", tmp_path), FORMAT, SIZE, run="mine")
    released = Ring.create(ring_directory("released", "experience", tmp_path), FORMAT, SIZE, run="released")
    released.close()  # its writer may be about to be started again: its owner, this process, lives
    half_made = tmp_path / "tmrl_ray-half-experience"
    half_made.mkdir()
    (half_made / "lock").touch()
    (tmp_path / "tmrl_ray-something-else").mkdir()
    (found,) = left_over.left_over_rings(tmp_path)
    assert (found.directory, found.run) == (killed_run, "killed")
    assert found.size_bytes > bytes_needed(FORMAT, SIZE).total_bytes
    os.utime(half_made, (0, 0))
    assert left_over.remove_left_over_rings(tmp_path) == [left_over.LeftOverRing(half_made, None, 0), found]
    assert not killed_run.exists()
    assert mine.directory.exists()
    assert released.directory.exists()
    mine.close()
