"""What other processes do to a ring in the tests: die while they write, write flat out, read meanwhile.

``python -m tests.experience.ring_processes die|write|read DIRECTORY ...``
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.experience.races import FORMAT, OBSERVATION, MadeUpRaces
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.chunk_records import RECORD_BYTES, Record, _pack
from tmrl_ray.experience.columns import UNKNOWN_STEPS, Layout
from tmrl_ray.experience.ring import Priorities, Ring
from tmrl_ray.experience.ring_reader import RingReader

KILL_POINTS = (
    "evicted",
    "generations odd",
    "half of the pictures",
    "all columns",
    "generations even",
    "half of the record",
    "record not named",
    "not acknowledged",
)
TELLING = ChunkFormat(Layout.of((60, 80), OBSERVATION), 0, 1)
"""Of chunks in which each byte of a row tells whether it belongs to it."""


def chunks(count: int, incarnation: int) -> list[Chunk]:
    """Return the same chunks in every process."""
    races, made = MadeUpRaces(5), list[Chunk]()
    builder = ChunkBuilder(FORMAT, 0, incarnation)
    while len(made) < count:
        made += races.race(builder, 37)
    return made[:count]


def tell(what: object) -> None:
    """Report to the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingRing(Ring):
    """A ring whose writer is killed at a point of one append."""

    point = ""

    def _write_rows(self, record: Record, chunk: Chunk, priorities: Priorities | float) -> None:
        rows = slice(record.start, record.start + record.rows)
        generations = self._files.generations[rows]
        if self.point == "evicted":
            die()
        if self.point == "generations odd":
            generations[: len(generations) // 2] = record.generation - 1
            die()
        if self.point == "half of the pictures":
            generations[:] = record.generation - 1
            half = record.rows // 2
            self.column("frame")[rows][:half] = chunk.columns["frame"][:half]
            die()
        super()._write_rows(record, chunk, priorities)
        if self.point == "all columns":
            generations[:] = record.generation - 1
            die()
        if self.point == "generations even":
            die()

    def _write(self, record: Record) -> None:
        packed = np.frombuffer(_pack(record), dtype=np.uint8)
        slot = self._files.records[record.ordinal % len(self._files.records)]
        if self.point == "half of the record":
            slot[: RECORD_BYTES // 2] = packed[: RECORD_BYTES // 2]
            die()
        if self.point == "record not named":
            slot[:] = packed
            die()
        super()._write(record)


def run_dying(directory: Path, incarnation: int, first: int, appends: int, point: str) -> None:
    """Append chunks from ``first`` on, print each acknowledgement, and die in the last append."""
    ring = DyingRing.attach(directory, FORMAT)
    made = chunks(first + appends, incarnation)[first:]
    for number, chunk in enumerate(made):
        ring.point = point if number == appends - 1 else ""
        ring.append(chunk)
        if ring.point == "not acknowledged":
            die()
        tell(chunk.id.sequence)


def telling_chunk(incarnation: int, sequence: int) -> Chunk:
    """Return a chunk in which each row holds its own number everywhere."""
    rows = MAX_CORE_ROWS + 1
    columns = TELLING.layout.empty(rows)
    for array in columns.values():
        array[:] = 0
    columns["metres"][:] = (sequence * rows + np.arange(rows)) % 2**24  # exact in float32
    columns["frame"][:] = (columns["metres"] % 251).astype(np.uint8)[:, None, None]
    columns["floats"][:] = columns["metres"][:, None]
    columns["race_id"][:] = sequence
    columns["step_in_race"][:] = np.arange(rows)
    columns["steps_to_end"][:] = UNKNOWN_STEPS
    return Chunk(TELLING, ChunkId(0, incarnation, sequence), columns, 0, MAX_CORE_ROWS, 1)


def run_writer(directory: Path, seconds: float) -> None:
    """Append flat out."""
    ring = Ring.attach(directory, TELLING)
    incarnation, sequence, end = ring.grant(0), 0, time.monotonic() + seconds
    prepared = [telling_chunk(incarnation, number) for number in range(50)]
    for chunk in prepared:
        assert chunk.checksum >= 0
    while time.monotonic() < end:
        chunk = prepared[sequence % len(prepared)]
        again = Chunk(TELLING, chunk.id._replace(sequence=sequence), chunk.columns, 0, chunk.core, 1)
        again.__dict__["checksum"] = chunk.checksum
        ring.append(again)
        sequence += 1
    tell({"appends": sequence})


def run_reader(directory: Path, seconds: float) -> None:
    """Gather rows that are about to be overwritten, and see whether each torn one is told as such."""
    ring, rng = RingReader.attach(directory, TELLING), np.random.default_rng(os.getpid())
    size = 64
    out = {
        name: np.zeros((size, *TELLING.layout[name].shape), TELLING.layout[name].dtype)
        for name in ("frame", "floats", "metres")
    }
    counts = {"rows": 0, "intact": 0, "torn": 0, "missed": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        live = ring.live_chunks()
        if len(live) < 2:
            continue
        record = live[0]
        offsets = rng.permutation(record.core)[:size]
        rows, generations = record.core_start + offsets, np.full(size, record.generation)
        for name, array in out.items():
            ring.take(name, rows, array)
        intact = ring.intact(rows, generations)
        metres = out["metres"]
        whole = (out["frame"] == (metres % 251).astype(np.uint8)[:, None, None]).all(axis=(1, 2))
        whole &= (out["floats"] == metres[:, None]).all(axis=1)
        whole &= metres == (record.sequence % 50 * (MAX_CORE_ROWS + 1) + offsets) % 2**24
        counts["rows"] += size
        counts["intact"] += int(intact.sum())
        counts["torn"] += int((~whole).sum())
        counts["missed"] += int((intact & ~whole).sum())
    tell(counts)


if __name__ == "__main__":
    role, path, *words = sys.argv[1:]
    if role == "die":
        run_dying(Path(path), int(words[0]), int(words[1]), int(words[2]), words[3])
    elif role == "write":
        run_writer(Path(path), float(words[0]))
    else:
        run_reader(Path(path), float(words[0]))
