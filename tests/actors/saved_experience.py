"""Experience in checkpoints of a run, for the tests of what they keep and of what harms them."""

from __future__ import annotations

from pathlib import Path

from actors.replay_buffer import ReplayBuffer
from tests.experience.races import LAYOUT
from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointStore, Identity
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk

IDENTITY = Identity("run-7", {"layout": LAYOUT.hash})


def store_in(folder: Path, disk: Disk | None = None) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", IDENTITY, disk=disk)


def save(store: CheckpointStore, buffer: ReplayBuffer) -> Part:
    part = buffer.checkpoint()
    store.save({"replay": part}, Clocks(buffer.stats().env_steps, 0, 0.0))
    return part


def load(folder: Path) -> Part:
    checkpoint: Checkpoint = store_in(folder).load()
    return checkpoint.parts["replay"]


def lose_ring(buffer: ReplayBuffer) -> None:
    """Lose the machine's memory."""
    buffer.remove()


def segments_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted((folder / "replay").glob("segment-*"))}
