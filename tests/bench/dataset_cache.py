"""How fast a cache of recorded races is built, opened and drawn from: ``python -m tests.bench.dataset_cache``.

Races of the human-like driver are recorded first, 64x64 at 20 pictures a second, each with the states of the car; they
are copied under other names, since decoding does not care. Building reads every file twice, once for its digest: what
is given is frames of the finished cache per second of the whole, by the best of several rounds, and, where one process
does it all, per second of processor time, which the other processes of a busy machine disturb least. The disk's cache
is warm.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from tmrl_ray.config.dataset import CacheSettings, RecordSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.datasets.cache_build import prepare_cache
from tmrl_ray.recording import RecordPlan, entries_of, record_serially

TRACK = "generated-train-00"
RECORDED = 4
BATCH, STACK = 512, 4


def record(root: Path, copies: int) -> None:
    """Record races, and copy each so often."""
    plan = RecordPlan(load_config(), RecordSettings(races=RECORDED), root, entries_of(TRACK))
    for race in record_serially(plan, plan.jobs()):
        folder = root / race.map / race.name
        for copy in range(1, copies):
            shutil.copytree(folder, folder.with_name(f"{race.name}-{copy}"))


def seconds_to_build(root: Path, settings: CacheSettings, workers: int, rounds: int) -> tuple[float, float, RaceCache]:
    """Return the seconds and processor seconds of the fastest of several builds, and the cache."""
    wall_s, cpu_s = [], []
    for _ in range(rounds):
        shutil.rmtree(root.parent / "cache", ignore_errors=True)
        start, start_cpu = time.perf_counter(), time.process_time()
        cache = prepare_cache(root, root.parent / "cache", settings, workers=workers)
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(time.process_time() - start_cpu)
    return min(wall_s), min(cpu_s), cache


def seconds_to_draw(cache: RaceCache, rounds: int) -> float:
    """Return the seconds of the fastest of several draws of a batch: stacks, floats and labels at three offsets."""
    ends, rng = cache.window_ends(stack=STACK, with_floats=True), np.random.default_rng(0)
    best = float("inf")
    for _ in range(10 * rounds):
        rows = rng.choice(ends, BATCH)
        start = time.perf_counter()
        cache.stacks(rows, STACK), cache.floats[rows], cache.labels(rows, (0, 10, 50))
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=12, help="of each recorded race")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "races"
        record(root, options.copies)
        files = sum(1 for _ in root.rglob("*.png"))
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        print(f"{RECORDED * options.copies} races, {files} frames, {size / 2**20:.0f} MiB")
        print(f"{'workers':>7} {'floats':>6} {'frames/s':>9} {'per CPU s':>9}")
        for workers in options.workers:
            for floats in (True, False):
                settings = CacheSettings(floats=floats)
                wall_s, cpu_s, cache = seconds_to_build(root, settings, workers, options.rounds)
                per_cpu_s = "-" if workers > 1 else f"{len(cache) / cpu_s:.0f}"
                print(f"{workers:>7} {'yes' if floats else 'no':>6} {len(cache) / wall_s:9.0f} {per_cpu_s:>9}")
        *_, cache = seconds_to_build(root, CacheSettings(), options.workers[0], 1)
        start = time.perf_counter()
        prepare_cache(root, root.parent / "cache", CacheSettings())
        print(f"opened again, checked, in {time.perf_counter() - start:.2f} s")
        drawn_s = seconds_to_draw(cache, options.rounds)
        print(f"batch of {BATCH} stacks of {STACK}, floats, 3 labels: {1e3 * drawn_s:.2f} ms, {BATCH / drawn_s:.0f}/s")


if __name__ == "__main__":
    main()
