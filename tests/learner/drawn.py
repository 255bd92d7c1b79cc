"""Batches for tests of the learner."""

from __future__ import annotations

from typing import Any

import torch

from learner.update import LearnerUpdate
from tests.iqn.networks import ACTIONS, BATCH, observations, small_network
from tmrl_ray.config.learner import LearnerSettings, OptimiserSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.experience.batches import Batch

CONSTANT = OptimiserSettings(learning_rate=ScheduleSettings.constant(1e-2))
SETTINGS = LearnerSettings(quantiles=4, optimiser=CONSTANT)


def drawn(batch: int = BATCH, seed: int = 0, **changes: Any) -> Batch:
    """Return a batch by chance."""
    generator = torch.Generator().manual_seed(seed)
    frames, floats = observations(batch, seed)
    next_frames, next_floats = observations(batch, seed + 1000)
    columns: dict[str, Any] = {
        "frames": frames,
        "next_frames": next_frames,
        "floats": floats,
        "next_floats": next_floats,
        "actions": torch.randint(0, ACTIONS, (batch,), generator=generator),
        "rewards": torch.randn(batch, generator=generator),
        "discounts": torch.where(torch.rand(batch, generator=generator) < 0.2, 0.0, 0.97),
        "weights": torch.ones(batch),
        "indices": torch.arange(batch) + 100 * seed,
        "generations": torch.full((batch,), 2 * seed),
        "clock": torch.zeros(batch),
        "policy_versions": torch.zeros(batch, dtype=torch.int64),
    }
    return Batch(**columns | changes)


def update_of(
    settings: LearnerSettings = SETTINGS, *, seed: int = 0, device: str = "cpu", **network: Any
) -> LearnerUpdate:
    return LearnerUpdate(small_network(seed=seed, **network), settings, seed=seed, device=device)
