"""A run on a cluster begins with what it waited for, learns from recorded races, and follows what is announced."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from actors.registry import Announcement
from actors.remote.registry import RegistryClient
from tests.integration.test_pretrained_run import AlwaysLeft, config_of, record
from tests.learner.artifacts import parts_of
from tmrl_ray.cluster import ClusterRun, connected
from tmrl_ray.iqn.network import build_network
from tmrl_ray.runs.artifact import Artifact, Origin, PartKey
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.training import Training

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_S = 240.0


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pre-"))  # Ray's sockets have short paths only
    yield path
    shutil.rmtree(path)


def announce(folder: Path, training: Training, name: str, *, renamed: bool = False) -> int:
    """Announce a network of the run's own shape, or one that has other names."""
    parts = parts_of(build_network(training.config.network, training.io, seed=len(name)))
    if renamed:
        head = parts[PartKey("value_head")]
        head["value_head.final.bias"] = head.pop("value_head.last.bias")
    origin = Origin(stage="bc", task="full_policy", run="cloned", epochs_trained=1, epoch=1)
    Artifact(origin, parts).write(folder / name)
    artifact = Artifact.read(folder / name)
    told = Announcement("cloned", "bc", str(folder / name), artifact.architecture_hash, {})
    return RegistryClient.find().announce(told)


def test_a_run_waits_and_follows(folder: Path) -> None:
    """Fault 35 on a whole run: what does not fit is refused with names and shapes, and learning goes on."""
    record(Training.of(config_of(folder, "none")), folder / "races", AlwaysLeft())
    config = config_of(
        folder,
        "run",
        "learner.pretrained={wait_for: cloned, follow: cloned}",
        f"replay.demonstrations={{rows: 256, dataset: {folder / 'races'}}}",
        "training.checkpoint_s=2.0",
        "training.env_steps=null",
        "collector.flush_s=0.5",
        "replay.samples_per_insert=null",
    )
    training = Training.of(config)
    with connected(training, _temp_dir=str(folder / "ray")):
        registry = RegistryClient.find()
        announce(folder, training, "first")
        with RunDirectory.open(folder, "run", config, Start.NEW) as run:
            store = CheckpointStore(run.checkpoints, Identity(run.uuid, training.hashes))
            with ClusterRun(training, run, store) as cluster:
                news = cluster.run()
                unfit = last = None
                end_s = time.monotonic() + PATIENCE_S
                while time.monotonic() < end_s:
                    next(news)
                    if unfit is None and store.names() and cluster.learner.figures.steps > 5:
                        stats = cluster.replay.stats()
                        unfit = announce(folder, training, "unfit", renamed=True)
                    refusals = registry.refusals("cloned")
                    if refusals and last is None:
                        last, steps = announce(folder, training, "last"), cluster.learner.figures.steps
                    if last is not None and _taken_over(store) == _identity(training, folder / "last"):
                        break
                assert stats.demonstration_rows == 120
                (refusal,) = refusals
                assert (refusal.number, refusal.learner) == (unfit, "run")
                assert "value_head.final.bias is (1,), the network has no such tensor" in refusal.reason
                assert cluster.learner.figures.steps > steps
                assert _taken_over(store) == _identity(training, folder / "last")
                assert cluster.learner.restarts == 0


def _taken_over(store: CheckpointStore) -> str | None:
    """Return what the learner of the newest checkpoint took over last."""
    names = store.names()
    return store.load().parts["learner"].values["update"]["taken_over"] if names else None


def _identity(training: Training, path: Path) -> str:
    network = build_network(training.config.network, training.io, seed=0)
    injection = training.injection(network, path)
    assert injection is not None
    return injection.identity
