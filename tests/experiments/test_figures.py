"""Figures by name, of runs whose results were written down by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.kept import RACES
from tmrl_ray.errors import ConfigError
from tmrl_ray.experiments.figures import OnMap, read_figure
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.json_sink import JsonLinesSink
from tmrl_ray.runs.recorder import Row


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    maps = {"one": {"samples": 30.0, "val_acc": 0.5}, "two": {"samples": 10.0, "val_acc": None}}
    figures = {"best": {"val_acc": 0.5}, "last": {"val_acc": 0.25}}
    result = {"best_epoch": 3, "figures": figures, "maps": {"best": maps}, "races": RACES}
    (tmp_path / "result.json").write_text(json.dumps(result))
    rows = [f"{epoch},{value}" for epoch, value in enumerate((0.1, 0.2, 0.4, 0.9), start=1)] + ["5,"]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,val_acc", *rows, ""]))
    return tmp_path


@pytest.fixture
def training(tmp_path: Path) -> Path:
    sink = JsonLinesSink(tmp_path / "metrics.jsonl")
    lag = Distribution((), np.array([2]), total=6.0, lowest=2.0, highest=4.0)
    for env_steps, values in (
        (10, {"other": 1.0}),
        (20, {"loss": 9.0, "lag": lag}),
        (30, {"loss": 4.0}),
        (40, {"loss": 6.0}),
        (50, {"other": 2.0}),
    ):
        sink.write(Row(Clocks(env_steps=env_steps), 0.0, values))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_epoch", 3.0),
        ("best.val_acc", 0.5),
        ("last.val_acc", 0.25),
        ("epochs 2-3.val_acc", 0.3),
        ("closed_loop.best.finish_rate", 4 / 12),
        ("closed_loop.best.finish_rate@generated-held-out", 3 / 8),
        ("closed_loop.best.furthest@generated-train", 0.75),
    ],
)
def test_figures_of_a_stage(stage: Path, name: str, value: float) -> None:
    assert read_figure(stage, name, is_training=False).value == pytest.approx(value)


def test_figures_are_known_by_map(stage: Path) -> None:
    assert read_figure(stage, "best.val_acc", is_training=False).by_map == {"one": OnMap(0.5, 30.0)}
    races = read_figure(stage, "closed_loop.best.finish_rate@generated-held-out", is_training=False).by_map
    assert races == {"generated-held-out-00": OnMap(0.75, 4), "generated-held-out-01": OnMap(0.0, 4)}
    assert read_figure(stage, "epochs 1-2.val_acc", is_training=False).by_map == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first.loss", 9.0),
        ("last.loss", 6.0),
        ("first.lag", 3.0),
        ("steps.loss<=6", 30.0),
        ("steps.loss>=9.0", 20.0),
        ("steps.loss<=1e-3", 50.0),  # never: the whole run
    ],
)
def test_figures_of_a_training(training: Path, name: str, value: float) -> None:
    assert read_figure(training, name, is_training=True).value == value


@pytest.mark.parametrize(
    "name",
    ["last.val_loss", "worst.val_acc", "epochs 4-5.val_acc", "closed_loop.last.furthest", "closed_loop.best.x@y"],
)
def test_what_a_stage_does_not_have_is_told(stage: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"has no figure {name}"):
        read_figure(stage, name, is_training=False)


def test_what_a_training_does_not_have_is_told(training: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no figure steps\.gain>=1"):
        read_figure(training, "steps.gain>=1", is_training=True)
