"""What a ring costs in bytes, and where it fits: printed and checked before a run starts.

A ring lives in shared memory, where readers on the machine share its pages, or in files on a disk where shared memory
is short or absent. Its size never changes: all of it is reserved when it is made, so that a full machine shows as an
error at the start and not as a SIGBUS hours later.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import psutil

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, ChunkFormat
from tmrl_ray.experience.chunk_records import RECORD_BYTES, STATE_WORDS

SHARED_MEMORY = Path("/dev/shm")
RING_PREFIX = "tmrl_ray-"
"""Of the folders of rings, by which left-over ones are found."""
MIB = 2**20
SPARE_BYTES = 256 * MIB
"""What must stay free beside a ring: Ray's object store and others allocate on the same file system."""
_ROWS_PER_RECORD = 4  # chunks are rarely shorter; where they are, the oldest leave before the ring is full
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RingSize:
    """How much a ring holds."""

    capacity_rows: int
    """Core rows: the largest that the live window may become."""
    chunk_rows: int = 64
    """Core rows of a chunk that the room for overlap rows is reckoned with. Where chunks are shorter, the ring holds
    fewer core rows than its capacity, and nothing else happens. A flush after 2 s of a game at 32 decisions a second
    gives 64; races in the simulator give 100 to 256."""
    guard_rows: int = 2048
    """Rows ahead of the writer that are not drawn: what may be written between a draw and the reading of its rows.
    At 2,000 env steps a second, one second."""

    def __post_init__(self) -> None:
        if self.capacity_rows < MAX_CORE_ROWS or not 1 <= self.chunk_rows <= MAX_CORE_ROWS or self.guard_rows < 0:
            raise InvalidInputError(
                f"a ring cannot have {self.capacity_rows} rows in chunks of {self.chunk_rows}, {self.guard_rows} "
                "rows ahead of the writer left out",
                hint=f"A ring has {MAX_CORE_ROWS} rows or more, a chunk 1 to {MAX_CORE_ROWS}.",
            )

    def physical_rows(self, format: ChunkFormat) -> int:
        """Return how many rows are allocated.

        The capacity, plus history and look-ahead once for each chunk in it, plus the guard band, plus twice the
        longest chunk: for the padding at the ring's end, and for the one that is being written.
        """
        chunks = -(-self.capacity_rows // self.chunk_rows)
        overlap = chunks * (format.history + format.look_ahead)
        return self.capacity_rows + overlap + self.guard_rows + 2 * format.max_rows

    def record_slots(self, format: ChunkFormat) -> int:
        """Return how many chunks and grants are remembered."""
        return max(1024, self.physical_rows(format) // _ROWS_PER_RECORD)


@dataclass(frozen=True)
class MemoryBill:
    """What a ring costs."""

    items: tuple[tuple[str, int], ...]
    """Name and bytes."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(size for _, size in self.items)

    def table(self, largest: int | None = None) -> str:
        """Return it as lines of text, the sum last.

        Args:
            largest: so many items are named, and the rest in one line; None: all are.
        """
        rows = [*self.items, ("total", self.total_bytes)]
        if largest is not None:
            named = sorted(self.items, key=itemgetter(1), reverse=True)[:largest]
            rest = self.total_bytes - sum(size for _, size in named)
            rows = [*named, ("the rest", rest), ("total", self.total_bytes)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {size / MIB:>10,.1f} MiB" for name, size in rows)


def bytes_needed(format: ChunkFormat, size: RingSize) -> MemoryBill:
    """Return what a ring costs, each column by itself."""
    rows = size.physical_rows(format)
    columns = [(column.name, rows * column.row_bytes) for column in format.layout.columns]
    records = size.record_slots(format) * RECORD_BYTES + STATE_WORDS * 8
    return MemoryBill((*columns, ("generations", 8 * rows), ("priorities", 8 * rows), ("records", records)))


def ring_directory(run: str, name: str, base: Path = SHARED_MEMORY) -> Path:
    """Return the folder of a run's ring.

    Raises:
        InvalidInputError: the names are not fit for a folder.
    """
    for word in (run, name):
        if not _NAME.fullmatch(word):
            raise InvalidInputError(f"{word!r} cannot be in the name of a folder: use letters, digits and . _ -")
    return base / f"{RING_PREFIX}{run}-{name}"


def choose_base(bill: MemoryBill, *, disk: Path | None = None, shared: Path = SHARED_MEMORY) -> Path:
    """Return where a ring of this size goes: shared memory, or else the disk if one is given.

    Args:
        bill: of the ring; of all rings that are made together.
        disk: a folder for rings that do not fit into shared memory; None: those are refused.
        shared: where shared memory is mounted.

    Raises:
        InvalidInputError: it fits nowhere; says what is free where.
    """
    needed = bill.total_bytes
    found = []
    if shared.is_dir():
        free = free_bytes(shared, is_memory=True)
        if free >= needed + SPARE_BYTES:
            return shared
        found.append(f"{shared} and the memory behind it have {free / MIB:,.0f} MiB free")
    else:
        found.append(f"{shared} does not exist")
    if disk is not None:
        disk.mkdir(parents=True, exist_ok=True)
        free = free_bytes(disk, is_memory=False)
        if free >= needed + SPARE_BYTES:
            return disk
        found.append(f"{disk} has {free / MIB:,.0f} MiB free")
    raise InvalidInputError(
        f"the experience needs {needed / MIB:,.0f} MiB and {SPARE_BYTES / MIB:,.0f} MiB to spare; {', '.join(found)}"
        f"\n{bill.table()}",
        hint="Lower the capacity, give a folder on a disk for it, or in a container: docker run --shm-size=...",
    )


def free_bytes(base: Path, *, is_memory: bool) -> int:
    """Return how much files in ``base`` may take, where ``is_memory`` no more than the memory behind it has."""
    free = shutil.disk_usage(base).free
    return min(free, available_memory_bytes()) if is_memory else free


def size_of(ring: Path) -> int:
    """Return the bytes that the files of a ring take."""
    return sum(path.stat().st_size for path in ring.iterdir())


def available_memory_bytes() -> int:
    """Return how much memory can be taken, in this container if it has a limit."""
    available = int(psutil.virtual_memory().available)
    limit, used = (_cgroup_bytes(name) for name in ("memory.max", "memory.current"))
    return available if limit is None or used is None else min(available, limit - used)


def _cgroup_bytes(name: str) -> int | None:
    try:
        word = Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if word == "max" else int(word)


def reserve(descriptor: int, size: int) -> None:
    """Take ``size`` bytes of the file system for an empty file, now.

    Raises:
        OSError: there is not enough room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(MIB)
    for start in range(0, size, MIB):
        os.write(descriptor, zeros[: min(MIB, size - start)])
