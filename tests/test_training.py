"""What a run is made of: where its decisions are worked out, what its races are measured by, its threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import MapEntry
from tmrl_ray.config.replay import DemonstrationSettings, ReplaySettings, WindowSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.training import TrainingSettings
from tmrl_ray.errors import ConfigError
from tmrl_ray.experience.device_pictures import DevicePictures
from tmrl_ray.experience.ring import Ring
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


KEEPING = LearnerSettings(pictures_on_device=True)


def test_pictures_stay_on_gpus_only() -> None:
    training = Training.of(CONFIG.replace(game=GameSettings(), learner=KEEPING))
    assert training.pictures_on(torch.device("cuda", 1)) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"learner\.pictures_on_device is for a learner on a GPU.* computes on cpu"):
        training.pictures_on(torch.device("cpu"))
    assert Training.of(CONFIG).pictures_on(torch.device("cuda")) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"game": GameSettings(frame_size=None)}, "there are no pictures"),
        ({"training": TrainingSettings(device="cpu")}, "training.device is cpu"),
    ],
)
def test_pictures_that_cannot_stay_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RunConfig().replace(learner=KEEPING, **changes)


def test_pictures_that_stay_take_what_the_bill_says(tmp_path: Path) -> None:
    replay = ReplaySettings(
        windows=(WindowSettings(rows=1009, learn_start_rows=307),), demonstrations=DemonstrationSettings(rows=307)
    )
    training = Training.of(CONFIG.replace(game=GameSettings(frame_size=(16, 12)), replay=replay))
    setup = training.buffer_setup("test", tmp_path, check=False)
    assert setup.demonstrations_size is not None
    rings = [
        Ring.create(tmp_path / name, training.format, size, run="test")
        for name, size in (("experience", setup.size), ("demonstrations", setup.demonstrations_size))
    ]
    assert DevicePictures(torch.device("cuda"), *rings).size_bytes == setup.picture_bytes > (1009 + 307) * 16 * 12
    for ring in rings:
        ring.close()
    assert Training.of(CONFIG).buffer_setup("test", tmp_path, check=False).picture_bytes == 0
