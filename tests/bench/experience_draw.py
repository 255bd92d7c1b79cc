"""Batches a second from a ring: ``python -m tests.bench.experience_draw [ROWS] [ROUNDS]``.

A draw is 4 batches, prioritised, n = 3, mini-races, 184 floats, and the priorities of all its rows are sent back. It is
measured as the learner sees it: index draw, gathering, transitions, priorities. The limit that it is held against is
a plain ``numpy.take`` of the same pictures and floats, before and after the decision, from arrays in memory into
buffers that are used again. Rounds are interleaved; the best round tells most where others use the machine too. Aim:
0.8 of the limit.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tmrl_ray.config.race import RewardSettings
from tmrl_ray.config.replay import AugmentationSettings, MiniRaceSettings, PrioritySettings, ShapingSettings
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.columns import UNKNOWN_STEPS, Layout
from tmrl_ray.experience.memory import SHARED_MEMORY, RingSize
from tmrl_ray.experience.minirace import MiniRace
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.sampling import PriorityUpdate, Sampler
from tmrl_ray.experience.transitions import TransitionRules, Valuation
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import TERM_COUNT, weight_vector

BATCHES = 4
DRAWS = 6
OBSERVATION = ObservationLayout()
MINI_RACE = MiniRace.of(MiniRaceSettings(), mini_race_ms=7000, decision_period_ms=50)
VALUATION = Valuation(0.999, weight_vector(RewardSettings()))
RULES = TransitionRules(3, True, MINI_RACE)


def chunk_of(format: ChunkFormat, incarnation: int, sequence: int, rng: np.random.Generator) -> Chunk:
    """Return a chunk from the midst of a race."""
    rows = MAX_CORE_ROWS + format.look_ahead
    columns = format.layout.empty(rows)
    for array in columns.values():
        array[:] = 0
    columns["frame"][:] = rng.integers(0, 256, format.layout["frame"].shape, dtype=np.uint8)
    columns["floats"][:] = rng.random((rows, OBSERVATION.size), dtype=np.float32)
    columns["terms"][:] = rng.random((rows, TERM_COUNT), dtype=np.float32)
    columns["greedy"][:] = rng.random(rows) < 0.9
    columns["race_id"][:] = sequence
    columns["step_in_race"][:] = np.arange(rows)
    columns["steps_to_end"][:] = UNKNOWN_STEPS
    return Chunk(format, ChunkId(0, incarnation, sequence), columns, 0, MAX_CORE_ROWS, format.look_ahead)


class Contest:
    """A ring with rows of one size, and arrays of the same size for the plain gather."""

    def __init__(self, directory: Path, frame: tuple[int, int], rows: int, batch_size: int) -> None:
        self.batch_size = batch_size
        self.rng = np.random.default_rng(1)
        format = ChunkFormat(Layout.of(frame, OBSERVATION), 0, 3)
        self.ring = Ring.create(directory, format, RingSize(rows, chunk_rows=MAX_CORE_ROWS), run="bench")
        self.samplers = {
            "uniform": Sampler(self.ring),
            "prioritised": Sampler(self.ring, priorities=PrioritySettings()),
        }
        incarnation = self.ring.grant(0)
        for number in range(rows // MAX_CORE_ROWS):
            self.samplers["prioritised"].append(chunk_of(format, incarnation, number, self.rng))
        recipe = BatchRecipe(batch_size, OBSERVATION, rules=RULES, shaping=ShapingSettings())
        augmented = BatchRecipe(
            batch_size,
            OBSERVATION,
            rules=RULES,
            shaping=ShapingSettings(),
            augmentation=AugmentationSettings(shift_pixels=2, mirror_share=0.5),
        )
        self.builders = {"plain": BatchBuilder(recipe, self.ring), "augmented": BatchBuilder(augmented, self.ring)}
        self.frames, self.floats = (np.array(self.ring.column(name)) for name in ("frame", "floats"))
        self.out = [
            [np.zeros((batch_size, *each.shape[1:]), each.dtype) for each in (self.frames, self.floats) * 2]
            for _ in range(3)
        ]

    def gather(self) -> None:
        """The limit."""
        rows = self.rng.integers(0, self.ring.counters.inserted_rows - 8, (BATCHES, self.batch_size))
        for number in range(BATCHES):
            frames, floats, next_frames, next_floats = self.out[number % 3]
            for out, source, at in (
                (frames, self.frames, rows[number]),
                (next_frames, self.frames, rows[number] + 3),
                (floats, self.floats, rows[number]),
                (next_floats, self.floats, rows[number] + 3),
            ):
                np.take(source, at, axis=0, out=out, mode="clip")

    def draw(self, sampler: str, builder: str) -> None:
        """What a learner does."""
        draw = self.samplers[sampler].draw(BATCHES, self.batch_size)
        assert draw is not None
        for _ in self.builders[builder].batches(draw, VALUATION):
            pass
        if sampler == "prioritised":
            rows, errors = draw.rows.ravel(), self.rng.random(draw.rows.size, dtype=np.float32)
            self.samplers[sampler].update(PriorityUpdate(rows, draw.generations.ravel(), errors))

    def only_draw(self) -> None:
        """Indices and priorities alone."""
        draw = self.samplers["prioritised"].draw(BATCHES, self.batch_size)
        assert draw is not None
        errors = self.rng.random(draw.rows.size, dtype=np.float32)
        self.samplers["prioritised"].update(PriorityUpdate(draw.rows.ravel(), draw.generations.ravel(), errors))


def timed(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of a batch for each run, in the median and in the best of interleaved rounds."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(DRAWS):
                run()
            if number:  # the first round warms up
                taken[name].append((time.perf_counter() - began) / (DRAWS * BATCHES))
    return {name: (statistics.median(each), min(each)) for name, each in taken.items()}


def main(rows: str = "50000", rounds: str = "11") -> None:
    """Print the table."""
    print(f"{int(rows):,} rows, {BATCHES} batches a draw, {rounds} interleaved rounds")
    for frame, batch_size in (((64, 64), 512), ((120, 160), 512), ((64, 64), 4096)):
        base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(dir=base) as directory:
            contest = Contest(Path(directory) / "ring", frame, int(rows), batch_size)
            seconds = timed(
                {
                    "numpy gather, the limit": contest.gather,
                    "uniform": lambda: contest.draw("uniform", "plain"),  # noqa: B023
                    "prioritised": lambda: contest.draw("prioritised", "plain"),  # noqa: B023
                    "of that, indices": contest.only_draw,
                    "prioritised, augmented": lambda: contest.draw("prioritised", "augmented"),  # noqa: B023
                },
                int(rounds),
            )
            contest.ring.close()
        median_limit, best_limit = seconds["numpy gather, the limit"]
        print(f"\n{frame[0]}x{frame[1]}, batch {batch_size}: us a batch and share of the limit's rate, median and best")
        for name, (median, best) in seconds.items():
            figures = f"{1e6 * median:9,.0f} {median_limit / median:6.2f} {1e6 * best:9,.0f} {best_limit / best:6.2f}"
            print(f"  {name:<26} {figures} {batch_size / best:12,.0f} transitions/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
