"""The rings of a replay buffer: made, or found again after a kill.

Which ring is the run's stands in a note beside its checkpoints. An intact ring that the note names is newer than any
checkpoint. Every other ring under its name is removed, loudly: it is damaged, was never filled, or was left behind on
this machine by an earlier life of the run.

A run that is resumed with another capacity moves to another ring. The new one is filled under a name of its own, the
note then names it, and only then does it take the place of the old one: a kill at any moment leaves a whole one.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from actors.durable_limiter import make_file
from tmrl_ray.config.replay import ReplaySettings
from tmrl_ray.errors import InvalidInputError, RingError, RingInUseError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.chunk_records import Counters
from tmrl_ray.experience.memory import (
    MIB,
    SHARED_MEMORY,
    SPARE_BYTES,
    MemoryBill,
    RingSize,
    bytes_needed,
    free_bytes,
    ring_directory,
    size_of,
)
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.ring_files import PATIENCE_S, Description, WriterLock, no_room
from tmrl_ray.process_identity import ProcessIdentity
from tmrl_ray.runs.disk import Disk, replace_file

log = logging.getLogger(__name__)

EXPERIENCE, DEMONSTRATIONS = "experience", "demonstrations"
"""Names of the rings, in those of their folders."""
INCARNATIONS_APART = 2**20
"""Each ring of a run hands out incarnations so far from those of the ring before it: what that one handed out since
its last checkpoint is forgotten, and must not come again."""
_SUCCESSOR = "experience.next"
"""Of a ring of another size, until it takes the place of the one before."""
_NOTE = "ring.json"


@dataclass(frozen=True, kw_only=True)
class BufferSetup:
    """What a replay buffer is made with; the same again after a kill."""

    run: str
    """Name of the run, which no other run ever has."""
    settings: ReplaySettings
    format: ChunkFormat
    ring_base: Path
    """Where the rings go; see ``memory.choose_base``."""
    directory: Path
    """Where experience is kept on the disk, within the run's folder."""
    seed: int = 0
    max_draw: int = 4096
    """The most samples that are drawn at once: what the learner prefetches."""
    guard_rows: int = 2048
    """Rows ahead of the writer that are not drawn."""
    owner: ProcessIdentity | None = None
    """The process without which nobody needs the rings any more; None: the buffer's own."""

    @property
    def size(self) -> RingSize:
        """Of the ring of experience."""
        return RingSize(self.settings.capacity_rows, guard_rows=self.guard_rows)

    @property
    def demonstrations_size(self) -> RingSize | None:
        """Of the ring of demonstrations; None: there is none."""
        demonstrations = self.settings.demonstrations
        return None if demonstrations is None else RingSize(demonstrations.rows, guard_rows=0)

    def memory_bill(self) -> MemoryBill:
        """Return what the rings cost."""
        items = list(bytes_needed(self.format, self.size).items)
        if self.demonstrations_size is not None:
            items.append((DEMONSTRATIONS, bytes_needed(self.format, self.demonstrations_size).total_bytes))
        return MemoryBill(tuple(items))

    @property
    def picture_bytes(self) -> int:
        """What the pictures of all rows of the rings take; 0: there are none."""
        if "frame" not in self.format.layout:
            return 0
        sizes = [size for size in (self.size, self.demonstrations_size) if size is not None]
        return self.format.layout["frame"].row_bytes * sum(size.physical_rows(self.format) for size in sizes)


class RunRings:
    """Finds and makes the rings of a run.

    Args:
        setup: of the buffer.
        disk: how the note is written.
    """

    def __init__(self, setup: BufferSetup, disk: Disk) -> None:
        self._setup = setup
        self._disk = disk
        self._note = setup.directory / _NOTE
        self._made, self._uuid = _read_note(self._note)
        self._former: Ring | None = None  # stays until another one is settled on

    def check_format(self) -> None:
        """See that the rings of the run, where they are there, hold chunks of its format; nothing is changed.

        Raises:
            RingError: they do not: the configuration was changed since.
        """
        for name in (EXPERIENCE, _SUCCESSOR, DEMONSTRATIONS):
            directory = self._directory(name)
            uuid = _uuid_of(directory)
            if uuid is not None and (name == DEMONSTRATIONS or uuid == self._uuid):
                Description.read(directory).check(directory, self._setup.format)

    def find(self) -> Ring | None:
        """Return the run's ring of experience; None: it is gone, and what is there instead has been removed.

        Raises:
            RingInUseError: another process writes to it.
        """
        directory, successor = self._directory(EXPERIENCE), self._directory(_SUCCESSOR)
        if successor.exists():  # a kill came while the run moved to it
            if self._uuid is not None and _uuid_of(successor) == self._uuid:
                _remove(directory)
                successor.rename(directory)
            else:
                _remove(successor)
        ring = self._attach(directory)
        if ring is None or ring.uuid == self._uuid:
            return ring
        log.error("removed the ring in %s: the run's is %s, that one was %s", directory, self._uuid, ring.uuid)
        ring.remove()
        return None

    def check_room(self, former: Ring) -> None:
        """See that a ring of another size fits, in the place of ``former`` if need be; nothing is changed.

        Raises:
            InvalidInputError: it does not.
        """
        base, given_back = self._setup.ring_base, size_of(former.directory)
        needed, free = self._needed_and_free_bytes()
        if needed > free + given_back - SPARE_BYTES:
            raise InvalidInputError(
                f"experience of {self._setup.size.capacity_rows} rows needs {needed / MIB:,.0f} MiB and "
                f"{SPARE_BYTES / MIB:,.0f} MiB to spare; {base} has {free / MIB:,.0f} MiB free, and "
                f"{given_back / MIB:,.0f} MiB more without the ring of {former.capacity_rows} rows that is there",
                hint="Lower the capacity, or take back its change; the experience is kept as it is.",
            )

    def make_way(self, former: Ring) -> None:
        """Keep a ring of another size until the next one is settled on; where there is no room for both, remove it."""
        needed, free = self._needed_and_free_bytes()
        if needed <= free - SPARE_BYTES:
            self._former = former
            return
        log.warning("%s has no room for two rings: a kill now loses what no checkpoint has", self._setup.ring_base)
        former.remove()

    def make(self, *, env_steps: int = 0) -> Ring:
        """Make the ring of experience. It counts as the run's when it was filled: see ``settle``.

        Args:
            env_steps: to count on from.

        Raises:
            InvalidInputError: it does not fit into memory.
        """
        setup, counters = self._setup, Counters(env_steps, incarnations=self._made * INCARNATIONS_APART)
        directory = self._directory(EXPERIENCE if self._former is None else _SUCCESSOR)
        ring = Ring.create(directory, setup.format, setup.size, run=setup.run, owner=setup.owner, counters=counters)
        try:
            make_file(ring)
        except OSError as error:
            ring.remove()
            raise no_room(setup.memory_bill().total_bytes, directory, error) from error
        return ring

    def settle(self, ring: Ring) -> None:
        """Note that a ring is the run's; it takes the place of the one before, if that is still there.

        Raises:
            OSError: the note cannot be written.
        """
        self._made, self._uuid = self._made + 1, ring.uuid
        replace_file(self._disk, self._note, json.dumps({"made": self._made, "uuid": self._uuid}).encode())
        if self._former is not None:
            self._former.remove()
            ring.move(self._former.directory)
            self._former = None

    def demonstrations(self, size: RingSize) -> Ring:
        """Return the ring of demonstrations; made if it is not there.

        Raises:
            RingInUseError: another process writes to it.
            InvalidInputError: it does not fit into memory.
        """
        setup, directory = self._setup, self._directory(DEMONSTRATIONS)
        ring = self._attach(directory)
        if ring is not None:
            return ring
        return Ring.create(directory, setup.format, size, run=setup.run, owner=setup.owner)

    def _needed_and_free_bytes(self) -> tuple[int, int]:
        """Return what the ring of experience takes, and what is free where it goes."""
        setup, base = self._setup, self._setup.ring_base
        free = free_bytes(base, is_memory=base == SHARED_MEMORY)
        return bytes_needed(setup.format, setup.size).total_bytes, free

    def _directory(self, name: str) -> Path:
        return ring_directory(self._setup.run, name, self._setup.ring_base)

    def _attach(self, directory: Path) -> Ring | None:
        if not directory.exists():
            return None
        setup = self._setup
        # Of files on a disk a crash of the machine may have kept some pages and lost others; memory is lost as a whole.
        verify = setup.ring_base != SHARED_MEMORY
        try:
            return Ring.attach(directory, setup.format, owner=setup.owner, verify_contents=verify)
        except RingInUseError:
            raise
        except RingError as error:
            log.error("the ring in %s is of no use and is removed: %s", directory, error)
            _remove(directory)
            return None


def base_of_rings(run: str, directory: Path, bases: Iterable[Path]) -> Path | None:
    """Return under which of ``bases`` a run has its ring, or at least has one; None: there is none.

    What is free does not tell: there, the pages of the ring itself count as used.

    Args:
        run: its name.
        directory: where its experience is kept on the disk.
        bases: where rings may be.
    """
    _, noted = _read_note(directory / _NOTE)
    rings = [(base, ring_directory(run, name, base)) for base in bases for name in (EXPERIENCE, _SUCCESSOR)]
    found = [(_uuid_of(ring) != noted, base) for base, ring in rings if ring.exists()]
    return min(found, default=(True, None), key=itemgetter(0))[1]


def _read_note(path: Path) -> tuple[int, str | None]:
    """Return how many rings a run has had, and the uuid of the last one; None: it has none."""
    try:
        note = json.loads(path.read_bytes())
        return int(note["made"]), str(note["uuid"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        log.error("%s does not tell which ring is the run's: %r", path, error)
    return 0, None


def _uuid_of(directory: Path) -> str | None:
    """Return the uuid of the ring in ``directory``; None: there is no whole one."""
    with suppress(RingError):
        return Description.read(directory).uuid
    return None


def _remove(directory: Path) -> None:
    """Remove a ring, if it is there and nobody uses it.

    Raises:
        RingInUseError: somebody does.
    """
    if not directory.exists():
        return
    lock = WriterLock(directory, patience_s=PATIENCE_S)
    shutil.rmtree(directory)
    lock.release()
