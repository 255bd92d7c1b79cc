"""Small stages, batches and loops for the tests of pretraining."""

from __future__ import annotations

from typing import Any

import torch

from pretrain.batches import ALONE, BatchSource, World
from pretrain.bc.bc_stage import BCStage, Driving
from pretrain.loop import StageLoop
from pretrain.stage import Stage
from pretrain.visual.visual_stage import VisualStage
from tests.pretrain.drawn_races import HEIGHT, INTERVAL_MS, LAYOUT, SCALE, WIDTH, drawn_cache
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import BCConfig, VisualConfig
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.iqn.network import NetworkIO

IO = NetworkIO((WIDTH, HEIGHT), SCALE.mean, SCALE.std, 12)
NETWORK = NetworkSettings(float_hidden=17, head_hidden=23, quantile_embedding=13)
CPU = torch.device("cpu")


def visual(**changes: Any) -> VisualConfig:
    return VisualConfig(**{"epochs": 2, "batch_size": 37, "val_fraction": 0.2, **changes})


def cloning(**changes: Any) -> BCConfig:
    return BCConfig(**{"epochs": 2, "batch_size": 37, "val_fraction": 0.2, **changes})


def stage_of(config: VisualConfig | BCConfig, network: NetworkSettings = NETWORK) -> Stage:
    if isinstance(config, BCConfig):
        return BCStage(config, network, IO, Driving(LAYOUT, INTERVAL_MS), interval_ms=INTERVAL_MS)
    return VisualStage(config, network, IO, interval_ms=INTERVAL_MS)


def cloner_stage(**changes: Any) -> BCStage:
    stage = stage_of(cloning(**changes))
    assert isinstance(stage, BCStage)
    return stage


def loop_of(config: VisualConfig | BCConfig, cache: RaceCache | None = None, *, world: World = ALONE) -> StageLoop:
    stage = stage_of(config)
    data = BatchSource(cache or drawn_cache(), config, stage.wanted, world=world)
    if isinstance(stage, BCStage):
        stage.take_prior(data)
    return StageLoop(stage, data, config, device=CPU, world=ALONE)
