"""A state for checkpoints that tells which one it is, and disks that fail or kill.

``python -m tests.runs.saved_state DIRECTORY SAVES STEP`` saves so many checkpoints, and dies at a step of the last one.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointStore, Identity, Retention
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk

IDENTITY = Identity("0123abcd", {"network": "f" * 64, "layout": "a" * 64})


def parts_of(number: int) -> dict[str, Part]:
    """Return a state of which every number tells ``number``."""
    learner = Part(
        {"steps": number, "plateau": {"best_s": None, "raises": [number, 2.5]}},
        {
            "online.weight": np.full((5, 7, 3), number, dtype=np.float32),
            "generator": np.arange(number, number + 11, dtype=np.uint8),
            "average": np.array(number, dtype=np.float64),
            "nothing": np.zeros((0, 13), dtype=np.int64),
        },
    )
    return {"learner": learner, "limiter": Part({"inserted": 1009 * number})}


def clocks_of(number: int) -> Clocks:
    return Clocks(1009 * number, 13 * number, 0.25 * number)


def assert_is(checkpoint: Checkpoint, number: int) -> None:
    """See that a checkpoint is the one of ``parts_of(number)``, bit for bit."""
    assert checkpoint.head.clocks == clocks_of(number)
    expected = parts_of(number)
    assert checkpoint.parts.keys() == expected.keys()
    for name, part in expected.items():
        assert checkpoint.parts[name].values == part.values
        assert checkpoint.parts[name].arrays.keys() == part.arrays.keys()
        for array, wanted in part.arrays.items():
            found = np.asarray(checkpoint.parts[name].arrays[array])
            assert (found.dtype, found.shape) == (np.asarray(wanted).dtype, np.asarray(wanted).shape)
            assert found.tobytes() == np.asarray(wanted).tobytes()


class CountingDisk(Disk):
    """Calls ``interrupt`` before each step, with the number of the step, from 0."""

    def __init__(self, interrupt: Callable[[int], None] = lambda step: None) -> None:
        self.steps = 0
        self._interrupt = interrupt

    def _step(self) -> None:
        self.steps += 1
        self._interrupt(self.steps - 1)

    def make_directory(self, path: Path) -> None:
        self._step()
        super().make_directory(path)

    def write(self, path: Path, data: bytes) -> None:
        self._step()
        super().write(path, data[: len(data) // 2])  # what a process leaves that dies in the middle
        self._step()
        super().write(path, data)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._step()
        super().sync_directory(path)

    def remove_tree(self, path: Path) -> None:
        self._step()
        super().remove_tree(path)


def full_at(step: int) -> Callable[[int], None]:
    """Return an interruption of a disk that is full at one step, and has room again afterwards."""

    def interrupt(now: int) -> None:
        if now == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return interrupt


def main() -> None:
    directory, saves, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    first = CheckpointStore(directory, IDENTITY, retention=Retention(last=2))
    for number in range(1, saves):
        first.save(parts_of(number), clocks_of(number))

    def interrupt(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    last = CheckpointStore(directory, IDENTITY, retention=Retention(last=2), disk=CountingDisk(interrupt))
    last.save(parts_of(saves), clocks_of(saves))


if __name__ == "__main__":
    main()
