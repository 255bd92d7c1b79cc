"""The presets: each setting is the one that the agents of that name have, and each runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learner.report import summarise
from learner.update import LearnerUpdate
from tests.iqn.networks import ACTIONS, small_io
from tests.learner.drawn import drawn
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.iqn.network import NetworkIO, build_network

PRESETS = Path(__file__).parents[2] / "configs" / "presets"


def preset(name: str) -> RunConfig:
    return load_config(PRESETS / f"{name}.yaml")


def parameters_of(config: RunConfig) -> int:
    io = NetworkIO(config.game.frame_size, np.zeros(184, np.float32), np.ones(184, np.float32), actions=12)
    return sum(parameter.numel() for parameter in build_network(config.network, io, seed=0).parameters())


def common_settings(learner: LearnerSettings) -> dict[str, object]:
    """Return what rulka and Linesight have in common."""
    optimiser, self_loss = learner.optimiser, learner.self_loss
    assert self_loss is not None
    return {
        "quantiles": learner.quantiles,
        "kappa": learner.kappa,
        "clip": (optimiser.clip_norm, optimiser.clip_value),
        "target_rate": learner.target.rate,
        "clamp_ratio": self_loss.clamp_ratio,
        "optimiser": (optimiser.kind, optimiser.betas, optimiser.epsilon),
        "learning_rate": (optimiser.learning_rate.kind, optimiser.learning_rate.points),
        "discount": (learner.discount.kind, learner.discount.points),
        "reset": learner.reset,
        "munchausen": learner.munchausen,
        "precision": (learner.precision, learner.compile),
        "linf": learner.legacy_linf_is_signed,
    }


@pytest.mark.parametrize("name", ["legacy_rulka", "linesight"])
def test_what_both_have_in_common(name: str) -> None:
    assert common_settings(preset(name).learner) == {
        "quantiles": 8,
        "kappa": 0.005,
        "clip": (30, 1000),
        "target_rate": 0.02,
        "clamp_ratio": 4,
        "optimiser": ("radam", (0.9, 0.999), 1e-4),
        "learning_rate": ("log_linear", ((0, 1e-3), (3e6, 5e-5), (12e6, 5e-5), (15e6, 1e-5))),
        "discount": ("linear", ((0, 0.999), (1.5e6, 0.999), (2.5e6, 1))),
        "reset": None,
        "munchausen": None,
        "precision": ("fp16", True),
        "linf": True,
    }


def test_what_is_rulkas_own() -> None:
    config = preset("legacy_rulka")
    learner = config.learner
    assert parameters_of(config) == 1_051_805
    assert (learner.batch_size, learner.schedule_speed, learner.bootstrap) == (4096, 8, "double")
    assert learner.publish_every == 128
    assert (learner.target.interval_samples, learner.target.legacy_counter_lags) == (128, True)
    assert learner.optimiser.weight_decay == 0.1
    assert learner.optimiser.learning_rate.at(24e6, speed=learner.schedule_speed) == 5e-5


def test_what_is_linesights_own() -> None:
    config = preset("linesight")
    learner = config.learner
    assert parameters_of(config) == 6_578_333
    assert (learner.batch_size, learner.schedule_speed, learner.bootstrap) == (512, 1, "max_per_quantile")
    assert learner.publish_every == 10
    assert (learner.target.interval_samples, learner.target.legacy_counter_lags) == (2048, False)
    assert learner.optimiser.weight_decay == 0.02


def test_two_cores_is_small_and_learns_often() -> None:
    config = preset("two_cores")
    learner, replay = config.learner, config.replay
    assert config.network == NetworkSettings(head_hidden=128)
    assert parameters_of(config) == 308_381
    assert (learner.batch_size, learner.quantiles, learner.discount.at(0)) == (128, 8, 0.99)
    assert learner.target.interval_samples == learner.batch_size
    assert replay.samples_per_insert == 8 and replay.mini_race is None
    assert [value for _, value in learner.optimiser.learning_rate.points] == [1e-3, 3e-4, 1e-4, 2e-5]


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_runs_at_tiny_size(name: str) -> None:
    config = preset(name)
    io = small_io()
    network = build_network(config.network.replace(frame_stack=2), io, seed=0)
    update = LearnerUpdate(network, config.learner.replace(compile=False), seed=0)
    reports = [update.step(drawn(11, seed), env_steps=seed) for seed in range(9)]
    assert io.actions == ACTIONS
    assert summarise(reports).set_aside == ()
    assert summarise(reports[-1:]).figures["sound"] == 1
