"""A replay buffer of made-up races with its ring, its checkpoints and its journal, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.messages import AppendReply
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import settings_of, setup_in
from tests.actors.saved_experience import load, save, store_in
from tests.experience.races import MadeUpRaces
from tests.faults.journal import Account, Journal
from tmrl_ray.config.replay import ReplaySettings
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import encode
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.disk import Disk

ROWS = 4096
"""Of the ring, far more than any test sends."""


class JournalledSender:
    """A collector that sends made-up races and keeps the journal."""

    def __init__(self, buffer: ReplayBuffer, journal: Journal, number: int = 0) -> None:
        format = buffer.setup.format
        self.grant = buffer.hand_out_incarnation(number, format.layout.hash)
        self.races = MadeUpRaces(self.grant.incarnation, format)
        self.builder = ChunkBuilder(format, number, self.grant.incarnation)
        self.journal = journal
        self.acknowledged: list[Chunk] = []

    def make(self, steps: int) -> list[Chunk]:
        """Return the chunks of a race that nobody was sent yet."""
        return self.races.race(self.builder, steps)

    def append(self, buffer: ReplayBuffer, chunk: Chunk) -> AppendReply:
        """Send one chunk, perhaps again."""
        self.journal.send_chunk(chunk)
        reply = buffer.append(encode(chunk, compress=False))
        self.journal.answer(chunk.id, reply.status)
        return reply

    def send(self, buffer: ReplayBuffer, steps: int) -> list[AppendReply]:
        """Drive a race and send it."""
        made = self.make(steps)
        self.acknowledged += made
        return [self.append(buffer, chunk) for chunk in made]


class BufferSite:
    """Everything of one run's buffer; opened again after each fault.

    Args:
        folder: of all of it; made if need be.
        settings: of the buffer.
        changes: of its set-up.
    """

    def __init__(self, folder: Path, settings: ReplaySettings | None = None, **changes: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.setup = setup_in(folder, settings or settings_of(rows=ROWS, samples_per_insert=None), **changes)
        self.journal = Journal(folder / "journal", self.setup.format)

    def open(self, *, restored: bool = False, disk: Disk | None = None) -> ReplayBuffer:
        """Return the buffer: with its ring if that is there, else from the newest checkpoint if that is wanted."""
        return ReplayBuffer(self.setup, self.load() if restored else None, disk=disk)

    def sender(self, buffer: ReplayBuffer, number: int = 0) -> JournalledSender:
        return JournalledSender(buffer, self.journal, number)

    def save(self, buffer: ReplayBuffer, disk: Disk | None = None) -> Part:
        """Write a checkpoint, as a run does."""
        return save(store_in(self.folder, disk), buffer)

    def load(self) -> Part:
        """Return the experience of the newest checkpoint."""
        return load(self.folder)

    def check(self, buffer: ReplayBuffer, lost: list[Chunk] | None = None, *, counted: bool = False) -> Account:
        """Hold the buffer against the journal."""
        return self.journal.check(buffer.ring, lost=frozenset(chunk.id for chunk in lost or []), counted=counted)
