"""The presets: each setting is the one that the agents of that name have, and each runs."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learner.report import summarise
from learner.update import LearnerUpdate
from tests.iqn.networks import ACTIONS, small_io
from tests.learner.drawn import drawn
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.iqn.policy import QUANTILES
from tmrl_ray.racing.reward import Term, weight_vector

PRESETS = Path(__file__).parents[2] / "configs" / "presets"


def preset(name: str) -> RunConfig:
    return load_config(PRESETS / f"{name}.yaml")


def parameters_of(config: RunConfig) -> int:
    io = NetworkIO(config.game.frame_size, np.zeros(184, np.float32), np.ones(184, np.float32), actions=12)
    return sum(parameter.numel() for parameter in build_network(config.network, io, seed=0).parameters())


SLIDES = ((0, 0.0), (4.5e6, 0.0), (5e6, 0.001), (15e6, 0.0))
SOURCE: dict[str, tuple[Any, Any]] = {
    "game.decision_period_ms": (50, 50),
    "game.frame_size": ((64, 64), (160, 120)),
    "game.grey": (True, True),
    "game.camera": (2, 2),
    "game.running_speed": (32, 80),
    "line.spacing_m": (0.5, 0.5),
    "line.zones_before_start": (20, 20),
    "line.zones_after_finish": (1000, 1000),
    "line.smoothing_zones": (5, 5),
    "line.road_width_m": (90, 90),
    "line.checkpoint_radius_m": (12, 12),
    "line.deck_height_m": (None, None),
    "observation.way_points": (40, 40),
    "observation.way_point_zones": (20, 20),
    "observation.previous_actions": (5, 5),
    "observation.finish_margin_m": (700, 700),
    "observation.mini_race_ms": (7000, 7000),
    "reward.per_ms": (-6 / 5000, -6 / 5000),
    "reward.per_metre": (5 / 500, 5 / 500),
    "reward.per_speed": (0.02, 0),
    "reward.speed_slide": (("linear", SLIDES), 0),
    "reward.neo_slide": (("linear", SLIDES), 0),
    "reward.kamikaze": (0, 0),
    "reward.close_to_line": (0, 0),
    "reward.finish": (0, 0),
    "reward.schedule_speed": (8, 1),
    "cut_offs.race_ms": (300_000, 300_000),
    "cut_offs.no_progress_ms": (2000, 2000),
    "network.frame_stack": (1, 1),
    "network.encoder": ("conv", "conv"),
    "network.float_hidden": (256, 256),
    "network.head_hidden": (1024 // 2, 1024 // 2),
    "network.quantile_embedding": (128, 64),
    "network.layer_norm": (False, False),
    "network.spectral_norm": (False, False),
    "network.noisy": (False, False),
    "network.dropout": (0, 0),
    "learner.batch_size": (4096, 512),
    "learner.quantiles": (8, 8),
    "learner.shared_quantiles": (False, False),
    "learner.kappa": (0.005, 0.005),
    "learner.bootstrap": ("double", "max_per_quantile"),
    "learner.discount": 2 * (("linear", ((0, 0.999), (1.5e6, 0.999), (2.5e6, 1))),),
    "learner.self_loss.decay": (0.99, 0.99),
    "learner.self_loss.clamp_ratio": (4, 4),
    "learner.munchausen": (None, None),
    "learner.loss": ("sum", "sum"),
    "learner.target.rate": (0.02, 0.02),
    "learner.target.interval_samples": (128, 2048),
    "learner.target.legacy_counter_lags": (True, False),
    "learner.optimiser.kind": ("radam", "radam"),
    "learner.optimiser.betas": ((0.9, 0.999), (0.9, 0.999)),
    "learner.optimiser.epsilon": (1e-4, 1e-4),
    "learner.optimiser.learning_rate": 2 * (("log_linear", ((0, 1e-3), (3e6, 5e-5), (12e6, 5e-5), (15e6, 1e-5))),),
    "learner.optimiser.weight_decay": (0.1, 0.02),
    "learner.optimiser.clip_norm": (30, 30),
    "learner.optimiser.clip_value": (1000, 1000),
    "learner.schedule_speed": (8, 1),
    "learner.pretrained": (None, None),
    "learner.imitation": (None, None),
    "learner.reset": (None, None),
    "learner.plateau": (None, None),
    "learner.publish_every": (128, 10),
    "learner.precision": ("fp16", "fp16"),
    "learner.compile": (True, True),
    "learner.legacy_linf_is_signed": (True, True),
    "replay.schedule_speed": (8, 1),
    "replay.samples_per_insert": (32, 32),
    "replay.priorities": (None, None),
    "replay.test_every": (1 / 0.05, 1 / 0.05),
    "replay.n_steps": (3, 3),
    "replay.cut_at_exploration": (True, True),
    "replay.cut_off_ends": (False, False),
    "replay.mini_race.oversample_long_steps": (40, 40),
    "replay.mini_race.oversample_maximum_steps": (5, 5),
    "replay.shaping.ahead_weight": (0, 0),
    "replay.augmentation.shift_pixels": (0, 0),
    "replay.augmentation.mirror_share": (0, 0),
    "replay.demonstrations": (None, None),
    "collector.count": (8, 2),
    "collector.weights_at": ("decision", "decision"),
    "collector.exploration.epsilon": 2 * (("log_linear", ((0, 1), (50e3, 1), (300e3, 0.1), (3e6, 0.03))),),
    "collector.exploration.hold": (1, 1),
    "collector.exploration.epsilon_boltzmann": (
        ("log_linear", ((0, 0.15), (10e6, 0.03))),
        ("log_linear", ((0, 0.15), (3e6, 0.03))),
    ),
    "collector.exploration.boltzmann_noise": (0.01, 0.01),
    "collector.exploration.multipliers": ((1,), (1,)),
    "collector.exploration.schedule_speed": (8, 1),
    "collector.starts.race_start": (1, 1),
    "collector.starts.uniform": (0, 0),
    "collector.starts.near_best": (0, 0),
    "collector.starts.reverse_curriculum": (0, 0),
}
"""What rulka's shipped configuration says, and Linesight's."""
WINDOWS = [(0, 50_000, 20_000), (5_000_000, 100_000, 75_000), (7_000_000, 200_000, 150_000)]
"""Env steps, capacity, and what must be there before anything is learned: the same in both."""


def setting(config: RunConfig, path: str) -> object:
    """Return a setting; a schedule as its kind and points, or as the value that it always has."""
    value = attrgetter(path)(config)
    if isinstance(value, ScheduleSettings):
        return value.points[0][1] if len(value.points) == 1 else (value.kind, value.points)
    return value


@pytest.mark.parametrize(("name", "column"), [("legacy_rulka", 0), ("linesight", 1)])
def test_each_setting_is_that_of_the_source(name: str, column: int) -> None:
    config = preset(name)
    assert {path: setting(config, path) for path in SOURCE} == {path: both[column] for path, both in SOURCE.items()}
    windows = [(each.from_env_steps, each.rows, each.learn_start_rows) for each in config.replay.windows]
    assert windows == WINDOWS


@pytest.mark.parametrize(("name", "exploring"), [("legacy_rulka", 64), ("linesight", 4)])
def test_races_that_only_measure_are_learned_from_too(name: str, exploring: int) -> None:
    cycle = [(each.exploration, each.repeat, each.fill_buffer) for each in preset(name).maps]
    assert cycle == [(True, exploring, True), (False, 1, True)]


def test_actions_are_chosen_by_as_many_quantiles_as_in_the_source() -> None:
    assert QUANTILES == 32


def test_schedules_of_rulka_take_eight_times_as_long_and_the_discount_does_not() -> None:
    config = preset("legacy_rulka")
    learner, replay, exploration = config.learner, config.replay, config.collector.exploration
    rate, speed = learner.optimiser.learning_rate, exploration.schedule_speed
    assert [rate.at(step, speed=learner.schedule_speed) for step in (24e6, 96e6, 120e6)] == [5e-5, 5e-5, 1e-5]
    epsilons = [exploration.epsilon.at(step, speed=speed) for step in (400e3, 2.4e6, 24e6)]
    assert epsilons == [1, 0.1, 0.03]
    assert exploration.epsilon_boltzmann.at(80e6, speed=speed) == 0.03
    rows = [replay.window_at(step).rows for step in (40_000_000 - 1, 40_000_000, 56_000_000)]
    assert rows == [50_000, 100_000, 200_000]
    slides = [weight_vector(config.reward, 8 * step)[[Term.SPEED_SLIDE, Term.NEO_SLIDE]] for step in (4.5e6, 5e6, 15e6)]
    assert [each.tolist() for each in slides] == [[0, 0], [0.001, 0.001], [0, 0]]
    assert [learner.discount.at(step) for step in (1.5e6, 2.5e6)] == [0.999, 1]


@pytest.mark.parametrize(("name", "parameters"), [("legacy_rulka", 1_051_805), ("linesight", 6_578_333)])
def test_the_network_is_that_of_the_source_to_the_parameter(name: str, parameters: int) -> None:
    assert parameters_of(preset(name)) == parameters


def test_two_cores_is_small_and_learns_often() -> None:
    config = preset("two_cores")
    learner, replay = config.learner, config.replay
    assert config.network == NetworkSettings(head_hidden=128)
    assert parameters_of(config) == 308_381
    assert (learner.batch_size, learner.quantiles, learner.discount.at(0)) == (64, 8, 0.99)
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
