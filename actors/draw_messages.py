"""What the learner and the replay buffer tell each other."""

from __future__ import annotations

from typing import NamedTuple

from tmrl_ray.experience.sampling import Draw, PriorityUpdate


class DrawRequest(NamedTuple):
    """What the learner asks for, and what it tells with that."""

    batches: int
    batch_size: int
    """Demonstrations included."""
    policy_version: int = 0
    """Of the newest weights that it published."""
    priorities: tuple[PriorityUpdate, ...] = ()
    """Of rows that it learned from since its last request."""
    extra_samples: int = 0
    """So many more samples may be drawn than the limiter allows, because of soft resets since the last request."""
    test_batches: int = 0
    """Batches of races that are kept for testing, besides."""


class Drawn(NamedTuple):
    """Rows for the learner to read."""

    ring_uuid: str
    """Of the ring that they are in. Where it is another one than before, attach to it anew."""
    env_steps: int
    draw: Draw
    demonstrations: Draw | None
    """As many batches; each adds its rows to those of ``draw``."""
    test: Draw | None


class NeedMore(NamedTuple):
    """There are too few rows to draw so many samples now: ask again later."""

    ring_uuid: str
    env_steps: int
    rows: int
    """How many have to come first; 0: the run is paused."""


class BufferStats(NamedTuple):
    """How the buffer is."""

    ring_uuid: str
    env_steps: int
    live_rows: int
    window_rows: int
    """The most that may be live now."""
    capacity_rows: int
    """The most that may ever be live."""
    size_bytes: int
    """Of the rings, full or not."""
    drawable_rows: int
    test_rows: int
    """Of races that are kept for testing."""
    demonstration_rows: int
    experts: int
    """Of whom there are demonstrations, numbered from 0; those of the last may be on their way still."""
    inserted_rows: int
    """For learning, over the whole run."""
    samples: int
    """Drawn over the whole run."""
    samples_per_insert: float
    """As measured; NaN before the first row."""
    target_samples_per_insert: float | None
    balance: float
    """Samples that are owed, between -band and band."""
    band: float
    duplicate_chunks: int
    refused_chunks: int
    """Of unknown incarnations, too old, or of outdated weights."""
    malformed_chunks: int
    stale_priorities: int
    collectors: tuple[int, ...]
    """That were heard of lately."""
    is_paused: bool
