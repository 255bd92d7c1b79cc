"""The records of a ring: one for each chunk that it took, written last, so that the chunk exists from then on.

Everything else that the owner of a ring knows is found again by reading the records after a kill: where to write
next, the counters, and which chunks came already. A record has a fixed size and a checksum over itself; number
``ordinal`` lies in slot ``ordinal % slots``, so that new ones replace the oldest.

Three words in shared memory stand beside them. Each is written by one aligned 8-byte store: readers see the old
number or the new one.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.experience.chunk import ChunkId


class Kind(IntEnum):
    """What a record records."""

    START = 1
    """The counters with which the ring began."""
    GRANT = 2
    """A collector was given an incarnation."""
    CHUNK = 3
    """The rows of a chunk are in the ring."""


class Counters(NamedTuple):
    """What only grows."""

    env_steps: int = 0
    """Decisions taken in over the whole run, rings before this one included."""
    inserted_rows: int = 0
    """Core rows put into this ring."""
    incarnations: int = 0
    """Incarnations handed out over the whole run."""


class Extent(NamedTuple):
    """Core rows of one chunk."""

    start: int
    rows: int

    @property
    def slice(self) -> slice:
        """These rows of a column."""
        return slice(self.start, self.start + self.rows)


class Place(NamedTuple):
    """Where a chunk is in a ring."""

    ordinal: int
    """Of its record."""
    start: int
    """Row of its first row, a leading one perhaps."""


class Record(NamedTuple):
    """One thing that happened to the ring, and the counters after it."""

    ordinal: int
    """Counts the records from 1."""
    kind: int
    cursor: int
    """Row at which the next chunk is written, after this one."""
    env_steps: int
    inserted_rows: int
    incarnations: int
    collector: int = 0
    incarnation: int = 0
    sequence: int = 0
    race_id: int = 0
    start: int = 0
    """Row of the chunk's first row, a leading one perhaps."""
    leading: int = 0
    core: int = 0
    trailing: int = 0
    split: int = 0
    """Which of the ring's draw indices its core rows belong to."""
    contents_crc: int = 0
    """``Chunk.checksum``."""

    @property
    def counters(self) -> Counters:
        """The counters after it."""
        return Counters(self.env_steps, self.inserted_rows, self.incarnations)

    @property
    def id(self) -> ChunkId:
        """Of the chunk."""
        return ChunkId(self.collector, self.incarnation, self.sequence)

    @property
    def place(self) -> Place:
        """Where the chunk is."""
        return Place(self.ordinal, self.start)

    @property
    def rows(self) -> int:
        """All rows of the chunk."""
        return self.leading + self.core + self.trailing

    @property
    def core_extent(self) -> Extent:
        """The chunk's core rows."""
        return Extent(self.core_start, self.core)

    @property
    def core_start(self) -> int:
        """Row of the chunk's first core row."""
        return self.start + self.leading

    @property
    def generation(self) -> int:
        """What its rows are stamped with once they are written; odd numbers mean that they are being written."""
        return 2 * self.ordinal


_RECORD = struct.Struct("<11q5I")
_CRC = struct.Struct("<Q")
RECORD_BYTES = 128
"""Two cache lines."""
STATE_WORDS = 8
"""In shared memory beside the records, of which three are in use."""
_HEAD, _TAIL, _LIVE_ROWS = range(3)


class RecordLog:
    """The records and words of a ring, in memory that processes share.

    Args:
        data: (slots, RECORD_BYTES) of the records.
        words: (STATE_WORDS,) beside them.
    """

    def __init__(self, data: NDArray[np.uint8], words: NDArray[np.int64]) -> None:
        self.slots = len(data)
        self._data = data
        self._words = words

    @property
    def head(self) -> int:
        """Ordinal of the newest record."""
        return int(self._words[_HEAD])

    @property
    def tail(self) -> int:
        """Chunks with a lower ordinal are evicted: their rows may be overwritten at any time."""
        return int(self._words[_TAIL])

    @tail.setter
    def tail(self, ordinal: int) -> None:
        self._words[_TAIL] = ordinal

    @property
    def live_rows(self) -> int:
        """The most core rows that the ring keeps."""
        return int(self._words[_LIVE_ROWS])

    @live_rows.setter
    def live_rows(self, rows: int) -> None:
        self._words[_LIVE_ROWS] = rows

    def write(self, record: Record) -> None:
        """Commit a record: it counts from the moment at which it is complete."""
        packed = _pack(record)
        self._data[record.ordinal % self.slots] = np.frombuffer(packed, dtype=np.uint8)
        self._words[_HEAD] = record.ordinal

    def read(self, ordinal: int) -> Record | None:
        """Return a record; None: it was never written completely, or has been replaced."""
        record = _unpack(self._data[ordinal % self.slots].tobytes())
        return record if record is not None and record.ordinal == ordinal else None

    def scan(self) -> list[Record]:
        """Return all complete records, oldest first."""
        written = np.flatnonzero(self._data.any(axis=1))
        records = (_unpack(self._data[slot].tobytes()) for slot in written.tolist())
        return sorted(record for record in records if record is not None)

    def repair_head(self, ordinal: int) -> None:
        """Name the newest record again, after a kill between its writing and its naming."""
        self._words[_HEAD] = ordinal


def _pack(record: Record) -> bytes:
    packed = _RECORD.pack(*record).ljust(RECORD_BYTES - _CRC.size, b"\0")
    return packed + _CRC.pack(zlib.crc32(packed))


def _unpack(data: bytes) -> Record | None:
    (crc,) = _CRC.unpack_from(data, RECORD_BYTES - _CRC.size)
    if crc != zlib.crc32(data[: RECORD_BYTES - _CRC.size]):
        return None
    return Record(*_RECORD.unpack_from(data))
