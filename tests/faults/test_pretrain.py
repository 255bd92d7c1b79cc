"""Rows 34 and 35 of the fault matrix: a worker of a stage that is killed, and an artifact that does not fit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.registry import Announcement, Refusal
from actors.remote.registry import RegistryClient
from learner.pretrained import Injection
from tests.actors.remote_parts import PATIENCE_S, own_cluster
from tests.learner.artifacts import parts_of, write
from tests.learner.drawn import drawn, update_of
from tests.pretrain.written_dataset import write_dataset, write_training
from tmrl_ray.config.pretrain import BCConfig, BCRunSettings, JobSettings
from tmrl_ray.config.pretrained import PretrainedSettings
from tmrl_ray.errors import ArtifactError
from tmrl_ray.pretraining import StageRun
from tmrl_ray.runs.artifact import Artifact, PartKey
from tmrl_ray.runs.rundir import Start

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with own_cluster():
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BCConfig:
    folder = tmp_path_factory.mktemp("pretrain")
    return BCConfig(
        rl_config_path=write_training(folder / "training.yaml"),
        data_dir=write_dataset(folder / "races"),
        epochs=EPOCHS,
        batch_size=40,
        val_fraction=0.2,
        early_stopping=None,
        bc_mode="full_policy",
        device="cpu",
        threads=1,
        job=JobSettings(workers=2, max_failures=2),
        run=BCRunSettings(name="alone", folder=folder / "runs"),
    )


def kill_a_worker(storage: Path, killed: list[int], over: threading.Event) -> None:
    """Wait until a worker has saved an epoch, and kill it; the folder that it saves tells who it is."""
    while not over.wait(0.01):
        saved = sorted(storage.glob("session-*/checkpoint_[0-9]*/checkpoint-*/DONE"))
        if saved:
            killed.append(int(saved[-1].parts[-3].rpartition("_")[2]))
            os.kill(killed[0], signal.SIGKILL)
            return


@pytest.mark.timeout(600)
def test_row_34_a_killed_worker_costs_an_epoch_and_changes_nothing(cluster: None, config: BCConfig) -> None:
    """Pretrain worker SIGKILL: the job goes on from what was saved, at most one report is lost; 60 s."""
    with StageRun.open(config, Start.NEW) as alone:
        list(alone.train())
    together = config.replace(run=config.run.replace(name="together"))
    killed: list[int] = []
    over = threading.Event()
    with StageRun.open(together, Start.NEW) as run:
        killer = threading.Thread(target=kill_a_worker, args=(run.run.path / "ray", killed, over), daemon=True)
        killer.start()
        told = [report.epoch for report in run.train_on_ray()]
        over.set()
        killer.join()
        assert killed, "the job was over before a worker could be killed"
        assert told[-1] == EPOCHS
        again = [epoch for epoch, after in zip(told, told[1:], strict=False) if after <= epoch]
        assert len(again) <= 1  # it went back once at most, to what was saved
        assert run.loop.epoch == len(run.loop.history) == EPOCHS
        # Two workers, one of them killed, learn what one process learns, but for the order in which floats are added.
        losses = [[each["val_loss"] for each in stage.loop.history] for stage in (alone, run)]
        np.testing.assert_allclose(losses[1][:3], losses[0][:3], rtol=1e-3)
        assert losses[1][-1] == pytest.approx(losses[0][-1], abs=0.05)
        result = run.finish()
        artifact = Artifact.read(result.best)
        assert artifact.origin.epochs_trained == EPOCHS
        number = run.announce()
    registry = RegistryClient.find()
    found = registry.newest("together").result(PATIENCE_S)
    assert found is not None
    assert (found.number, Path(found.path)) == (number, result.best.resolve())
    assert registry.newest("together", after=number).result(PATIENCE_S) is None


def test_row_35_an_artifact_that_does_not_fit_is_refused_and_the_learner_goes_on(cluster: None, tmp_path: Path) -> None:
    """Pretrain pushes an incompatible artifact: refused with names and shapes, the learner goes on."""
    update, batch = update_of(), drawn()
    registry, learner, stage = RegistryClient.find(), "a-run", "renamed"
    parts = parts_of(update.online, ("encoder",))
    renamed = dict(parts[PartKey("encoder")])
    renamed["encoder.9.weight"] = renamed.pop("encoder.2.weight")
    paths = [write(tmp_path / "bad", {PartKey("encoder"): renamed}), write(tmp_path / "good", parts)]
    bad, good = (registry.announce(Announcement(stage, "visual", str(path), "", {})) for path in paths)

    def take(number: int) -> None:
        """What a learner does with what is announced."""
        found = registry.newest(stage, after=number - 1).result(PATIENCE_S)
        assert found is not None
        settings = PretrainedSettings(artifact=paths[number - bad])
        try:
            plan = Injection.plan(update.online, settings, decision_period_ms=50, observation="any")
        except ArtifactError as error:
            registry.refuse(Refusal(number, learner, str(error)))
            return
        plan.apply(update.online)

    before = {name: each.clone() for name, each in update.online.state_dict().items()}
    take(bad)
    assert all(torch.equal(before[name], each) for name, each in update.online.state_dict().items())
    update.step(batch, env_steps=0)
    (refusal,) = registry.refusals(stage)
    assert (refusal.number, refusal.learner) == (bad, learner)
    assert "encoder.2.weight is not there" in refusal.reason
    assert "encoder.9.weight is (32, 16, 4, 4), the network has no such tensor" in refusal.reason
    take(good)
    assert len(registry.refusals(stage)) == 1
    assert torch.equal(update.online.encoder[0].weight, before["encoder.0.weight"])
