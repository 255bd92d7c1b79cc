"""What a run asks Ray for, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from actors.remote import collector, evaluator, replay
from tmrl_ray import learner_keeper
from tmrl_ray.training import Training, device_of


@dataclass(frozen=True)
class Reservation:
    """Actors of one kind, each of which reserves the same."""

    actor: str
    count: int
    cpus: float
    gpus: float = 0.0
    games: int = 0
    """Of Ray's resource ``game``."""


def reservations(training: Training) -> list[Reservation]:
    """Return what the actors of a run reserve."""
    config = training.config
    settings, device = config.collector, device_of(config.training.device)
    return [
        Reservation("learner", 1, learner_keeper.CPUS, gpus=float(device.type == "cuda")),
        Reservation("replay", 1, replay.CPUS),
        Reservation("weights", 1, 0.0),
        Reservation("control", 1, 0.0),
        Reservation("evaluator", 1, evaluator.CPUS, games=1),
        Reservation("collector", settings.count, collector.CPUS * settings.games, settings.gpus, games=settings.games),
    ]
