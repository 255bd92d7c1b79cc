"""A rate limiter whose counters lie in shared memory beside the ring, so that they survive a kill as its rows do."""

from __future__ import annotations

import logging
import mmap
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tmrl_ray.experience.chunk_records import Record
from tmrl_ray.experience.limiter import Pace, RateLimiter
from tmrl_ray.experience.memory import reserve
from tmrl_ray.experience.ring import TRAIN, Ring

log = logging.getLogger(__name__)

FILE = "limiter"
"""In the folder of the ring."""
_STATE = struct.Struct("<5qd")
_CRC = struct.Struct("<I")
_SLOT_BYTES = 64  # a cache line


class _Saved(NamedTuple):
    """What the limiter knew at one moment."""

    number: int
    """Counts these records from 1."""
    ordinal: int
    """Of the newest chunk of the ring that was counted."""
    inserted: int
    sampled: int
    extra_samples: int
    balance: float


class _File:
    """Two records, written in turn: a kill while one is written leaves the other."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            reserve(file.fileno(), 2 * _SLOT_BYTES)
            self._map = mmap.mmap(file.fileno(), 2 * _SLOT_BYTES)

    def read(self) -> _Saved | None:
        """Return the newest record that is whole; None: there is none."""
        return max((saved for slot in range(2) if (saved := self._read(slot)) is not None), default=None)

    def write(self, saved: _Saved) -> None:
        """Write a record over the older one."""
        packed = _STATE.pack(*saved)
        start = saved.number % 2 * _SLOT_BYTES
        self._map[start : start + _STATE.size + _CRC.size] = packed + _CRC.pack(zlib.crc32(packed))

    def _read(self, slot: int) -> _Saved | None:
        start = slot * _SLOT_BYTES
        packed = self._map[start : start + _STATE.size]
        (crc,) = _CRC.unpack_from(self._map, start + _STATE.size)
        saved = _Saved(*_STATE.unpack(packed))
        return saved if crc == zlib.crc32(packed) and saved.number > 0 else None


def make_file(ring: Ring) -> None:
    """Take the room for the counters beside a new ring.

    Raises:
        OSError: there is none.
    """
    _File(ring.directory / FILE)


class DurableLimiter:
    """The limiter of the rows of one ring that are learned from.

    What the ring took in after the last count, before a kill, is counted when it is made.

    Args:
        pace: what it holds to.
        ring: that this process writes to.
    """

    def __init__(self, pace: Pace, ring: Ring) -> None:
        self.limiter = RateLimiter(pace, rows=ring.drawable[TRAIN].total)
        """To be asked; what it counts is counted through this object."""
        self._file = _File(ring.directory / FILE)
        self._number = self._ordinal = 0
        saved = self._file.read()
        chunks = [record for record in ring.live_chunks() if record.split == TRAIN]
        if saved is not None:
            self._resume(saved, chunks)
        elif chunks:
            log.warning("the counters of the limiter in %s are lost: it counts from 0", ring.directory)

    def insert(self, ordinal: int, rows: int, *, rows_after: int) -> None:
        """Count the rows of the ring's newest chunk; see ``RateLimiter.insert``."""
        self.limiter.insert(rows, rows_after=rows_after)
        self._ordinal = ordinal
        self._save()

    def sample(self, samples: int) -> None:
        """Count samples that were drawn."""
        self.limiter.sample(samples)
        self._save()

    def allow_extra(self, samples: int) -> None:
        """Let so many samples be drawn beside the pace."""
        self.limiter.allow_extra(samples)
        self._save()

    def go_on_from(self, state: Mapping[str, float], ring: Ring, *, same_pace: bool) -> None:
        """Take over the counters of a checkpoint, from which the ring was filled; see ``RateLimiter``."""
        self.limiter.load_state_dict(state, same_pace=same_pace)
        self.limiter.rows = ring.drawable[TRAIN].total
        self._ordinal = max((record.ordinal for record in ring.live_chunks()), default=0)
        self._save()

    def _resume(self, saved: _Saved, chunks: list[Record]) -> None:
        self._number, self._ordinal = saved.number, saved.ordinal
        state = {
            "inserted": saved.inserted,
            "sampled": saved.sampled,
            "extra_samples": saved.extra_samples,
            "balance": saved.balance,
        }
        limiter = self.limiter
        limiter.load_state_dict(state)
        for record in chunks:
            if record.ordinal > saved.ordinal:
                limiter.rows -= record.core
        for record in chunks:
            if record.ordinal > saved.ordinal:
                self.insert(record.ordinal, record.core, rows_after=limiter.rows + record.core)

    def _save(self) -> None:
        state = self.limiter.state_dict()
        self._number += 1
        self._file.write(
            _Saved(
                number=self._number,
                ordinal=self._ordinal,
                inserted=int(state["inserted"]),
                sampled=int(state["sampled"]),
                extra_samples=int(state["extra_samples"]),
                balance=state["balance"],
            )
        )
