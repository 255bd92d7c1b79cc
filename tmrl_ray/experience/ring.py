"""The ring of experience: its one writer appends chunks to columns in shared memory, and evicts the oldest.

An append is one commit. Rows are written first, then one record makes them exist; acknowledged means that both are
in shared memory, which the kill of any process leaves alone. A process that attaches after a kill reads the records
and goes on: the same rows, counters and known chunks; what was half written never existed.

A chunk lies contiguous: where it does not fit before the ring's end, the rest is left empty. Rows count as their core:
the live window is in core rows, grows inside the allocated size without moving anything, and evicts whole chunks.
Evicted first, overwritten later: the *tail* in shared memory moves before any row of a chunk is touched.
"""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from tmrl_ray.errors import ChunkError, InvalidInputError, RingError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat
from tmrl_ray.experience.chunk_records import Counters, Extent, Kind, Place, Record
from tmrl_ray.experience.draw_index import DrawIndex
from tmrl_ray.experience.incarnations import Arrival, Incarnations
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring_files import PATIENCE_S, RING_VERSION, Description, RingFiles, WriterLock
from tmrl_ray.experience.ring_reader import Ints, Mask, RingReader
from tmrl_ray.process_identity import ProcessIdentity

log = logging.getLogger(__name__)

TRAIN, TEST = range(2)
"""The splits: each chunk belongs to one, and each has a draw index of its own."""

Priorities = NDArray[np.float64]


class AppendResult(NamedTuple):
    """What became of a chunk."""

    arrival: Arrival
    core: Extent | None = None
    """Where its core rows are; None unless it was accepted."""
    generation: int = 0
    """Of these rows."""
    evicted: tuple[Extent, ...] = ()
    """Core rows that were evicted since the last report."""


class Ring(RingReader):
    """A ring that this process writes to; ``create`` one or ``attach`` to it.

    One thread may append while another one draws: whoever uses the draw indices from another thread holds ``lock``,
    which an append takes only while the indices change and not while it copies rows.
    """

    def __init__(self, files: RingFiles, format: ChunkFormat, writer: WriterLock) -> None:
        super().__init__(files, format)
        self.lock = threading.RLock()
        self.drawable = (DrawIndex(), DrawIndex())
        """By split: what may be drawn. Leaves out the guard band ahead of the writer."""
        self._writer = writer
        self._appending = threading.Lock()
        self._incarnations = Incarnations()
        self._live: deque[Record] = deque()
        self._live_core = 0
        self._evicted: list[Extent] = []  # and not reported yet
        self._newest = Record(0, Kind.START, 0, 0, 0, 0)

    @classmethod
    def create(
        cls,
        directory: Path,
        format: ChunkFormat,
        size: RingSize,
        *,
        run: str,
        owner: ProcessIdentity | None = None,
        counters: Counters | None = None,
    ) -> Ring:
        """Make a ring, with all of its memory reserved and touched.

        Args:
            directory: of its files; see ``memory.ring_directory``.
            format: of its chunks.
            size: how much it holds. The live window begins with all of it; see ``set_live_rows``.
            run: name of the run that it belongs to.
            owner: the process without which nobody needs it any more; None: this one.
            counters: to go on from, after a checkpoint; None: zero.

        Raises:
            RingError: there is one already.
            InvalidInputError: there is not enough room for it.
        """
        description = Description(
            version=RING_VERSION,
            uuid=uuid.uuid4().hex,
            run=run,
            layout_hash=format.layout.hash,
            history=format.history,
            look_ahead=format.look_ahead,
            rows=size.physical_rows(format),
            capacity_rows=size.capacity_rows,
            slots=size.record_slots(format),
            guard_rows=size.guard_rows,
            owner=owner or ProcessIdentity.of(psutil.Process()),
        )
        files, writer = RingFiles.create(directory, description, format)
        ring = cls(files, format, writer)
        ring._log.live_rows = size.capacity_rows
        ring._write(Record(1, Kind.START, 0, *(counters or Counters())))
        files.complete(writer)
        return ring

    @classmethod
    def attach(
        cls,
        directory: Path,
        format: ChunkFormat,
        *,
        owner: ProcessIdentity | None = None,
        verify_contents: bool = False,
    ) -> Ring:
        """Go on with a ring that another process wrote to, and has let go of.

        Args:
            directory: of its files.
            format: of its chunks.
            owner: the process without which nobody needs it any more; None: this one.
            verify_contents: also read all rows and compare their checksums; worth it after the machine crashed.

        Raises:
            RingInUseError: somebody writes to it.
            RingError: there is none, it is damaged, or it holds other chunks.
        """
        Description.read(directory).check(directory, format)
        writer = WriterLock(directory, patience_s=PATIENCE_S)
        try:
            files = RingFiles.open(directory, format, writable=True)
            ring = cls(files, format, writer)
            ring._recover(verify_contents=verify_contents)
        except RingError:
            writer.release()
            raise
        files.note_owner(owner or ProcessIdentity.of(psutil.Process()))
        return ring

    @property
    def counters(self) -> Counters:
        return self._newest.counters

    @property
    def live_core_rows(self) -> int:
        """Core rows that are live, those in the guard band included."""
        return self._live_core

    @property
    def live_rows(self) -> int:
        """The most core rows that may be live."""
        return self._log.live_rows

    def grant(self, collector: int) -> int:
        """Hand out an incarnation that no collector ever had; chunks of it are accepted from now on."""
        with self._appending, self.lock:
            number = self._newest.incarnations + 1
            record = self._next(Kind.GRANT)._replace(collector=collector, incarnation=number, incarnations=number)
            self._free_slot(record.ordinal)
            self._write(record)
            self._incarnations.grant(collector, number)
        return number

    def append(self, chunk: Chunk, *, split: int = TRAIN, priorities: Priorities | float = 1.0) -> AppendResult:
        """Take in a chunk, once, however often it is sent.

        Args:
            chunk: of the ring's format, checked.
            split: TRAIN or TEST.
            priorities: (core,) or one for all: the leaves of its core rows.

        Raises:
            ChunkError: the chunk is of another format.
        """
        with self._appending:
            arrival = self._incarnations.classify(chunk.id)
            if arrival is not Arrival.ACCEPTED:
                return AppendResult(arrival)
            return self._insert(chunk, split, priorities, None)

    def restore(
        self, chunk: Chunk, *, split: int = TRAIN, priorities: Priorities | float = 1.0, at: Place | None = None
    ) -> AppendResult:
        """Take in a chunk of a checkpoint, oldest first: like ``append``, without asking who granted its incarnation.

        It counts its env steps as any chunk does: create the ring with the checkpoint's counters less those of the
        chunks that are restored. ``at``: where it was in a ring of the same ``shape``; None: it goes behind the others.

        Raises:
            ChunkError: the chunk is of another format.
        """
        with self._appending:
            return self._insert(chunk, split, priorities, at)

    def set_live_rows(self, rows: int) -> tuple[Extent, ...]:
        """Grow or shrink the live window and return what is evicted by that.

        Raises:
            InvalidInputError: the ring was made for less, or not even one chunk would fit.
        """
        capacity = self._files.description.capacity_rows
        if not MAX_CORE_ROWS <= rows <= capacity:
            raise InvalidInputError(
                f"a live window of {rows} rows in a ring that was made for {MAX_CORE_ROWS} to {capacity}"
            )
        with self._appending, self.lock:
            self._log.live_rows = rows
            self._evict_to(rows)
            return self._report_evicted()

    def set_priorities(self, rows: Ints, generations: Ints, priorities: Priorities) -> Mask:
        """Set leaves of rows that still are what they were when they were drawn.

        Args:
            rows: (B,).
            generations: (B,) as drawn.
            priorities: (B,).

        Returns:
            (B,) False where the row has been overwritten and the priority is dropped.
        """
        with self.lock:  # evicted rows may be overwritten right now; nothing is evicted while we hold the lock
            current = self.intact(rows, generations) & (generations >= 2 * self._log.tail)
            self._files.priorities[rows[current]] = priorities[current]
        return current

    def live_priorities(self) -> Priorities:
        """Return (rows,) the leaf of each live core row, and 0 for all other rows."""
        leaves = np.zeros(self.rows)
        with self.lock:
            for record in self._live:
                core = record.core_extent.slice
                leaves[core] = self._files.priorities[core]
        return leaves

    def would_evict(self, chunk: Chunk) -> bool:
        """Return whether taking in a chunk, if it is new, would evict others or bring them into the guard band."""
        with self._appending, self.lock:
            if not self._live or self._incarnations.classify(chunk.id) is not Arrival.ACCEPTED:
                return False
            full = self._live_core + chunk.core > self.live_rows
            replaces_record = self._live[0].ordinal <= self._newest.ordinal + 1 - self._log.slots
            _, rows = self._place(chunk)
            return full or replaces_record or self._rows_ahead() < rows + self._files.description.guard_rows

    def live_chunks(self) -> list[Record]:
        with self.lock:
            return list(self._live)

    def close(self) -> None:
        """Let another process write; the ring stays."""
        self._writer.release()

    def move(self, directory: Path) -> None:
        """Rename its folder; whoever reads it goes on."""
        self.directory.rename(directory)
        self._files.directory = directory

    def remove(self) -> None:
        """Remove the ring; the memory is given back when the last reader has let go of it."""
        shutil.rmtree(self.directory)
        self._writer.release()

    def _insert(self, chunk: Chunk, split: int, priorities: Priorities | float, at: Place | None) -> AppendResult:
        if chunk.format != self.format:
            raise ChunkError(
                f"a chunk of layout {chunk.format.layout.hash}, history {chunk.format.history} and look-ahead "
                f"{chunk.format.look_ahead} does not belong in the ring in {self.directory}"
            )
        with self.lock:
            ordinal, start = self._make_room(chunk) if at is None else at
            evicted = self._report_evicted()
        record = self._next(Kind.CHUNK)._replace(
            ordinal=ordinal,
            cursor=start + chunk.rows,
            env_steps=self._newest.env_steps + chunk.core,
            inserted_rows=self._newest.inserted_rows + chunk.core,
            **chunk.id._asdict(),
            race_id=chunk.race_id,
            start=start,
            leading=chunk.leading,
            core=chunk.core,
            trailing=chunk.trailing,
            split=split,
            contents_crc=chunk.checksum,
        )
        self._write_rows(record, chunk, priorities)
        with self.lock:
            self._write(record)
            self._incarnations.add(record.id)
            self._enter(record)
            self._hold_back()
        return AppendResult(Arrival.ACCEPTED, record.core_extent, record.generation, evicted)

    def _write_rows(self, record: Record, chunk: Chunk, priorities: Priorities | float) -> None:
        rows = slice(record.start, record.start + record.rows)
        generations = self._files.generations[rows]
        generations[:] = record.generation - 1
        for name, column in self._files.columns.items():
            column[rows] = chunk.columns[name]
        self._files.priorities[rows] = 0.0
        self._files.priorities[record.core_extent.slice] = priorities
        generations[:] = record.generation

    def _next(self, kind: Kind) -> Record:
        """Return the next record, with cursor and counters as they are."""
        newest = self._newest
        return Record(newest.ordinal + 1, kind, newest.cursor, *newest.counters)

    def _write(self, record: Record) -> None:
        self._log.write(record)
        self._newest = record

    def _enter(self, record: Record) -> None:
        """Count a committed chunk among the live ones."""
        self._live.append(record)
        self._live_core += record.core
        self.drawable[record.split].append(record.core_start, record.core, record.generation)

    def _make_room(self, chunk: Chunk) -> Place:
        """Evict what must make way for a chunk, and return its place."""
        self._free_slot(self._newest.ordinal + 1)
        self._evict_to(self.live_rows - chunk.core)
        start, rows = self._place(chunk)
        while self._live and self._rows_ahead() < rows:
            self._evict()
        return Place(self._newest.ordinal + 1, start)

    def _place(self, chunk: Chunk) -> tuple[int, int]:
        """Return where a chunk would start, and how many rows it takes with what is left empty before it."""
        cursor = self._newest.cursor
        start = cursor if cursor + chunk.rows <= self.rows else 0
        return start, (start - cursor) % self.rows + chunk.rows

    def _rows_ahead(self) -> int:
        return (self._live[0].start - self._newest.cursor) % self.rows

    def _evict_to(self, core_rows: int) -> None:
        """Evict the oldest chunks until so many core rows are left at most."""
        while self._live_core > core_rows:
            self._evict()

    def _free_slot(self, ordinal: int) -> None:
        """Evict the chunk whose record the next one replaces."""
        while self._live and self._live[0].ordinal <= ordinal - self._log.slots:
            self._evict()

    def _evict(self) -> None:
        record = self._live.popleft()
        self._log.tail = record.ordinal + 1
        self._live_core -= record.core
        self._evicted.append(record.core_extent)
        self.drawable[record.split].drop_before(record.generation + 1)

    def _report_evicted(self) -> tuple[Extent, ...]:
        evicted, self._evicted = tuple(self._evicted), []
        return evicted

    def _hold_back(self) -> None:
        """Leave the chunks that will be overwritten soon out of what may be drawn."""
        guard_rows, cursor = self._files.description.guard_rows, self._newest.cursor
        for record in self._live:
            if (record.start - cursor) % self.rows >= guard_rows:
                break
            self.drawable[record.split].drop_before(record.generation + 1)

    def _recover(self, *, verify_contents: bool) -> None:
        """Find again from the records what the last writer knew."""
        records = self._log.scan()
        if not records:
            raise RingError(f"the ring in {self.directory} has no records")
        self._newest = records[-1]
        self._log.repair_head(self._newest.ordinal)
        for record in records:
            if record.kind == Kind.GRANT:
                self._incarnations.grant(record.collector, record.incarnation)
            if record.kind != Kind.CHUNK:
                continue
            self._incarnations.add(record.id)
            if record.ordinal < self._log.tail:
                continue
            if self._holds(record) and not (verify_contents and self.read_chunk(record) is None):
                self._enter(record)
            else:
                log.warning("the rows of %s in %s are damaged: left out", record.id, self.directory)
        self._hold_back()
