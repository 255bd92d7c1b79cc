"""The files of a ring, mapped into memory: one for each column, its description, and who may write.

::

    <base>/tmrl_ray-<run>-<name>/
      lock                     held by the one writer, let go of by the system when it dies
      frame.rows ...           (rows, *shape) for each column
      generations.rows         (rows,) int64, see ``ring``
      priorities.rows          (rows,) float64
      records  state           see ``chunk_records``
      ring.json                what all this is; written last, so that a ring is whole or not there
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import mmap
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tmrl_ray.errors import InvalidInputError, RingError, RingInUseError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.chunk_records import RECORD_BYTES, STATE_WORDS
from tmrl_ray.experience.columns import Array
from tmrl_ray.experience.memory import reserve
from tmrl_ray.process_identity import ProcessIdentity

log = logging.getLogger(__name__)

RING_VERSION = 1
LOCK_FILE = "lock"
_DESCRIPTION = "ring.json"
_PAGE_BYTES = mmap.PAGESIZE
_NEW_RING = "Start the run with --restart, or from its checkpoint: a new ring is made then."
PATIENCE_S = 1.0
"""For so long a writer waits for a ring that is in use: whoever looks for left-over rings has each for microseconds."""
_LOOK_S = 0.01


@dataclass(frozen=True)
class Description:
    """What a ring is, for whoever attaches to it."""

    version: int
    uuid: str
    """Another ring has another one, even if it lies in the same folder."""
    run: str
    layout_hash: str
    history: int
    look_ahead: int
    rows: int
    """That are allocated."""
    capacity_rows: int
    """Core rows that may be live."""
    slots: int
    """Records."""
    guard_rows: int
    owner: ProcessIdentity
    """The process without which nobody needs the ring any more."""

    @classmethod
    def read(cls, directory: Path) -> Description:
        """Read the description of the ring in ``directory``.

        Raises:
            RingError: there is no whole ring there, or one of another version.
        """
        path = directory / _DESCRIPTION
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if fields["version"] != RING_VERSION:
                raise RingError(f"{path} has version {fields['version']}, not {RING_VERSION}", hint=_NEW_RING)
            return cls(**{**fields, "owner": ProcessIdentity(**fields["owner"])})
        except FileNotFoundError as error:
            raise RingError(f"there is no ring in {directory}", hint=_NEW_RING) from error
        except (ValueError, KeyError, TypeError) as error:
            raise RingError(f"{path} does not describe a ring: {error!r}", hint=_NEW_RING) from error

    def write(self, directory: Path) -> None:
        """Write it into ``directory``, whole or not at all.

        Raises:
            OSError: it could not be written; the one that was there still is.
        """
        path = directory / _DESCRIPTION
        partial = path.with_suffix(".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def check(self, directory: Path, format: ChunkFormat) -> None:
        """See that the ring holds chunks of ``format``.

        Raises:
            RingError: it does not.
        """
        mine = (format.layout.hash, format.history, format.look_ahead)
        if (self.layout_hash, self.history, self.look_ahead) != mine:
            raise RingError(
                f"the ring in {directory} has layout {self.layout_hash}, history {self.history} and look-ahead "
                f"{self.look_ahead}; this run has {mine[0]}, {mine[1]} and {mine[2]}",
                hint="Take back what was changed in the configuration since, or replace --resume by --restart.",
            )


class WriterLock:
    """The right to write to a ring; let go of when it is released, or when its process dies, however it dies."""

    def __init__(self, directory: Path, *, patience_s: float = 0.0) -> None:
        """Take it.

        Args:
            directory: of the ring.
            patience_s: for so long it is waited for.

        Raises:
            RingInUseError: somebody else has it.
        """
        self._file = (directory / LOCK_FILE).open("wb")
        give_up_s = time.monotonic() + patience_s
        while not self._take():
            if time.monotonic() >= give_up_s:
                self._file.close()
                raise RingInUseError(
                    f"another process writes to the ring in {directory}", hint="Stop the run that uses it first."
                )
            time.sleep(_LOOK_S)

    def release(self) -> None:
        """Let go of it."""
        self._file.close()

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@dataclass(frozen=True)
class _Part:
    """One file with an array."""

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class RingFiles:
    """The mapped arrays of a ring; make one with ``create`` or ``open``."""

    def __init__(self, directory: Path, description: Description, format: ChunkFormat, *, writable: bool) -> None:
        self.directory = directory
        self.description = description
        parts = {part.file: _map(directory / part.file, part, writable) for part in _parts(description, format)}
        self.columns = {name: parts[f"{name}.rows"] for name in format.layout.names}
        """(rows, *shape) for each column."""
        self.generations = parts["generations.rows"]
        """(rows,) int64."""
        self.priorities = parts["priorities.rows"]
        """(rows,) float64."""
        self.records = parts["records"]
        """(slots, RECORD_BYTES)."""
        self.state = parts["state"]
        """(STATE_WORDS,) int64."""

    @classmethod
    def create(cls, directory: Path, description: Description, format: ChunkFormat) -> tuple[RingFiles, WriterLock]:
        """Make the files, reserve all of their memory and touch each page of it; ``complete`` them next.

        Raises:
            RingError: there is a ring already.
            InvalidInputError: there is not enough room; nothing is left behind.
        """
        try:
            directory.mkdir(parents=True)
        except FileExistsError as error:
            raise RingError(
                f"{directory} exists already", hint="If no run uses it, remove it: tmrl-ray doctor --clean"
            ) from error
        lock = WriterLock(directory)
        try:
            for part in _parts(description, format):
                with (directory / part.file).open("wb") as file:
                    reserve(file.fileno(), part.size_bytes)
            files = cls(directory, description, format, writable=True)
        except OSError as error:
            lock.release()
            shutil.rmtree(directory)
            total = sum(part.size_bytes for part in _parts(description, format))
            raise no_room(total, directory, error) from error
        for array in files._arrays():
            _touch(array)
        return files, lock

    @classmethod
    def open(cls, directory: Path, format: ChunkFormat, *, writable: bool = False) -> RingFiles:
        """Map the files of a ring that exists.

        Raises:
            RingError: there is none, it is damaged, or it holds other chunks than those of ``format``.
        """
        description = Description.read(directory)
        description.check(directory, format)
        return cls(directory, description, format, writable=writable)

    def complete(self, lock: WriterLock) -> None:
        """Write the description of new files: only now is the ring whole.

        Raises:
            InvalidInputError: there is not enough room; nothing is left behind.
        """
        try:
            self.description.write(self.directory)
        except OSError as error:
            lock.release()
            shutil.rmtree(self.directory)
            total = sum(array.nbytes for array in self._arrays())
            raise no_room(total, self.directory, error) from error

    def note_owner(self, owner: ProcessIdentity) -> None:
        """Write down the process without which nobody needs the ring any more, if there is room for that."""
        self.description = replace(self.description, owner=owner)
        try:
            self.description.write(self.directory)
        except OSError as error:  # the writer's lock keeps it from being taken for left over
            log.warning("cannot note who owns the ring in %s now: %s", self.directory, error)

    def _arrays(self) -> Iterator[Array]:
        yield from (*self.columns.values(), self.generations, self.priorities, self.records, self.state)


def no_room(size_bytes: int, directory: Path, error: OSError) -> InvalidInputError:
    """Return the error of a ring that could not be made in ``directory``."""
    return InvalidInputError(
        f"cannot reserve {size_bytes:,} bytes for a ring in {directory.parent}: {error}",
        hint="Lower the capacity of the experience, or give it a folder on a disk with more room.",
    )


def _parts(description: Description, format: ChunkFormat) -> Iterator[_Part]:
    rows = description.rows
    for column in format.layout.columns:
        yield _Part(f"{column.name}.rows", column.dtype, (rows, *column.shape))
    yield _Part("generations.rows", np.dtype("<i8"), (rows,))
    yield _Part("priorities.rows", np.dtype("<f8"), (rows,))
    yield _Part("records", np.dtype("|u1"), (description.slots, RECORD_BYTES))
    yield _Part("state", np.dtype("<i8"), (STATE_WORDS,))


def _map(path: Path, part: _Part, writable: bool) -> Array:
    try:
        with path.open("r+b" if writable else "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != part.size_bytes:
                raise RingError(f"{path} has {size:,} bytes, not {part.size_bytes:,}", hint=_NEW_RING)
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            mapped = mmap.mmap(file.fileno(), size, access=access)
    except FileNotFoundError as error:
        raise RingError(f"{path} is missing", hint=_NEW_RING) from error
    return np.frombuffer(mapped, part.dtype).reshape(part.shape)


def _touch(array: Array) -> None:
    """Write to each page of zeros: the first touch of a page costs more than writing a row to it."""
    array.reshape(-1).view(np.uint8)[::_PAGE_BYTES] = 0
