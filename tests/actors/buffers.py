"""Replay buffers that are filled with made-up races, and what may be asked of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from actors.buffer_rings import BufferSetup
from actors.messages import AppendReply
from actors.replay_buffer import ReplayBuffer
from tests.experience.races import FORMAT, MadeUpRaces
from tmrl_ray.config.replay import ReplaySettings, WindowSettings
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import encode


def settings_of(rows: int = 1024, learn_start_rows: int = 101, **settings: Any) -> ReplaySettings:
    window = WindowSettings(rows=rows, learn_start_rows=learn_start_rows)
    return ReplaySettings(windows=(window,), samples_per_insert=8.0, test_every=None).replace(**settings)


def setup_in(folder: Path, settings: ReplaySettings | None = None, **changes: Any) -> BufferSetup:
    fields: dict[str, Any] = {
        "run": "run-7",
        "settings": settings or settings_of(),
        "format": FORMAT,
        "ring_base": folder / "shm",
        "directory": folder / "replay",
        "max_draw": 512,
        "guard_rows": 31,
    }
    (folder / "shm").mkdir(exist_ok=True)
    return BufferSetup(**{**fields, **changes})


class Sender:
    """A collector that sends made-up races, and remembers what was acknowledged."""

    def __init__(self, buffer: ReplayBuffer, number: int = 0, seed: int = 0) -> None:
        self.grant = buffer.hand_out_incarnation(number, FORMAT.layout.hash)
        self.races = MadeUpRaces(seed)
        self.builder = ChunkBuilder(FORMAT, number, self.grant.incarnation)
        self.acknowledged: list[Chunk] = []

    def make(self, steps: int) -> list[Chunk]:
        return self.races.race(self.builder, steps)

    def send(self, buffer: ReplayBuffer, steps: int) -> list[AppendReply]:
        replies = []
        for chunk in self.make(steps):
            replies.append(buffer.append(encode(chunk, compress=False)))
            self.acknowledged.append(chunk)
        return replies


def contents(buffer: ReplayBuffer) -> list[tuple[tuple[int, int, int], int]]:
    """Return (identity, checksum of the rows as they are in the ring) of all live chunks, oldest first."""
    found = []
    for record in buffer.ring.live_chunks():
        chunk = buffer.ring.read_chunk(record)
        assert chunk is not None
        found.append((tuple(chunk.id), chunk.checksum))
    return found


def sent(chunks: list[Chunk]) -> list[tuple[tuple[int, int, int], int]]:
    return [(tuple(chunk.id), chunk.checksum) for chunk in chunks]


def metres_of(buffer: ReplayBuffer, rows: np.ndarray) -> set[float]:
    """Return what tells the steps apart that rows of the ring hold."""
    return set(buffer.ring.column("metres")[rows.ravel()].tolist())


def crash(buffer: ReplayBuffer) -> None:
    """Let go of a buffer like a process that was killed: what is not in shared memory or on the disk is lost."""
    buffer.close()
