"""The reader's side of a ring: rows gathered straight from shared memory, and the proof that they are whole.

The learner gathers the rows that the owner of the ring told it to, while the owner goes on writing. Each row has a
*generation*: an even number that belongs to the chunk that wrote it and never comes again, one less (odd) while it is
being written. The writer changes the generations before it touches the rows, so a reader that has copied rows and
still finds the generations that it was told knows that they were whole all the time::

    writer   generation odd | rows | generation even | record       reader   rows | generation as told?

This needs stores to become visible in their order, and loads to happen in theirs, as x86-64 guarantees;
``tests/experience/test_ring_processes.py`` holds a machine to it. On other machines the guard band ahead of the writer,
from which nothing is drawn, is what keeps torn rows away.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import RingError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_records import Counters, Kind, Record, RecordLog
from tmrl_ray.experience.columns import Array
from tmrl_ray.experience.ring_files import RingFiles

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class RingReader:
    """A ring that somebody else writes to; ``attach`` to it."""

    def __init__(self, files: RingFiles, format: ChunkFormat) -> None:
        self.format = format
        self._files = files
        self._log = RecordLog(files.records, files.state)

    @classmethod
    def attach(cls, directory: Path, format: ChunkFormat) -> RingReader:
        """Map a ring to read from it.

        Raises:
            RingError: there is none, it is damaged, or it holds other chunks than those of ``format``.
        """
        return cls(RingFiles.open(directory, format), format)

    @property
    def uuid(self) -> str:
        """Of this ring: where another one is named, attach anew."""
        return self._files.description.uuid

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._files.directory

    @property
    def rows(self) -> int:
        """All rows, live or not."""
        return self._files.description.rows

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and records that it has room for: where both are equal, chunks fit into the same places."""
        return self.rows, self._log.slots

    @property
    def capacity_rows(self) -> int:
        """Core rows that the ring was made for: the most that may ever be live."""
        return self._files.description.capacity_rows

    @property
    def counters(self) -> Counters:
        """The counters after the newest commit."""
        for _ in range(100):  # the record may be replaced under our eyes, but hardly twice
            record = self._log.read(self._log.head)
            if record is not None:
                return record.counters
        raise RingError(f"the newest record of the ring in {self.directory} is damaged")

    def live_chunks(self) -> list[Record]:
        """Return the records of the chunks that are live now, oldest first."""
        first, head = max(self._log.tail, self._log.head - self._log.slots + 1, 1), self._log.head
        records = (self._log.read(ordinal) for ordinal in range(first, head + 1))
        return [record for record in records if record is not None and record.kind == Kind.CHUNK]

    def column(self, name: str) -> Array:
        """Return all rows of a column, (rows, *shape), as they are in shared memory: they change under the reader."""
        return self._files.columns[name]

    def newest_policy_version(self) -> int:
        """Return the newest version of weights with which any of its rows was driven; 0: none was."""
        return max(0, int(self.column("policy_version").max()))

    def generations(self, rows: Ints) -> Ints:
        """Return the generations of rows of any shape, as they are now."""
        generations: Ints = self._files.generations[rows]
        return generations

    def take(self, name: str, rows: Ints, out: Array) -> None:
        """Copy rows of a column.

        Args:
            name: of the column.
            rows: of any shape (...); ask ``intact`` about all of them when the last copy is done.
            out: (..., *shape) contiguous, of the column's dtype.

        Raises:
            IndexError: there is no such row.
        """
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a ring of {self.rows}")
        # the rows are checked: mode "raise" would copy everything to a buffer of its own first
        np.take(self._files.columns[name], rows, axis=0, out=out, mode="clip")

    def intact(self, rows: Ints, generations: Ints) -> Mask:
        """Return which rows have held what they should ever since they were committed; call it after copying.

        Args:
            rows: (B,), or (B, K) where K rows belong together.
            generations: (B,) as drawn with the rows.

        Returns:
            (B,) False where something was, or may have been, overwritten.
        """
        told = generations.reshape(-1, *(1,) * (rows.ndim - 1))
        same = np.equal(self._files.generations[rows], told)
        return np.asarray(same.all(axis=tuple(range(1, rows.ndim))), dtype=np.bool_)

    def read_chunk(self, record: Record) -> Chunk | None:
        """Return a copy of a chunk, as it was appended; None: it has been overwritten, or damaged."""
        rows = slice(record.start, record.start + record.rows)
        columns = {name: array[rows].copy() for name, array in self._files.columns.items()}
        if not self._holds(record):
            return None
        chunk = Chunk(self.format, record.id, columns, record.leading, record.core, record.trailing)
        return chunk if chunk.checksum == record.contents_crc else None

    def _holds(self, record: Record) -> bool:
        """Return whether the rows of a chunk are those that its record committed."""
        found = self._files.generations[record.start : record.start + record.rows]
        return bool((found == record.generation).all())
