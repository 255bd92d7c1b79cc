"""The learner's loop with batches in memory that is filled again and again, on the CPU and, pinned, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
import torch
from torch import Tensor

from learner.learner import Learner, Ports, Turn
from learner.report import StepReport
from tests.iqn.networks import BATCH, FLOATS, HEIGHT, WIDTH
from tests.learner.drawn import drawn, update_of
from tests.learner.test_learner import LEARNER, FakeBuilder, FakePeers
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.experience.batches import Batch, BatchBuffer
from tmrl_ray.experience.sampling import Draw
from tmrl_ray.experience.transitions import Valuation

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
WARM_UP, UPDATES = 4, 20
LATE_CYCLES = 5_000_000
"""A few milliseconds, by which the device is behind the host at each step: what is overwritten too soon is seen."""


class RefillingBuilder(FakeBuilder):
    """Builds batches by chance in as many pieces of memory as the real builder has, in turn."""

    def __init__(self, *, pinned: bool) -> None:
        super().__init__()
        stack = 2, HEIGHT, WIDTH
        self._memory = [BatchBuffer(BATCH, stack, FLOATS, experts=False, pinned=pinned) for _ in range(self.buffers)]

    def batches(
        self, draw: Draw, valuation: Valuation, *, demonstrations: Draw | None = None, augment: bool = True
    ) -> Iterator[Batch]:
        for batch in super().batches(draw, valuation, demonstrations=demonstrations, augment=augment):
            memory = self._memory[self.built % self.buffers].batch
            batch.copy_into(memory)
            yield memory


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Make every wait of the host for the device an error."""
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("draw_ahead", [True, False])
def test_each_update_learns_from_the_batch_that_was_built(device: str, draw_ahead: bool) -> None:
    """And neither copies nor steps wait for the device; kernels are loaded and memory is taken before, with waits."""
    settings, peers = LEARNER.replace(publish_every=1000, draw_ahead=draw_ahead), FakePeers()
    builder = RefillingBuilder(pinned=device == "cuda")
    learner = Learner(update_of(settings, device=device), builder, Ports(peers, peers), RewardSettings())
    step, seen = learner.update.step, list[dict[str, Tensor]]()

    def watched(batch: Batch, *, env_steps: int) -> StepReport:
        if device == "cuda":
            torch.cuda._sleep(LATE_CYCLES)
        seen.append({name: tensor.clone() for name, tensor in batch.tensors().items()})
        return step(batch, env_steps=env_steps)

    learner.update.step = watched
    turns = list(islice(learner.run(), WARM_UP))
    with no_waiting(device):
        turns += islice(learner.run(), UPDATES)
    assert turns == [Turn.LEARNED] * (WARM_UP + UPDATES)
    for seed, tensors in enumerate(seen, start=1):
        assert {each.device.type for each in tensors.values()} == {device}
        expected = drawn(seed=seed).tensors()
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensor.cpu(), expected[name]) for name, tensor in tensors.items())
    stages = {"learner/gather_ms", "learner/copy_ms", "learner/step_ms"} & learner.tell().values.keys()
    assert ("learner/copy_ms" in stages, len(stages)) == (device == "cuda", 3 if device == "cuda" else 2)
