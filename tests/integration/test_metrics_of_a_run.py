"""Every metric that is declared is told by a run: nothing on the page is a promise only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.test_serial import QUICKSTART, TINY
from tmrl_ray.config.loading import load_config
from tmrl_ray.racing.actions import ACTION_NAMES, FORWARD
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.json_sink import RecordedRow, read_rows
from tmrl_ray.runs.metrics import Metric
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.serial import SerialRun
from tmrl_ray.training import Training

SETTINGS = (
    *TINY,
    "maps=[{name: ice, map: ice}, {name: measured, map: ice, exploration: false}]",
    "cut_offs.race_ms=40000",
    "cut_offs.no_progress_ms=9000",
    "learner.precision=fp16",
    "learner.munchausen={}",
    "learner.self_loss={}",
    "learner.plateau={}",
    "learner.optimiser.learning_rate={points: [[0, 1.0e-9]]}",
    "collector.exploration.epsilon=0.0",
    "replay.test_every=2",
    "training.env_steps=1150",
    "training.metrics_s=0.2",
    "training.checkpoint_s=2.0",
    "evaluation.every_s=9999",
)
"""A car that drives straight on finishes the track ``ice``, and nothing that it learns makes it do anything else."""
ON_EACH_ROW = {"clock/learner_steps", "clock/training_hours"}
ON_A_GPU = {"learner/copy_ms"}
ON_RAY = {"collector/restarts/{reason}", "evaluation/failures", "memory/spilled_bytes"}
WITH_DEMONSTRATIONS = "learner/imitation_"
SPREAD = "learner/quantile_std/"
PRETRAINING = "pretrain"
"""Group of what jobs of pretraining tell; a run trains without them."""


def drive_straight_on(live: SerialRun) -> None:
    with torch.no_grad():
        for network in (live.learner.update.online, live.learner.update.target):
            last = network.advantage_head.last
            last.weight.zero_()
            last.bias.zero_()[FORWARD] = 1.0


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RecordedRow]]:
    folder = tmp_path_factory.mktemp("runs")
    config = load_config(QUICKSTART, [*SETTINGS, f"run.folder={folder}", "run.name=told"])
    training = Training.of(config)
    with RunDirectory.open(folder, "told", config, Start.NEW) as run:
        store = CheckpointStore(run.checkpoints, Identity(run.uuid, training.hashes))
        with SerialRun(training, run, store) as live:
            drive_straight_on(live)
            for _ in live.run():
                pass
    yield read_rows(Path(folder) / "told" / "metrics.jsonl")


def metrics_of(rows: list[RecordedRow]) -> set[Metric]:
    """Return what was told; a name that is not declared raises."""
    return {METRICS.resolve(name).metric for row in rows for name in row.values}


def test_every_metric_is_told_by_a_run(rows: list[RecordedRow]) -> None:
    declared = {metric.short for metric in METRICS.metrics if metric.group != PRETRAINING}
    told = {metric.short for metric in metrics_of(rows)}
    missing = {name for name in declared - told if not name.startswith(WITH_DEMONSTRATIONS)}
    assert missing == ON_EACH_ROW | ON_A_GPU | ON_RAY


def test_what_is_told_is_what_happened(rows: list[RecordedRow]) -> None:
    last: dict[str, object] = {}
    for row in rows:
        last |= row.values
    clocks = rows[-1].clocks
    assert last["experience/rows_ingested"] == clocks.env_steps
    assert last["learner/updates"] == clocks.learner_steps
    assert last["learner/samples"] == 17 * clocks.learner_steps == last["experience/rows_sampled"]
    assert last["evaluation/finish_rate/ice"] == 1.0
    assert last["evaluation/best_time_s/ice"] == pytest.approx(27.34)
    assert 1.5 < last["race/medal_ratio/ice/evaluation/pursuit"] < 2.0
    assert last["race/split_s/ice/evaluation/3"] == last["race/finish_time_s/ice/evaluation"]
    assert last["experience/test_share"] > 0
    shares = [last[f"learner/{name}_share"] for name in ("idle", "training", "gathering", "testing", "publishing")]
    assert sum(shares) == pytest.approx(1.0)
    told = {name.removeprefix(SPREAD) for name in last if name.startswith(SPREAD)}
    assert told == {name.replace("+", "_") for name in ACTION_NAMES}
    assert all(last[SPREAD + action] > 0 for action in told)
