"""What storing experience costs: ``python -m tests.bench.experience_store``.

Aims: 50,000 transitions/s taken in raw in chunks of 256, at 120x160 and 184 floats; a gather at the speed of numpy.
One thread; the best of several rounds. Pictures have noise of a few grey levels, so that LZ4 gains little on them,
as on real ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.codec import decode, encode
from tmrl_ray.experience.columns import UNKNOWN_STEPS, Layout
from tmrl_ray.experience.memory import SHARED_MEMORY, RingSize, bytes_needed
from tmrl_ray.experience.ring import TRAIN, Ring

CHUNKS = 16
CAPACITY_ROWS = 10_000
ROUNDS = 7


def best_s(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the least time that ``run`` took, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def made_up_chunk(format: ChunkFormat, incarnation: int, sequence: int, core: int) -> Chunk:
    """Return consecutive rows with pictures that move, are smooth, and have some noise."""
    rng = np.random.default_rng(sequence)
    rows = core + format.look_ahead
    columns = format.layout.empty(rows)
    for array in columns.values():
        array[:] = 0
    height, width = format.layout["frame"].shape
    y, x = np.mgrid[:height, :width]
    smooth = 120 + 60 * np.sin(x / 9 + np.arange(rows)[:, None, None] / 5) * np.cos(y / 7)
    columns["frame"][:] = smooth + rng.integers(-2, 3, smooth.shape)
    columns["floats"][:] = rng.standard_normal(columns["floats"].shape, dtype=np.float32)
    columns["step_in_race"][:] = np.arange(rows)
    columns["steps_to_end"][:] = UNKNOWN_STEPS
    return Chunk(format, ChunkId(0, incarnation, sequence), columns, 0, core, format.look_ahead)


class Stage:
    """A ring, and chunks that are sent to it with a new sequence number each time."""

    def __init__(self, base: Path, frame_shape: tuple[int, int], core: int = MAX_CORE_ROWS) -> None:
        self.format = ChunkFormat(Layout.of(frame_shape), 0, 3)
        self.ring = Ring.create(
            base / f"ring-{frame_shape[0]}-{core}", self.format, RingSize(CAPACITY_ROWS), run="bench"
        )
        self.incarnation = self.ring.grant(0)
        self.chunks = [made_up_chunk(self.format, self.incarnation, number, core) for number in range(CHUNKS)]
        self._sequence = 0

    def fresh(self, chunk: Chunk) -> Chunk:
        """Return the chunk as if it were the next one, with nothing computed about it yet."""
        self._sequence += 1
        identity = ChunkId(0, self.incarnation, self._sequence)
        return Chunk(self.format, identity, chunk.columns, chunk.leading, chunk.core, chunk.trailing)

    def encoded(self, compress: bool) -> list[np.ndarray]:
        """Return all chunks as bytes, each with a new number."""
        return [encode(self.fresh(chunk), compress=compress) for chunk in self.chunks]

    def take_in(self, arriving: list[np.ndarray]) -> None:
        """Do what the owner of the ring does."""
        for data in arriving:
            result = self.ring.append(decode(data, self.format))
            assert result.core is not None


def ingest(stage: Stage, compress: bool) -> tuple[float, float, float]:
    """Return transitions/s encoded, taken in, and the share of its size that a chunk has on the wire."""
    transitions = sum(chunk.core for chunk in stage.chunks)
    raw = sum(array.nbytes for chunk in stage.chunks for array in chunk.columns.values())
    encode_s = best_s(lambda: stage.encoded(compress))
    take_in_s = []
    for _ in range(ROUNDS):
        arriving = stage.encoded(compress)
        take_in_s.append(best_s(lambda arriving=arriving: stage.take_in(arriving), rounds=1))
    return transitions / encode_s, transitions / min(take_in_s), sum(map(len, arriving)) / raw


def gather(stage: Stage, batch: int) -> tuple[float, float, float]:
    """Return rows/s of a drawn and checked gather and of a bare np.take of the same rows, and the µs of a draw."""
    ring, rng = stage.ring, np.random.default_rng(7)
    index = ring.drawable[TRAIN]
    names = ("frame", "floats", "action", "terms", "steps_to_end")
    layout = stage.format.layout
    out = {name: np.empty((batch, *layout[name].shape), layout[name].dtype) for name in names}
    own = {name: ring.column(name).copy() for name in names}
    numbers = [np.sort(rng.integers(index.total, size=batch)) for _ in range(20)]

    def ours() -> None:
        for each in numbers:
            rows, generations = index.locate(each)
            for name, array in out.items():
                ring.take(name, rows, array)
            assert ring.intact(rows, generations).all()

    located = [index.locate(each)[0] for each in numbers]

    def bare() -> None:
        for rows in located:
            for name in names:
                np.take(own[name], rows, axis=0, out=out[name], mode="clip")

    rounds = [(best_s(ours, 1), best_s(bare, 1)) for _ in range(2 * ROUNDS)]
    ours_s, bare_s = (min(each) for each in zip(*rounds, strict=True))
    draw_s = best_s(lambda: [index.locate(each) for each in numbers])
    return batch * 20 / ours_s, batch * 20 / bare_s, draw_s / 20 * 1e6


def main() -> None:
    """Print the tables."""
    shared = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        base = Path(folder)
        print(f"{'thousand transitions/s':<28}{'encode':>9}{'take in':>9}{'wire size':>11}")
        for shape in ((64, 64), (120, 160)):
            stage = Stage(base, shape)
            for compress in (False, True):
                encoded, taken, size = ingest(stage, compress)
                name = f"{shape[0]}x{shape[1]}, 256 rows, {'lz4' if compress else 'raw'}"
                print(f"{name:<28}{encoded / 1e3:>9.0f}{taken / 1e3:>9.0f}{size:>11.2f}")
            for batch in (512, 4096):
                ours, bare, draw_us = gather(stage, batch)
                print(
                    f"{shape[0]}x{shape[1]}, gather {batch:<5}     ours {ours / 1e3:.0f}, bare np.take "
                    f"{bare / 1e3:.0f}, x{ours / bare:.2f}; draw {draw_us:.0f} us"
                )
            stage.ring.remove()
        small = Stage(base, (64, 64), core=1)
        _, taken, _ = ingest(small, compress=False)
        print(f"{'chunks of one row':<28}{taken / 1e3:>18.1f}")
        small.ring.remove()
    size = RingSize(200_000)
    print(bytes_needed(ChunkFormat(Layout.of((120, 160)), 0, 3), size).table())


if __name__ == "__main__":
    main()
