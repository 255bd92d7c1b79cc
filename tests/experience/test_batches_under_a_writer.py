"""Batches built while another process overwrites the ring flat out: what is not whole never gets into a batch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.experience.races import OBSERVATION
from tests.experience.ring_processes import TELLING
from tests.experience.test_ring_processes import start
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.chunk import MAX_CORE_ROWS
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import Draw
from tmrl_ray.experience.transitions import TransitionRules, Valuation
from tmrl_ray.racing.reward import weight_vector

BATCH = 61
SECONDS = 2
ROWS_OF_A_CHUNK = MAX_CORE_ROWS + 1
CHUNKS_OF_THE_WRITER = 50


def draw_near_the_writer(ring: RingReader, rng: np.random.Generator) -> tuple[Draw, dict[int, int]] | None:
    """Draw from the chunk that is overwritten next and from the newest; also return what each row says of itself."""
    live = ring.live_chunks()
    if len(live) < 2:
        return None
    rows, generations, told = [], [], {}
    for record, count in ((live[0], BATCH // 2), (live[-1], BATCH - BATCH // 2)):
        offsets = rng.permutation(record.core)[:count]
        rows.append(record.core_start + offsets)
        generations.append(np.full(count, record.generation))
        first = record.sequence % CHUNKS_OF_THE_WRITER * ROWS_OF_A_CHUNK
        told |= dict(zip(rows[-1].tolist(), (first + offsets).tolist(), strict=True))
    return Draw.of(np.concatenate(rows)[None], np.concatenate(generations)[None]), told


def broken_samples(batch: Batch, told: dict[int, int]) -> int:
    """Return how many samples have a byte that belongs to another row."""
    numbers = np.array([told[row] for row in batch.indices.tolist()])
    whole = np.ones(len(batch), bool)
    assert batch.frames is not None
    assert batch.next_frames is not None
    for frames, floats, expected in (
        (batch.frames.numpy(), batch.floats.numpy(), numbers),
        (batch.next_frames.numpy(), batch.next_floats.numpy(), numbers + 1),
    ):
        whole &= (frames == (expected % 251).astype(np.uint8)[:, None, None, None]).all(axis=(1, 2, 3))
        whole &= (floats[:, 1:] == expected[:, None]).all(axis=1)
    return int((~whole).sum())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("pictures_on", [None, torch.device("cpu")])
def test_no_batch_has_a_torn_sample(pictures_on: torch.device | None, tmp_path: Path) -> None:
    size = RingSize(capacity_rows=3 * MAX_CORE_ROWS, chunk_rows=MAX_CORE_ROWS, guard_rows=0)
    directory = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    owned = Ring.create(directory / f"tmrl_ray-test-{tmp_path.name}", TELLING, size, run="test")
    owned.close()
    try:
        ring, rng = RingReader.attach(owned.directory, TELLING), np.random.default_rng(1)
        recipe = BatchRecipe(BATCH, OBSERVATION, rules=TransitionRules(n_steps=1))
        builder = BatchBuilder(recipe, ring, pictures_on=pictures_on)
        valuation = Valuation(0.99, weight_vector(RewardSettings()))
        batches = broken = 0
        while batches <= 100:  # on a busy machine a writer may have ended before
            writer = start("write", owned.directory, SECONDS)
            while writer.poll() is None:
                drawn = draw_near_the_writer(ring, rng)
                if drawn is None:
                    time.sleep(0.01)
                    continue
                for batch in builder.batches(drawn[0], valuation):
                    batches += 1
                    broken += broken_samples(batch if pictures_on is None else batch.to(pictures_on), drawn[1])
            report, _ = writer.communicate(timeout=60)
            assert json.loads(report)["appends"] > 100
    finally:
        owned.remove()
    assert broken == 0
    assert builder.torn_rows > 0
