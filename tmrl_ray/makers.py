"""Collectors, the evaluator and the experience of a run on a cluster, as actors make them in their own processes."""

from __future__ import annotations

from pathlib import Path

from actors.collector import Collector
from actors.collector_life import Ports as CollectorPorts
from actors.evaluator import Evaluator
from actors.race_archive import RaceArchive
from actors.remote.calls import find_actor
from actors.remote.replay import PART as REPLAY
from actors.remote.replay import ReplayClient
from actors.remote.weights import PART as WEIGHTS
from actors.remote.weights import WeightClient
from actors.version_board import VersionBoard
from tmrl_ray.config.run import RunConfig
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.training import Training, device_of


def make_collectors(config: RunConfig, run: str, member: int) -> list[Collector]:
    """Return the collectors of a member of the pool, in its process."""
    training, settings = Training.of(config), config.collector
    replay, weights = find_actor(run, REPLAY), WeightClient(find_actor(run, WEIGHTS))
    if settings.compress is None:
        sink = ReplayClient.connect(replay, training.format)
    else:
        sink = ReplayClient(replay, compress=settings.compress)
    driving = training.driving(device_of(settings.device, setting="collector.device"))
    newest_version = VersionBoard(sink.ring().directory).newest
    return [
        Collector(
            number,
            settings,
            driving,
            CollectorPorts(training.game_keeper(number), sink, weights, newest_version=newest_version),
            run_seed=config.training.seed,
        )
        for number in range(member * settings.games, (member + 1) * settings.games)
    ]


def make_evaluator(config: RunConfig, run: str, best: Path) -> tuple[Evaluator, WeightClient]:
    """Return the evaluator and where it has its weights from, in its process."""
    training = Training.of(config)
    archive = RaceArchive(best, keep=config.evaluation.keep)
    evaluator = Evaluator(
        config.evaluation, training.driving(), training.game_keeper(), archive, run_seed=config.training.seed
    )
    return evaluator, WeightClient(find_actor(run, WEIGHTS))


def newest_experience(checkpoints: Path, identity: Identity) -> Part | None:
    """Return the experience of a run's newest checkpoint; None: there is none yet."""
    store = CheckpointStore(checkpoints, identity, writes=False)
    return store.load().parts["experience"] if store.names() else None
