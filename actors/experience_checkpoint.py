"""Experience on the disk: only what is new since the last checkpoint is written, while the ring goes on.

::

    <run>/replay/
      segment-<random>-000012   chunks as the wire has them, one behind the other; never changed once it is there
      manifest.json             which chunk lies where; replaced whole with each checkpoint

A checkpoint of the run brings the segments along under names of its own (hard links), with the table of its chunks and
their priorities as of then. So it stays whole when a segment is removed here, which happens once nothing in the ring
is in it any more.

Chunks are read from the ring one at a time, and those that are overwritten meanwhile are left out: nobody waits, and
memory holds one segment besides the ring.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import CheckpointError, ChunkError, NotSavedError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.chunk_records import Counters, Place, Record
from tmrl_ray.experience.codec import decode, encode
from tmrl_ray.experience.ring import Ring
from tmrl_ray.runs.checkpoint_files import KeptFile, Part
from tmrl_ray.runs.disk import Disk, remove_strays, replace_file

log = logging.getLogger(__name__)

VERSION = 2
SEGMENT_BYTES = 32 * 2**20
"""A segment is closed when it is larger. The disk holds up to one segment of chunks that left the ring; the memory
that a checkpoint takes is twice this."""
_MANIFEST = "manifest.json"
_SEGMENTS = "segment-*"

Priorities = NDArray[np.float64]


class Entry(NamedTuple):
    """Where a chunk lies, and where it was in the ring."""

    segment: str
    offset: int
    length: int
    collector: int
    incarnation: int
    sequence: int
    core: int
    split: int
    contents_crc: int
    ordinal: int
    start: int

    @property
    def place(self) -> Place:
        """Where the chunk was in the ring."""
        return Place(self.ordinal, self.start)

    @property
    def key(self) -> tuple[int, int, int, int]:
        """What tells the chunk from all others, those of an earlier run in the same folder included."""
        return self.collector, self.incarnation, self.sequence, self.contents_crc


def _key(record: Record) -> tuple[int, int, int, int]:
    return *record.id, record.contents_crc


class _SegmentWriter:
    """Puts chunks into segments, each written whole or not at all."""

    def __init__(self, directory: Path, disk: Disk, segment_bytes: int) -> None:
        self.written: dict[str, KeptFile] = {}
        self._directory = directory
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._prefix = f"segment-{secrets.token_hex(6)}"
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, record: Record, data: bytes) -> Entry:
        """Add a chunk as encoded, and return where it will lie."""
        name = f"{self._prefix}-{len(self.written):06}"
        entry = Entry(
            name, self._size, len(data), *record.id, record.core, record.split, record.contents_crc, *record.place
        )
        self._parts.append(data)
        self._size += len(data)
        if self._size >= self._segment_bytes:
            self.close()
        return entry

    def close(self) -> None:
        """Write what was added."""
        if not self._parts:
            return
        path, data = self._directory / f"{self._prefix}-{len(self.written):06}", b"".join(self._parts)
        replace_file(self._disk, path, data)
        self.written[path.name] = KeptFile(path, len(data), hashlib.sha256(data).hexdigest())
        self._parts, self._size = [], 0


class ExperienceFolder:
    """The segments of one run; one process writes them, one checkpoint at a time.

    Args:
        directory: of the segments, on the same file system as the run's checkpoints.
        disk: how they are written; None: to the real one.
        compress: whether chunks are compressed.
        segment_bytes: a segment is closed when it is larger.

    Raises:
        NotSavedError: the folder cannot be made or cleared up.
    """

    def __init__(
        self, directory: Path, *, disk: Disk | None = None, compress: bool = True, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.directory = directory
        self._disk = Disk() if disk is None else disk
        self._compress = compress
        self._segment_bytes = segment_bytes
        self._entries: dict[tuple[int, int, int, int], Entry] = {}
        self._segments: dict[str, KeptFile] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            remove_strays(self._disk, directory)
            self._read_manifest()
            self._remove_unused()
        except OSError as error:
            raise NotSavedError(f"cannot make or clear up {directory}: {error}") from error

    def save(self, ring: Ring, values: Mapping[str, Any]) -> Part:
        """Write what is new in the ring, and return all that is in it as a part of a checkpoint.

        Args:
            ring: may be appended to and drawn from meanwhile.
            values: what else to keep, JSON-able.

        Raises:
            NotSavedError: the disk is full, for example. Nothing that was there before is lost.
        """
        with ring.lock:
            records, leaves = ring.live_chunks(), ring.live_priorities()
            newest = records[-1].counters if records else ring.counters
        writer = _SegmentWriter(self.directory, self._disk, self._segment_bytes)
        entries, priorities = [], []
        try:
            for record in records:
                entry = self._entries.get(_key(record)) or self._write(writer, ring, record)
                if entry is not None:
                    entries.append(entry._replace(**record.place._asdict()))
                    priorities.append(leaves[record.core_extent.slice])
            writer.close()
            found = {**self._segments, **writer.written}
            self._segments = {name: found[name] for name in sorted({entry.segment for entry in entries})}
            self._entries = {entry.key: entry for entry in entries}
            self._write_manifest()
            self._remove_unused()
        except OSError as error:
            raise NotSavedError(
                f"the experience was not saved in {self.directory}: {error}",
                hint="Make room on that disk.",
            ) from error
        return _as_part(entries, priorities, self._segments, ring, newest, values)

    def adopt(self, saved: SavedExperience) -> None:
        """Go on from what was restored: what is whole of it need not be written again.

        Raises:
            NotSavedError: the segments cannot be put into the folder.
        """
        adopted: dict[str, KeptFile] = {}
        try:
            for name, file in saved.whole_segments().items():
                path = self.directory / name
                if path.exists() and not path.samefile(file.path):
                    path.unlink()
                if not path.exists():
                    self._disk.link(file.path, path)
                adopted[name] = KeptFile(path, file.size_bytes, file.sha256)
        except OSError as error:
            raise NotSavedError(f"cannot put segments into {self.directory}: {error}") from error
        self._segments = adopted
        self._entries = {entry.key: entry for entry in saved.entries if entry.segment in adopted}

    def _write(self, writer: _SegmentWriter, ring: Ring, record: Record) -> Entry | None:
        """Put a chunk into a segment; None: it has left the ring by now."""
        chunk = ring.read_chunk(record)
        return None if chunk is None else writer.add(record, encode(chunk, compress=self._compress).tobytes())

    def _write_manifest(self) -> None:
        manifest = {
            "version": VERSION,
            "segments": {name: [file.size_bytes, file.sha256] for name, file in self._segments.items()},
            "chunks": [list(entry) for entry in self._entries.values()],
        }
        replace_file(self._disk, self.directory / _MANIFEST, json.dumps(manifest).encode())

    def _read_manifest(self) -> None:
        path = self.directory / _MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["version"] != VERSION:
                raise ValueError(f"version {manifest['version']}")
            files = {
                name: KeptFile(self.directory / name, size, sha256)
                for name, (size, sha256) in manifest["segments"].items()
            }
            entries = [Entry(*row) for row in manifest["chunks"]]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is of no use, the next checkpoint is written as a whole: %r", path, error)
            return
        self._segments = {name: file for name, file in files.items() if file.path.exists()}
        self._entries = {entry.key: entry for entry in entries if entry.segment in self._segments}

    def _remove_unused(self) -> None:
        for path in self.directory.glob(_SEGMENTS):
            if path.name not in self._segments:
                path.unlink()


@dataclass(frozen=True)
class RestoreReport:
    """What came of a checkpoint's experience."""

    chunks: int
    rows: int
    """That are in the ring again."""
    left_out_rows: int
    """Older ones, for which the ring has no room."""
    lost_chunks: int
    lost_rows: int
    """In segments that are damaged."""
    damaged: tuple[Path, ...]
    """Segments."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it is in the ring again."""
        return not (self.left_out_rows or self.lost_chunks)


class SavedExperience:
    """Experience as a checkpoint has it.

    Args:
        part: of the checkpoint.
        format: of the chunks.

    Raises:
        CheckpointError: it is of another version or format.
    """

    def __init__(self, part: Part, format: ChunkFormat) -> None:
        values, mine = part.values, (format.layout.hash, format.history, format.look_ahead)
        if values["version"] != VERSION:
            raise CheckpointError(
                f"the saved experience has version {values['version']}, this version of tmrl_ray reads {VERSION}",
                hint="Resume with the version of tmrl_ray that wrote it, or replace --resume by --restart.",
            )
        found = tuple(values[name] for name in ("layout", "history", "look_ahead"))
        if found != mine:
            raise CheckpointError(
                f"the saved experience has (layout, history, look-ahead) {found}, this run has {mine}",
                hint="Take back what was changed in the configuration since, or replace --resume by --restart.",
            )
        self.values: Mapping[str, Any] = values["values"]
        self.counters = Counters(**values["counters"])
        self.shape = tuple(values["shape"])
        """Of the ring."""
        self._format = format
        self._files = part.files
        names = values["segments"]
        rows = np.asarray(part.arrays["chunks"]).tolist()
        self.entries = [Entry(names[row[0]], *row[1:]) for row in rows]
        """Oldest first."""
        self._priorities: Priorities = np.asarray(part.arrays["priorities"])
        self._whole: dict[str, KeptFile] | None = None

    def whole_segments(self) -> Mapping[str, KeptFile]:
        """Return the segments that are what they were; the first call reads all of them."""
        if self._whole is None:
            self._whole = {name: file for name, file in self._files.items() if file.is_whole()}
        return self._whole

    def select(self, capacity_rows: int) -> tuple[list[int], RestoreReport]:
        """Return the numbers of the newest chunks that can be read and fit, oldest first, and what that leaves out."""
        whole = self.whole_segments()
        good = [n for n, entry in enumerate(self.entries) if entry.segment in whole or self._read(entry) is not None]
        chosen: list[int] = []
        rows = 0
        for number in reversed(good):
            rows += self.entries[number].core
            if rows > capacity_rows:
                break
            chosen.append(number)
        lost = set(range(len(self.entries))) - set(good)
        kept_rows = sum(self.entries[number].core for number in chosen)
        report = RestoreReport(
            chunks=len(chosen),
            rows=kept_rows,
            left_out_rows=sum(self.entries[number].core for number in good) - kept_rows,
            lost_chunks=len(lost),
            lost_rows=sum(self.entries[number].core for number in lost),
            damaged=tuple(file.path for name, file in self._files.items() if name not in whole),
        )
        return chosen[::-1], report

    def read(self, numbers: list[int]) -> Iterator[tuple[Chunk, int, Priorities, Place]]:
        """Yield chunks with their split, their priorities (core,), and where they were in the ring."""
        ends = np.cumsum([entry.core for entry in self.entries])
        for number in numbers:
            entry = self.entries[number]
            chunk = self._read(entry)
            if chunk is None:
                raise CheckpointError(f"{self._files[entry.segment].path} changed while it was read")
            yield chunk, entry.split, self._priorities[ends[number] - entry.core : ends[number]], entry.place

    def _read(self, entry: Entry) -> Chunk | None:
        """Return a chunk; None: it is damaged."""
        file = self._files.get(entry.segment)
        if file is None:
            return None
        try:
            with file.path.open("rb") as segment:
                segment.seek(entry.offset)
                chunk = decode(segment.read(entry.length), self._format)
        except (OSError, ChunkError) as error:
            log.warning("chunk %s in %s is damaged: %s", tuple(entry[3:6]), file.path, error)
            return None
        expected = ChunkId(entry.collector, entry.incarnation, entry.sequence)
        return chunk if (chunk.id, chunk.core) == (expected, entry.core) else None


def _as_part(
    entries: list[Entry],
    priorities: list[Priorities],
    segments: Mapping[str, KeptFile],
    ring: Ring,
    newest: Counters,
    values: Mapping[str, Any],
) -> Part:
    names = list(segments)
    numbers = {name: number for number, name in enumerate(names)}
    table = [(numbers[entry.segment], *entry[1:]) for entry in entries]
    return Part(
        values={
            "version": VERSION,
            "ring": ring.uuid,
            "shape": list(ring.shape),
            "layout": ring.format.layout.hash,
            "history": ring.format.history,
            "look_ahead": ring.format.look_ahead,
            "counters": newest._asdict(),
            "segments": names,
            "values": values,
        },
        arrays={
            "chunks": np.array(table, dtype=np.int64).reshape(-1, len(Entry._fields)),
            "priorities": np.concatenate([np.zeros(0), *priorities]),
        },
        files=dict(segments),
    )
