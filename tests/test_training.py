"""What a run is made of: where its decisions are worked out, what its races are measured by, its threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import MapEntry
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.training import TrainingSettings
from tmrl_ray.errors import ConfigError
from tmrl_ray.racing.drivers import pursuit_times_s
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


def test_races_are_measured_by_what_the_configuration_says_and_by_what_is_known_of_the_track() -> None:
    maps = (
        MapEntry(name="A01", map="loop", references_s={"author": 24.54, "gold": 25.87}),
        MapEntry(name="A01", map="loop", exploration=False, references_s={"bronze": 38.03}),
        MapEntry(name="own", map="ice", references_s={"pursuit": 99.0}),
    )
    times_s = pursuit_times_s()
    assert Training.of(CONFIG.replace(maps=maps)).references_s == {
        "A01": {"pursuit": times_s["loop"], "author": 24.54, "gold": 25.87, "bronze": 38.03},
        "own": {"pursuit": 99.0},
    }


@pytest.mark.parametrize("references_s", [{"author": 0.0}, {"author": -24.54}, {"the author/gold": 24.54}, {"": 1.0}])
def test_times_that_nothing_can_be_measured_by_are_refused(references_s: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="references_s"):
        MapEntry(name="A01", map="loop", references_s=references_s)


@pytest.mark.parametrize(("threads", "expected"), [(None, 1), (3, 3)])
def test_a_learner_on_a_cluster_computes_on_what_it_reserves(
    threads: int | None, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keeper = pytest.importorskip("tmrl_ray.learner_keeper")
    told = list[int]()
    monkeypatch.setattr(keeper.torch, "set_num_threads", told.append)
    monkeypatch.setattr(keeper, "keep_freed_memory", _stop)
    config = CONFIG.replace(training=TrainingSettings(threads=threads))
    with pytest.raises(InterruptedError):
        keeper.make_learner(config, "run", "cpu", tmp_path / "set_aside.jsonl", None, 0)
    assert told == [expected]


def _stop() -> None:
    raise InterruptedError


def test_a_device_that_is_not_there_is_named_with_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"collector\.device: .* cannot be used here"):
        device_of("cuda:99", setting="collector.device")


def test_a_share_of_a_gpu_that_nobody_would_use_is_refused() -> None:
    with pytest.raises(ValueError, match="set device: cuda, or gpus: 0"):
        CollectorSettings(gpus=0.5)
    assert CollectorSettings(gpus=0.5, device="cuda").gpus == 0.5
