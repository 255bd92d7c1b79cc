"""What a replay buffer tells of itself, as metrics."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np

from actors.draw_messages import BufferStats
from tmrl_ray.experience.sampling import Sampler
from tmrl_ray.runs.meter import Meter, Telling

MOST_PRIORITIES = 20_000
"""Priorities of which quantiles are told: half a millisecond's worth, and exact to a percent."""
QUANTILES = {"min": 0.0, "d1": 0.1, "q1": 0.25, "median": 0.5, "q3": 0.75, "d9": 0.9, "d98": 0.98, "max": 1.0}


class BufferMeter:
    """The metrics of one replay buffer; any thread may give some."""

    def __init__(self) -> None:
        self._meter = Meter("replay")

    def ingesting(self) -> AbstractContextManager[None]:
        """Time how a chunk is taken in."""
        return self._meter.time("experience/ingest_ms")

    def drew(self, rows: int, seconds: float) -> None:
        """Count rows that were drawn to learn from, and take note of how long that took."""
        self._meter.add("experience/rows_sampled", rows)
        self._meter.observe("experience/draw_ms", 1000 * seconds)

    def refused(self, rows: int) -> None:
        """Count rows of a chunk that was refused."""
        self._meter.add("experience/rows_dropped/refused", rows)

    def tell(self, stats: BufferStats, sampler: Sampler) -> Telling:
        """Return all of it since the last call."""
        meter = self._meter
        self.refused(0)
        meter.add("experience/rows_sampled", 0)
        meter.count_to("experience/duplicate_chunks", stats.duplicate_chunks)
        meter.count_to("experience/malformed_chunks", stats.malformed_chunks)
        meter.count_to("experience/stale_priorities", stats.stale_priorities)
        meter.set("experience/rows", stats.drawable_rows)
        meter.set("experience/window_rows", stats.window_rows)
        meter.set("experience/occupancy", stats.live_rows / stats.window_rows)
        meter.set("experience/bytes", stats.size_bytes)
        meter.set("experience/test_share", sampler.test_share)
        meter.set("experience/demonstration_rows", stats.demonstration_rows)
        meter.set("limiter/balance", stats.balance)
        meter.set("limiter/band", stats.band)
        if stats.inserted_rows:
            meter.set("experience/samples_per_insert/actual", stats.samples_per_insert)
        if stats.target_samples_per_insert is not None:
            meter.set("experience/samples_per_insert/target", stats.target_samples_per_insert)
        priorities = sampler.some_priorities(MOST_PRIORITIES)
        if priorities is not None and len(priorities):
            meter.set("experience/priority_mean", float(priorities.mean()))
            values = np.quantile(priorities, list(QUANTILES.values()))
            for name, value in zip(QUANTILES, values, strict=True):
                meter.set(f"experience/priority_{name}", float(value))
        return meter.tell()
