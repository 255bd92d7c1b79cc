"""Small networks of odd sizes, so that no two dimensions can be mistaken for each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.iqn.network import IQN, NetworkIO, build_network

BATCH, QUANTILES, ACTIONS, FLOATS, WIDTH, HEIGHT = 7, 4, 3, 5, 41, 37
SMALL = NetworkSettings(frame_stack=2, float_hidden=11, head_hidden=13, quantile_embedding=17)
OPTIONS: dict[str, dict[str, Any]] = {
    "layer_norm": {"layer_norm": True},
    "impala": {"encoder": "impala"},
    "spectral_norm": {"spectral_norm": True},
    "noisy": {"noisy": True},
    "dropout": {"dropout": 0.5},
}
"""Every option beyond the reference topology."""


def small_io(*, pictures: bool = True) -> NetworkIO:
    return NetworkIO(
        frame_size=(WIDTH, HEIGHT) if pictures else None,
        mean=np.linspace(-1, 1, FLOATS, dtype=np.float32),
        std=np.linspace(1, 2, FLOATS, dtype=np.float32),
        actions=ACTIONS,
    )


def small_network(*, pictures: bool = True, seed: int = 0, **options: Any) -> IQN:
    return build_network(SMALL.replace(**options), small_io(pictures=pictures), seed=seed)


def observations(batch: int = BATCH, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, 2, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    return frames, torch.randn(batch, FLOATS, generator=generator)
