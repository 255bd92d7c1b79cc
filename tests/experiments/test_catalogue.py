"""The shipped experiments against the tables of the source documents, which are written down here as data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tmrl_ray.config.pretrain import BCConfig, VisualConfig
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ConfigError
from tmrl_ray.experiments.catalogue import Catalogue

FOLDER = Path(__file__).parents[2] / "configs" / "experiments"
SCALE = "simulator"

FROM_0_TO_100 = list(range(0, 101, 10))
A01_GREEDY = {
    "map": "A01-Race.Challenge.Gbx",
    "fill_buffer": True,
    "exploration": False,
    "repeat": 1,
    "references_s": {"author": 24.54, "gold": 25.87},
}

DIFFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "vis/v2": ("vis/v1", {"image_normalization": "iqn"}),
    "vis/v1_simclr": (
        "vis/v1",
        {
            "task": "simclr",
            "early_stopping": {"patience": 10, "min_delta": 0.0},
            "precision": "bf16",
            "cache_load_in_ram": True,
        },
    ),
    "bc/v1.1": ("bc/v1", {"lr": 5e-4, "epochs": 50}),
    "bc/v1.2": ("bc/v1.1", {"image_normalization": "iqn"}),
    "bc/v2": ("bc/v1.2", {"encoder_init_path": "vis/v2"}),
    "bc/v2_next_tick": ("bc/v2", {"bc_target": "next_tick"}),
    "bc/v2_next_tick_stack3": ("bc/v2_next_tick", {"n_stack": 3, "cache_load_in_ram": False}),
    "bc/v2_multi_offset": (
        "bc/v2",
        {"bc_time_offsets_ms": [-10, 0, 10, 100], "bc_offset_weights": [0.2, 1.0, 0.5, 0.3]},
    ),
    "bc/v2_multi_offset_ahead": ("bc/v2_multi_offset", {"use_actions_head": True}),
    "bc/v2_multi_offset_ahead_tuned": (
        "bc/v2_multi_offset_ahead",
        {"lr": 2e-4, "weight_decay": 0.01, "early_stopping": {"patience": 10, "min_delta": 0.0}},
    ),
    "bc/v2_multi_offset_ahead_reg": ("bc/v2_multi_offset_ahead", {"lr": 1e-4, "weight_decay": 0.02}),
    "bc/v2_multi_offset_ahead_dropout": ("bc/v2_multi_offset_ahead_reg", {"dropout": 0.2}),
    "bc/v2_multi_offset_ahead_dropout_inner": ("bc/v2_multi_offset_ahead_dropout", {"action_head_dropout": 0.1}),
    "bc/v3": (
        "bc/v2",
        {
            "races": "fps100",
            "use_floats": True,
            "use_full_iqn": True,
            "full_iqn_random_tau": True,
            "full_iqn_dueling": False,
            "lr": 1e-4,
            "weight_decay": 0.02,
        },
    ),
    "bc/v3_only_vis": ("bc/v3", {"use_floats": False, "use_full_iqn": False, "full_iqn_random_tau": False}),
    "bc/v3_multi_offset": (
        "bc/v3",
        {"bc_time_offsets_ms": FROM_0_TO_100, "bc_offset_weights": [5.0, 4.0, 3.0, 2.0, *7 * [1.0]]},
    ),
    "bc/v3_current_tick": ("bc/v3_multi_offset", {"bc_time_offsets_ms": [0], "bc_offset_weights": None}),
    "bc/v3_multi_offset_A01": (
        "bc/v3_multi_offset",
        {
            "track_ids": ["A01-Race"],
            "epochs": 20,
            "batch_size": 128,
            "encoder_init_path": None,
            "bc_resume_run_dir": "bc/v3_multi_offset",
        },
    ),
    "bc/v4_multi_offset": ("bc/v3_multi_offset", {"full_iqn_dueling": True}),
    "bc/v5_multi_offset": (
        "bc/v4_multi_offset",
        {
            "bc_time_offsets_ms": [0, 10, 20, 30, 40],
            "bc_offset_weights": None,
            "bc_multi_offset_mode": "fused",
            "rl_config_path": "configs/experiments/rl/previous_25.yaml",
        },
    ),
    "rl/vis_pretrained": ("rl/baseline", {"learner.pretrained.encoder": "vis/v1"}),
    "rl/vis_bc_pretrained": ("rl/baseline", {"learner.pretrained.encoder": "bc/v1.1"}),
    "rl/vis_bc_ah_pretrained": (
        "rl/baseline",
        {
            "learner.pretrained.encoder": "bc/v2_multi_offset_ahead_dropout_inner",
            "learner.pretrained.advantage_head": "bc/v2_multi_offset_ahead_dropout_inner",
        },
    ),
    "rl/enc_freeze": ("rl/vis_bc_ah_pretrained", {"learner.optimiser.parts.encoder.frozen": True}),
    "rl/enc_ah_freeze": ("rl/enc_freeze", {"learner.optimiser.parts.advantage_head.frozen": True}),
    "rl/full_iqn_bc": ("rl/baseline", {"learner.pretrained.artifact": "bc/v3_multi_offset"}),
    "rl/full_iqn_bc_best_ref": (
        "rl/full_iqn_bc",
        {
            "maps": [
                {**A01_GREEDY, "name": "A01", "line": "data/lines/A01_best.npy", "exploration": True, "repeat": 64},
                {**A01_GREEDY, "name": "A01-greedy", "line": "data/lines/A01_best.npy"},
            ]
        },
    ),
    "rl/full_iqn_bc_4explo": (
        "rl/full_iqn_bc",
        {
            "maps": [
                {**A01_GREEDY, "name": "A01", "line": "data/lines/A01.npy", "exploration": True, "repeat": 4},
                {**A01_GREEDY, "name": "A01-greedy", "line": "data/lines/A01.npy"},
            ]
        },
    ),
}
"""Experiment: what it is based on, and the settings that the tables say it changes. Artifacts stand by experiment."""

RESUMED = {
    "learner.optimiser.parts.encoder.frozen",
    "learner.optimiser.parts.advantage_head.frozen",
    "learner.optimiser.learning_rate.points",
    "learner.schedule_speed",
    "collector.exploration.epsilon.points",
    "collector.exploration.schedule_speed",
    "training.env_steps",
}
"""What rl/enc_ah_freeze_resume changes."""
RESUMED_RATES = {0: 5e-5, 500_000: 1e-4, 3_000_000: 5e-5, 9_000_000: 5e-5}
RESUMED_EPSILONS = {0: 0.1, 50_000: 0.1, 300_000: 0.5, 3_000_000: 0.03, 9_000_000: 0.03}
"""Its schedules by the tables, by env steps after the 20 million that lie behind it."""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(FOLDER)


def changes(catalogue: Catalogue, name: str, scale: str | None = None) -> dict[str, Any]:
    """Return all that an experiment changes of its base: settings, artifacts and races."""
    found = catalogue.experiment(name)
    assert found.base is not None
    base = catalogue.experiment(found.base)
    told = {key: after for key, (_, after) in catalogue.differences(name, scale).items()}
    told |= {key: found.needs.get(key) for key in {**base.needs, **found.needs} if base.needs != found.needs}
    return told | ({} if base.races == found.races else {"races": found.races})


def test_every_experiment_is_held_against_the_tables(catalogue: Catalogue) -> None:
    roots = {"vis/v1", "bc/v1", "rl/baseline"}
    assert set(catalogue.experiments) == {*DIFFERENCES, *roots, "rl/enc_ah_freeze_resume"}
    assert {name for name, each in catalogue.experiments.items() if each.base is None} == roots


@pytest.mark.parametrize("name", DIFFERENCES)
def test_it_differs_in_what_the_table_says_and_in_nothing_else(catalogue: Catalogue, name: str) -> None:
    base, expected = DIFFERENCES[name]
    assert catalogue.experiment(name).base == base
    assert changes(catalogue, name) == expected


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_simulator_changes_no_difference(catalogue: Catalogue, name: str) -> None:
    """Maps have other names there, and a fine-tuned one is another map."""
    expected, scaled = dict(DIFFERENCES[name][1]), changes(catalogue, name, SCALE)
    for key in ("maps", "track_ids"):
        assert (key in expected) == (key in scaled)
        expected.pop(key, None), scaled.pop(key, None)
    assert scaled == expected


def test_the_one_that_goes_on_learns_slowly_again(catalogue: Catalogue) -> None:
    name = "rl/enc_ah_freeze_resume"
    found, config = catalogue.experiment(name), catalogue.config(name)
    assert (found.base, found.continues) == ("rl/enc_ah_freeze", "rl/enc_ah_freeze")
    assert set(changes(catalogue, name)) == RESUMED
    assert isinstance(config, RunConfig)
    parts = config.learner.optimiser.parts
    assert not parts.encoder.frozen
    assert not parts.advantage_head.frozen
    former, learner, exploration = catalogue.config(found.base), config.learner, config.collector.exploration
    assert isinstance(former, RunConfig)
    behind = former.training.env_steps
    assert behind == 20_000_000
    for steps, rate in RESUMED_RATES.items():
        assert learner.optimiser.learning_rate.at(behind + steps, speed=learner.schedule_speed) == rate
    for steps, epsilon in RESUMED_EPSILONS.items():
        assert exploration.epsilon.at(behind + steps, speed=exploration.schedule_speed) == epsilon
    assert config.training.env_steps == 40_000_000


def test_what_the_experiments_share(catalogue: Catalogue) -> None:
    seen, cloned, driven = (catalogue.config(name) for name in ("vis/v1", "bc/v1", "rl/baseline"))
    assert isinstance(seen, VisualConfig)
    assert (seen.task, seen.image_normalization, seen.epochs, seen.batch_size, seen.lr) == ("ae", "01", 50, 4096, 1e-3)
    assert (seen.n_stack, seen.seed, seen.early_stopping) == (1, 42, None)
    assert isinstance(cloned, BCConfig)
    assert (cloned.actions, cloned.batch_size, cloned.grad_clip, cloned.val_fraction) == (12, 4096, 1.0, 0.1)
    assert (cloned.seed, cloned.early_stopping, cloned.epochs, cloned.bc_mode) == (42, None, 25, "backbone")
    assert cloned.bc_time_offsets_ms == (0,)
    assert isinstance(driven, RunConfig)
    assert (driven.learner.batch_size, driven.game.running_speed, driven.game.frame_size) == (512, 512.0, (64, 64))
    assert (driven.network.quantile_embedding, driven.learner.bootstrap, driven.learner.pretrained) == (
        128,
        "double",
        None,
    )
    assert [(each.exploration, each.repeat) for each in driven.maps] == [(True, 64), (False, 1)]
    assert 4 <= driven.collector.count <= 8
    noisy = driven.collector.exploration.epsilon_boltzmann
    assert (noisy.kind, noisy.points) == ("log_linear", ((0, 0.15), (10_000_000, 0.03)))


def test_every_defect_of_the_source_can_be_repeated(catalogue: Catalogue) -> None:
    for name, each in catalogue.experiments.items():
        legacy = [f"{setting}={str(value).lower()}" for setting, value in each.legacy.items()]
        needs = [f"{setting}=nowhere" for setting in each.needs]
        assert catalogue.config(name, SCALE, [*needs, *legacy]) != catalogue.config(name, SCALE, needs) or not legacy
    assert catalogue.experiment("bc/v2_multi_offset_ahead").legacy == {"legacy_first_head": True}
    assert catalogue.experiment("bc/v3").legacy == {"legacy_mean_floats": True}
    assert catalogue.experiment("bc/v4_multi_offset").legacy == {"legacy_previous_ticks": True}
    for name in ("rl/vis_bc_ah_pretrained", "rl/enc_freeze", "rl/enc_ah_freeze"):
        assert catalogue.experiment(name).legacy["learner.pretrained.legacy_partial"] is True


def test_mistakes_in_the_folder_are_told(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError, match="there is no scale 'huge' in .*, only simulator"):
        catalogue.config("vis/v1", "huge")
    with pytest.raises(ConfigError, match="there is no experiment 'vis/v9'"):
        catalogue.experiment("vis/v9")
    with pytest.raises(ConfigError, match=r"index\.yaml cannot be read"):
        Catalogue(tmp_path)
    folder = Path(shutil.copytree(FOLDER, tmp_path / "experiments"))
    index = folder / "index.yaml"
    index.write_text("bc/v1:\n  tests: something\n  needs: {encoder_init_path: vis/v9}\n")
    with pytest.raises(ConfigError, match="bc/v1 needs 'vis/v9', which is not there"):
        Catalogue(folder)
    index.write_text("bc/v1:\n  test: something\n")
    with pytest.raises(ConfigError, match=r"index\.yaml: .*tests: Field required"):
        Catalogue(folder)
