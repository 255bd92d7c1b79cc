"""What a run is made of: where its decisions are worked out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ConfigError
from tmrl_ray.training import Training, device_of

CONFIG = RunConfig(
    game=GameSettings(frame_size=None),
    network=NetworkSettings(float_hidden=7, head_hidden=11, quantile_embedding=5),
)


def acts_on(device: torch.device) -> torch.device:
    """Where the network of a collector lies that was given this device, having decided once."""
    training = Training.of(CONFIG)
    policy = training.driving(device).make_policy(3)
    decision = policy.act(None, np.zeros(training.observation.size, dtype=np.float32))
    assert np.isfinite(decision.q_values).all()
    return next(policy._network.parameters()).device


def test_collectors_decide_on_the_device_that_is_set() -> None:
    assert acts_on(device_of(CollectorSettings().device)).type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_collectors_decide_on_a_gpu() -> None:
    assert acts_on(device_of("cuda", setting="collector.device")).type == "cuda"


def test_a_device_that_is_not_there_is_named_with_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"collector\.device: .* cannot be used here"):
        device_of("cuda:99", setting="collector.device")


def test_a_share_of_a_gpu_that_nobody_would_use_is_refused() -> None:
    with pytest.raises(ValueError, match="set device: cuda, or gpus: 0"):
        CollectorSettings(gpus=0.5)
    assert CollectorSettings(gpus=0.5, device="cuda").gpus == 0.5
