"""Whole stages, from a dataset on a disk to artifacts that the learner takes over, in one process."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learner.pretrained import Injection
from pretrain.probes import probe
from pretrain.records import metrics_of
from tests.pretrain.drawn_races import HEIGHT, LAYOUT, WIDTH, drawn_cache
from tests.pretrain.stages import cloning, loop_of, visual
from tests.pretrain.written_dataset import write_dataset, write_training
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.pretrain import BCConfig, BCRunSettings, EarlyStoppingSettings, VisualConfig, VisualRunSettings
from tmrl_ray.config.pretrained import PretrainedSettings
from tmrl_ray.errors import ArtifactError, CheckpointError, InvalidInputError, RunError, TmrlError
from tmrl_ray.iqn.network import build_network
from tmrl_ray.pretraining import StageResult, StageRun
from tmrl_ray.runs.artifact import Artifact, PartKey
from tmrl_ray.runs.rundir import Start
from tmrl_ray.training import Training


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shared")
    return {
        "rl_config_path": write_training(folder / "training.yaml"),
        "data_dir": write_dataset(folder / "races"),
        "preprocess_cache_dir": folder / "cache",
        "device": "cpu",
        "batch_size": 40,
        "val_fraction": 0.2,
    }


def train(config: VisualConfig | BCConfig, start: Start = Start.NEW) -> tuple[StageRun, StageResult]:
    with StageRun.open(config, start) as run:
        list(run.train())
        return run, run.finish()


def test_a_visual_stage_and_a_cloning_stage_on_its_encoder(shared: dict[str, Any], tmp_path: Path) -> None:
    settings = VisualRunSettings(folder=tmp_path)
    _, seen = train(VisualConfig(**shared, task="ae", epochs=2, image_normalization="iqn", run=settings))
    assert np.asarray(Image.open(tmp_path / "vis/plots/pictures.png")).shape[0] == 2 * 3 * (HEIGHT + 2)
    config = BCConfig(
        **shared,
        epochs=3,
        image_normalization="iqn",
        use_actions_head=True,
        encoder_init_path=tmp_path / "vis",
        run=BCRunSettings(folder=tmp_path),
    )
    with StageRun.open(config, Start.NEW) as run:
        first = run.loop.stage.state_dict()["cloner.encoder.encoder.0.weight"]
        pretrained = Artifact.read(seen.best).parts[PartKey("encoder")]["encoder.0.weight"]
        np.testing.assert_array_equal(first.numpy(), np.asarray(pretrained))
        list(run.train())
        result = run.finish()
    origin = Artifact.read(result.last).origin
    assert (origin.epoch, origin.epochs_trained, origin.frame_normalization) == (3, 3, "iqn")
    assert origin.data_fingerprint
    assert (origin.n_train, origin.n_val) == (len(run.loop.data.train_rows), len(run.loop.data.val_rows))
    assert origin.metrics["val_acc"] == pytest.approx(result.figures["last"]["val_acc"])
    assert {path.name for path in result.plots} >= {"loss.png", "accuracy.png", "confusion.png", "pictures.png"}
    assert all(min(Image.open(path).size) > 100 for path in result.plots)
    with (tmp_path / "bc/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["val_loss"]) == pytest.approx(result.figures["last"]["val_loss"])
    assert float(rows[2]["val_majority_acc"]) < 1
    assert list((tmp_path / "bc/tensorboard").iterdir())
    kept = json.loads((tmp_path / "bc/result.json").read_text())
    assert kept["best_epoch"] == result.best_epoch
    for which, figures in kept["maps"].items():
        assert list(figures) == list(run.loop.data.val_maps)
        samples = [each["samples"] for each in figures.values()]
        assert sum(samples) == len(run.loop.data.val_rows)
        accuracy = sum(each["val_acc"] * each["samples"] for each in figures.values()) / sum(samples)
        assert accuracy == pytest.approx(kept["figures"][which]["val_acc"])

    training = Training.of(load_config(shared["rl_config_path"]))
    network = build_network(training.config.network, training.io, seed=9)
    plan = Injection.plan(
        network,
        PretrainedSettings(artifact=tmp_path / "bc", logit_temperature=1.0),
        decision_period_ms=50,
        observation=training.observation.hash,
    )
    plan.apply(network)
    assert plan.parts == ("encoder", "advantage_head")
    taken = Artifact.read(result.best).parts[PartKey("advantage_head", 0)]["advantage_head.hidden.0.weight"]
    np.testing.assert_array_equal(network.advantage_head.hidden[0].weight.detach().numpy(), np.asarray(taken))


def test_the_best_epoch_is_kept_beside_the_last_one(shared: dict[str, Any], tmp_path: Path) -> None:
    """A learning rate that is far too high makes later epochs worse than the first."""
    settings = BCRunSettings(folder=tmp_path)
    config = BCConfig(**shared, epochs=6, lr=0.3, grad_clip=None, early_stopping=None, run=settings)
    run, result = train(config)
    losses = [each["val_loss"] for each in run.loop.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    best, last = Artifact.read(result.best), Artifact.read(result.last)
    assert (best.origin.epoch, last.origin.epoch) == (result.best_epoch, 6)
    assert best.origin.metrics["val_loss"] == min(losses)
    same = all(
        np.array_equal(np.asarray(each), np.asarray(last.parts[PartKey("encoder")][name]))
        for name, each in best.parts[PartKey("encoder")].items()
    )
    assert same == (result.best_epoch == 6)


def test_what_is_gone_on_with_is_what_would_have_been(shared: dict[str, Any], tmp_path: Path) -> None:
    def config(name: str, epochs: int) -> BCConfig:
        settings = BCRunSettings(name=name, folder=tmp_path)
        return BCConfig(**shared, epochs=epochs, dropout=0.3, mirror_share=0.5, shift_pixels=2, run=settings)

    whole, _ = train(config("whole", 4))
    train(config("parts", 2))
    parts, _ = train(config("parts", 4), Start.RESUME)
    assert parts.loop.epoch == 4
    told, again = (
        [{k: v for k, v in each.items() if k not in {"seconds", "samples_per_s"}} for each in run.loop.history]
        for run in (whole, parts)
    )
    assert told == again
    for name, tensor in whole.loop.best_state.items():
        assert torch.equal(tensor, parts.loop.best_state[name]), name


def test_the_weights_to_start_from_are_asked_for_at_the_start_only(shared: dict[str, Any], tmp_path: Path) -> None:
    train(VisualConfig(**shared, epochs=1, run=VisualRunSettings(folder=tmp_path)))
    config = BCConfig(
        **shared, epochs=1, lr=1e-9, encoder_init_path=tmp_path / "vis", run=BCRunSettings(folder=tmp_path)
    )
    with StageRun.open(config, Start.NEW) as run:
        given = run.loop.stage.state_dict()["cloner.encoder.encoder.0.weight"].clone()
    with StageRun.open(config, Start.RESUME) as run:  # it was killed before anything was saved
        assert torch.equal(run.loop.stage.state_dict()["cloner.encoder.encoder.0.weight"], given)
        list(run.train())
    (tmp_path / "vis").rename(tmp_path / "moved")
    with StageRun.open(config.replace(epochs=2), Start.RESUME) as run:
        assert run.loop.epoch == 1
        torch.testing.assert_close(run.loop.stage.state_dict()["cloner.encoder.encoder.0.weight"], given)
    with pytest.raises(ArtifactError, match="is no artifact"):
        StageRun.open(config, Start.RESTART)


def test_the_gain_of_an_encoder_is_over_one_that_learned_nothing(shared: dict[str, Any], tmp_path: Path) -> None:
    config = VisualConfig(**shared, task="ae", epochs=1, lr=1e-12, run=VisualRunSettings(folder=tmp_path))
    _, nothing = train(config)
    known = {name: gain for name, gain in nothing.probe_gains.items() if gain is not None}
    assert known == pytest.approx({"knn_action_acc": 0.0, "r2_pixels": 0.0}, abs=1e-3)
    told = json.loads((tmp_path / "vis/result.json").read_text())
    assert told["probe_gains"] == nothing.probe_gains
    assert told["probe_gains"].keys() == told["probes"].keys() - {"majority_action_acc"}


def test_names_are_never_taken_twice_by_accident(shared: dict[str, Any], tmp_path: Path) -> None:
    config = VisualConfig(**shared, epochs=1, run=VisualRunSettings(folder=tmp_path))
    train(config)
    before = (tmp_path / "vis/metrics.csv").read_bytes()
    with pytest.raises(RunError, match="there is a run vis already") as error:
        StageRun.open(config, Start.NEW)
    assert "tmrl-ray pretrain visual -c" in str(error.value)
    assert (tmp_path / "vis/metrics.csv").read_bytes() == before


def test_another_stage_or_split_is_not_gone_on_with(shared: dict[str, Any], tmp_path: Path) -> None:
    config = BCConfig(**shared, epochs=1, run=BCRunSettings(folder=tmp_path))
    train(config)
    for changes, what in (({"use_actions_head": True}, "stage"), ({"val_fraction": 0.4}, "data")):
        with pytest.raises(CheckpointError, match=f"has another {what}"):
            StageRun.open(config.replace(**changes), Start.RESUME)


def test_it_stops_when_the_loss_has_stopped_falling() -> None:
    config = cloning(epochs=40, lr=1e-9, early_stopping=EarlyStoppingSettings(patience=3, min_delta=0.01))
    loop = loop_of(config, drawn_cache(maps=3, races=1))
    reports = list(loop.run())
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert [report.stops for report in reports] == [False, False, False, True]


def test_a_loss_that_is_no_number_ends_a_stage() -> None:
    with pytest.raises(TmrlError, match="the loss of epoch"):
        list(loop_of(cloning(lr=1e30, grad_clip=None, epochs=9)).run())


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_half_precision_learns_too(precision: str) -> None:
    loop = loop_of(cloning(precision=precision, epochs=4, lr=3e-4))
    losses = [report.score for report in loop.run()]
    assert losses[-1] < 0.7 * losses[0]


def test_what_does_not_fit_the_dataset_is_refused(shared: dict[str, Any], tmp_path: Path) -> None:
    settings = BCRunSettings(folder=tmp_path)
    cases: list[tuple[dict[str, Any], type[TmrlError], str]] = [
        ({"use_floats": True}, InvalidInputError, "says nothing of the car's state"),
        ({"track_ids": ("map7",)}, InvalidInputError, "no race on map7"),
        ({"encoder_init_path": tmp_path}, ArtifactError, "is no artifact"),
        ({"data_dir": tmp_path / "nowhere"}, InvalidInputError, "there is no such folder"),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            StageRun.open(BCConfig(**{**shared, **changes}, run=settings), Start.NEW)
    assert not (tmp_path / "bc").exists()


def test_probes_read_off_what_features_have() -> None:
    cache = drawn_cache(maps=5, races=2)
    data = loop_of(visual(), cache).data
    place = torch.linspace(-1, 1, WIDTH)

    def finds_the_bar(frames: torch.Tensor) -> torch.Tensor:
        bright = (frames[:, -1] > 128).float().sum(dim=1)  # (N, W)
        return (bright * place).sum(dim=1, keepdim=True)

    def sees_nothing(frames: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(frames), 1, generator=torch.Generator().manual_seed(len(frames)))

    good, bad = (probe(encode, data, LAYOUT, stack=1, seed=0).result for encode in (finds_the_bar, sees_nothing))
    assert good.r2["lateral_offset"] > 0.98
    assert bad.r2["lateral_offset"] < 0.1
    assert good.r2["speed"] is None  # it is the same in all pictures
    assert good.action_accuracy > 0.9 > good.majority_accuracy > bad.action_accuracy - 0.15
    assert good.pixel_r2 > bad.pixel_r2 + 0.1
    gains = good.gains_over(bad)
    assert gains["r2_lateral_offset"] == pytest.approx(good.r2["lateral_offset"] - bad.r2["lateral_offset"])
    assert gains["r2_speed"] is None


def test_figures_become_declared_metrics() -> None:
    figures = {
        "epoch": 3,
        "train_loss": 0.5,
        "val_acc_offset_ms_-10": 0.25,
        "val_acc_action_accelerate+left": 0.75,
        "val_copy_last_acc": 0.125,
        "train_atc_loss": 2.0,
        "train_gradient_norm": None,
        "val_macro_f1": float("nan"),
        "samples_per_s": 7.0,
    }
    assert metrics_of(figures) == {
        "pretrain/loss/train": 0.5,
        "pretrain/accuracy_at/-10/val": 0.25,
        "pretrain/recall/accelerate_left/val": 0.75,
        "pretrain/baseline/copy_last/val": 0.125,
        "pretrain/task/atc_loss/train": 2.0,
        "pretrain/samples_per_s": 7.0,
    }
