"""A whole run in one process at tiny size: it ends, it repeats bit for bit, and all of it is saved."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from tmrl_ray.config.loading import load_config
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import NotSavedError
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.disk import Disk
from tmrl_ray.runs.json_sink import read_rows
from tmrl_ray.runs.run_files import RunStatus
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.serial import SerialRun
from tmrl_ray.training import Training

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
TINY = (
    "game.frame_size=[37, 34]",
    "network.float_hidden=11",
    "network.head_hidden=13",
    "network.quantile_embedding=7",
    "learner.batch_size=17",
    "learner.quantiles=2",
    "learner.publish_every=3",
    "learner.precision=fp32",
    "replay.windows=[{rows: 600, learn_start_rows: 101}]",
    "replay.samples_per_insert=1",
    "replay.priorities={}",
    "cut_offs.race_ms=2000",
    "cut_offs.no_progress_ms=1000",
    "evaluation.races=1",
    "training.threads=1",
    "training.minutes=null",
    "training.device=cpu",
)


def config_of(folder: Path, name: str, *, env_steps: int, seed: int = 3) -> RunConfig:
    place = (f"run.folder={folder}", f"run.name={name}", f"training.env_steps={env_steps}", f"training.seed={seed}")
    return load_config(QUICKSTART, [*TINY, *place])


class Outcome:
    """What a run came to."""

    def __init__(self, live: SerialRun) -> None:
        self.weights = live.learner.update.weights()
        self.steps = live.learner.steps
        self.stats = live.buffer.stats()


def run(config: RunConfig, start: Start = Start.NEW) -> Outcome:
    training = Training.of(config)
    with RunDirectory.open(config.run.folder, config.run.name, config, start) as folder:
        store = CheckpointStore(folder.checkpoints, Identity(folder.uuid, training.hashes))
        with SerialRun(training, folder, store, store.load() if folder.resumed else None) as live:
            for _ in live.run():
                pass
            return Outcome(live)


def are_equal(one: Outcome, other: Outcome) -> bool:
    return one.steps == other.steps and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(folder: Path) -> Outcome:
    return run(config_of(folder, "first", env_steps=400))


def test_a_run_leaves_records_and_a_checkpoint(folder: Path, first: Outcome):
    assert first.steps > 5
    assert first.stats.env_steps >= 400
    path = folder / "first"
    status = RunStatus.read(path)
    assert (status.ended, status.clocks.learner_steps) == ("finished", first.steps)
    assert status.clocks.env_steps == first.stats.env_steps
    names = {name for row in read_rows(path / "metrics.jsonl") for name in row.values}
    assert {"learner/loss", "learner/updates", "experience/rows", "race/time_s/loop/evaluation"} <= names
    assert [each.name for each in (path / "checkpoints").iterdir()] == ["checkpoint-000001"]


def test_equal_seeds_give_equal_runs(folder: Path, first: Outcome):
    assert are_equal(first, run(config_of(folder, "second", env_steps=400)))
    assert not are_equal(first, run(config_of(folder, "third", env_steps=400, seed=4)))


def test_what_was_saved_is_there_again(folder: Path, first: Outcome):
    training = Training.of(config_of(folder, "first", env_steps=400))
    with RunDirectory.open(folder, "first", training.config, Start.RESUME) as directory:
        store = CheckpointStore(directory.checkpoints, Identity(directory.uuid, training.hashes))
        with SerialRun(training, directory, store, store.load()) as live:
            restored = Outcome(live)
            live.buffer.ring.remove()
    assert are_equal(first, restored)
    assert restored.stats._replace(ring_uuid="", collectors=()) == first.stats._replace(ring_uuid="", collectors=())


class FilledDisk(Disk):
    """A disk that is full from time to time."""

    is_full = True

    def write(self, path: Path, data: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(path, data)


def test_a_full_disk_costs_checkpoints_and_never_the_run(folder: Path, caplog: pytest.LogCaptureFixture):
    config = config_of(folder, "full", env_steps=100_000)
    config = config.replace(training=config.training.replace(checkpoint_s=0.01))
    training, disk = Training.of(config), FilledDisk()

    def failures() -> int:
        return sum("no checkpoint now" in record.message for record in caplog.records)

    with RunDirectory.open(folder, "full", config, Start.NEW) as directory:
        store = CheckpointStore(directory.checkpoints, Identity(directory.uuid, training.hashes), disk=disk)
        with SerialRun(training, directory, store) as live:
            with pytest.raises(NotSavedError, match="without a last checkpoint: .* since checkpoint-000001") as end:
                for news in live.run():
                    disk.is_full = failures() < 2
                    if news.saved is not None:
                        disk.is_full = True
                        live.stop()
            left, ring = Outcome(live), live.buffer.ring.directory
        assert store.names() == ["checkpoint-000001"]
    assert failures() == 3
    assert "Make room on that disk" in caplog.text
    assert "goes on" not in caplog.text
    assert f"tmrl-ray train -c {folder / 'full' / 'config.yaml'} --resume" in str(end.value)
    assert ring.exists()
    assert RunStatus.read(folder / "full").ended is None
    told = [row.values for row in read_rows(folder / "full" / "metrics.jsonl")]
    assert [row["checkpoint/failures"] for row in told if "checkpoint/failures" in row][-1] == 3
    resumed = run(config_of(folder, "full", env_steps=left.stats.env_steps + 100), Start.RESUME)
    assert resumed.stats.env_steps >= left.stats.env_steps + 100
    assert not ring.exists()
