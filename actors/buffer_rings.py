"""The rings of a replay buffer: made, or found again after a kill.

Which ring is the run's stands in a note beside its checkpoints. An intact ring that the note names is newer than any
checkpoint. Every other ring under its name is removed, loudly: it is damaged, was never filled, or was left behind on
this machine by an earlier life of the run.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from actors.durable_limiter import make_file
from tmrl_ray.config.replay import ReplaySettings
from tmrl_ray.errors import RingError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.chunk_records import Counters
from tmrl_ray.experience.memory import MemoryBill, RingSize, bytes_needed, ring_directory
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.ring_files import WriterLock, no_room
from tmrl_ray.process_identity import ProcessIdentity
from tmrl_ray.runs.disk import Disk, replace_file

log = logging.getLogger(__name__)

EXPERIENCE, DEMONSTRATIONS = "experience", "demonstrations"
"""Names of the rings, in those of their folders."""
INCARNATIONS_APART = 2**20
"""Each ring of a run hands out incarnations so far from those of the ring before it: what that one handed out since
its last checkpoint is forgotten, and must not come again."""
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
        self._made = 0
        self._uuid: str | None = None
        try:
            note = json.loads(self._note.read_bytes())
            self._made, self._uuid = int(note["made"]), str(note["uuid"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s does not tell which ring is the run's: %r", self._note, error)

    def find(self) -> Ring | None:
        """Return the run's ring of experience; None: it is gone, and what is there instead has been removed.

        Raises:
            RingError: another process writes to it.
        """
        directory = self._directory(EXPERIENCE)
        ring = self._attach(directory)
        if ring is None or ring.uuid == self._uuid:
            return ring
        log.error("removed the ring in %s: the run's is %s, that one was %s", directory, self._uuid, ring.uuid)
        ring.remove()
        return None

    def make(self, *, env_steps: int = 0) -> Ring:
        """Make the ring of experience. It counts as the run's when it was filled: see ``settle``.

        Args:
            env_steps: to count on from.

        Raises:
            InvalidInputError: it does not fit into memory.
        """
        setup, counters = self._setup, Counters(env_steps, incarnations=self._made * INCARNATIONS_APART)
        directory = self._directory(EXPERIENCE)
        ring = Ring.create(directory, setup.format, setup.size, run=setup.run, owner=setup.owner, counters=counters)
        try:
            make_file(ring)
        except OSError as error:
            ring.remove()
            raise no_room(setup.memory_bill().total_bytes, directory, error) from error
        return ring

    def settle(self, ring: Ring) -> None:
        """Note that a ring is the run's.

        Raises:
            OSError: the note cannot be written.
        """
        self._made, self._uuid = self._made + 1, ring.uuid
        replace_file(self._disk, self._note, json.dumps({"made": self._made, "uuid": self._uuid}).encode())

    def demonstrations(self, size: RingSize) -> Ring:
        """Return the ring of demonstrations; made if it is not there.

        Raises:
            RingError: another process writes to it.
            InvalidInputError: it does not fit into memory.
        """
        setup, directory = self._setup, self._directory(DEMONSTRATIONS)
        ring = self._attach(directory)
        if ring is not None:
            return ring
        return Ring.create(directory, setup.format, size, run=setup.run, owner=setup.owner)

    def _directory(self, name: str) -> Path:
        return ring_directory(self._setup.run, name, self._setup.ring_base)

    def _attach(self, directory: Path) -> Ring | None:
        if not directory.exists():
            return None
        try:
            return Ring.attach(directory, self._setup.format, owner=self._setup.owner)
        except RingError as error:
            lock = WriterLock(directory)  # raises if it is of no use here because somebody else has it
            log.error("the ring in %s is of no use and is removed: %s", directory, error)
            shutil.rmtree(directory)
            lock.release()
            return None
