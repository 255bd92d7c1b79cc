"""A whole run on Ray that drives in the simulator, tiny, with the journal; and a loop that lets it go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import tmrl_ray.cluster
import tmrl_ray.learner_keeper
from tests.actors.remote_parts import PATIENCE_S
from tests.faults.faulty_run import make_collectors, make_evaluator, make_learner
from tests.faults.journal import Journal
from tmrl_ray.cluster import ClusterRun, ClusterStatus
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.replay import ReplaySettings, WindowSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.training import TrainingSettings
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.serial import News
from tmrl_ray.training import Training

CONFIG = RunConfig(
    game=GameSettings(frame_size=None),
    # 0.5 MB of weights: more than what Ray sends along with a call
    network=NetworkSettings(float_hidden=192, head_hidden=192, quantile_embedding=32),
    learner=LearnerSettings(batch_size=32, quantiles=4, draw_batches=2, publish_every=5),
    replay=ReplaySettings(
        windows=(WindowSettings(rows=150_000, learn_start_rows=512),),
        samples_per_insert=1.0,
        test_every=None,
        mini_race=None,
        shaping=None,
    ),
    collector=CollectorSettings(count=1, flush_s=0.5, weights_at="decision"),
    evaluation=EvaluationSettings(races=1, every_s=3.0),
    training=TrainingSettings(checkpoint_s=4.0, metrics_s=1.0, device="cpu"),
)


class Started:
    """A folder of runs, and what is needed to go on with its only run."""

    def __init__(self, folder: Path, config: RunConfig = CONFIG) -> None:
        self.folder = folder
        self.training = Training.of(config)
        self.journal = Journal(folder / "journal", self.training.format)

    def open(self, start: Start) -> tuple[RunDirectory, CheckpointStore]:
        run = RunDirectory.open(self.folder, "faulty", self.training.config, start)
        return run, CheckpointStore(run.checkpoints, Identity(run.uuid, self.training.hashes))


class Watched:
    """A run whose loop goes on while something is waited for."""

    def __init__(self, cluster: ClusterRun) -> None:
        self.cluster = cluster
        self.saved: list[int] = []
        """Learner steps of each checkpoint."""
        self.measured: list[int] = []
        """Versions of the weights of each evaluation."""
        self._news = cluster.run()

    def until(self, holds: Callable[[ClusterStatus], object], *, within_s: float = PATIENCE_S) -> ClusterStatus:
        """Let the run go on until something holds, or fail."""
        end_s = time.monotonic() + within_s
        status = None
        while True:
            self._take(next(self._news))
            try:
                status = self.cluster.status()
                if holds(status):
                    return status
            except PeerUnavailableError:
                pass
            assert time.monotonic() < end_s, f"not within {within_s} s: {status}"

    def go_on(self, seconds: float) -> None:
        """Let the run go on for a while, whoever answers."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._take(next(self._news))

    def finish(self) -> None:
        self.cluster.stop()
        for news in self._news:
            self._take(news)

    def _take(self, news: News) -> None:
        if news.saved is not None:
            self.saved.append(news.saved.clocks.learner_steps)
        if news.evaluation is not None:
            self.measured.append(news.evaluation.version)


@contextmanager
def faults_on_demand(journal: Journal) -> Iterator[None]:
    """Let runs that are started in here keep the journal, and fail when they are told to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tmrl_ray.cluster, "make_collectors", partial(make_collectors, journal.folder))
        patch.setattr(tmrl_ray.cluster, "make_evaluator", partial(make_evaluator, journal.folder))
        patch.setattr(tmrl_ray.learner_keeper, "make_learner", partial(make_learner, journal.folder))
        patch.setattr(tmrl_ray.learner_keeper, "MOST_CRASHES", 100)  # so many rows share one run
        yield
