"""What every replay buffer of ``tests.bench.data_path`` holds, gives out and takes in; and how that is timed.

Needs numpy only: the peers run in virtual environments of their own, where this project is not installed. They are
started by ``data_path`` and asked over their standard input, one line for each question, see :func:`serve`.

A *turn* is what a learner does for one chunk that comes in at 32 samples per insert: 16 batches of 512 with their
priorities told, and 256 new transitions where these are asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

FRAME = (120, 160)
FLOATS = 184
BATCH = 512
N_STEPS = 3
CHUNK = 256
SAMPLES_PER_INSERT = 32
BATCHES_PER_TURN = CHUNK * SAMPLES_PER_INSERT // BATCH
ALPHA, BETA, GAMMA = 0.6, 1.0, 0.999
DRAW, MIXED, INGEST = "draw", "mixed", "ingest"
"""What is timed: batches alone; batches and one chunk a turn; chunks alone."""


class Steps(NamedTuple):
    """Consecutive decisions."""

    frames: NDArray[np.uint8]
    """(T, H, W) smooth, moving, with some noise: LZ4 and Snappy gain little on them, as on real ones."""
    floats: NDArray[np.float32]
    """(T, F)."""
    actions: NDArray[np.int64]
    """(T,)."""
    rewards: NDArray[np.float32]
    """(T,)."""


class Transitions(TypedDict):
    """Transitions of n steps, as a learner needs them."""

    frames: NDArray[np.uint8]
    next_frames: NDArray[np.uint8]
    floats: NDArray[np.float32]
    next_floats: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]


def made_up_steps(seed: int, count: int = CHUNK + N_STEPS) -> Steps:
    """Return ``count`` steps of a race."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: FRAME[0], : FRAME[1]]
    smooth = 120 + 60 * np.sin(x / 9 + np.arange(count)[:, None, None] / 5) * np.cos(y / 7)
    return Steps(
        (smooth + rng.integers(-2, 3, smooth.shape)).astype(np.uint8),
        rng.standard_normal((count, FLOATS), dtype=np.float32),
        rng.integers(0, 12, count),
        rng.random(count, dtype=np.float32),
    )


def transitions_of(steps: Steps) -> Transitions:
    """Return all transitions of n steps within ``steps``, for buffers that do not make them when they are drawn."""
    count = len(steps.frames) - N_STEPS
    rewards = sum(GAMMA**k * steps.rewards[k : k + count] for k in range(N_STEPS))
    return Transitions(
        frames=steps.frames[:count],
        next_frames=steps.frames[N_STEPS:],
        floats=steps.floats[:count],
        next_floats=steps.floats[N_STEPS:],
        actions=steps.actions[:count],
        rewards=np.asarray(rewards, np.float32),
        discounts=np.full(count, GAMMA**N_STEPS, np.float32),
    )


class Buffer:
    """A replay buffer that is measured: it gives out a turn's batches, and takes in a chunk."""

    def draw_turn(self) -> None:
        """Have 16 batches one after the other, and tell new priorities of all their rows."""
        raise NotImplementedError

    def insert(self) -> None:
        """Take in 256 transitions."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait until all that was inserted is there."""

    def close(self) -> None:
        """Let go of what was started."""


def rate_of(buffer: Buffer, what: str, seconds: float) -> float:
    """Return batches/s, or transitions/s that come in; what was prefetched before does not count.

    Args:
        buffer: what is measured.
        what: DRAW, MIXED or INGEST.
        seconds: for so long at least.
    """

    def turn() -> None:
        if what != INGEST:
            buffer.draw_turn()
        if what != DRAW:
            buffer.insert()

    turn()
    buffer.settle()
    began, turns = time.perf_counter(), 0
    while not turns or time.perf_counter() - began < seconds:
        turn()
        turns += 1
    buffer.settle()
    return turns * (CHUNK if what == INGEST else BATCHES_PER_TURN) / (time.perf_counter() - began)


def serve(buffers: Mapping[str, Callable[[], Buffer]]) -> None:
    """Make the buffers, tell their names, and answer each line ``NAME|WHAT|SECONDS`` by a rate until there are none."""
    made = {name: make() for name, make in buffers.items()}
    answer(list(made))
    for line in sys.stdin:
        name, what, seconds = line.strip().split("|")
        answer(rate_of(made[name], what, float(seconds)))
    for buffer in made.values():
        buffer.close()


def answer(value: object) -> None:
    """Tell whoever asks a value, on a line by itself among whatever else a library prints."""
    print(f"ANSWER {json.dumps(value)}", flush=True)
