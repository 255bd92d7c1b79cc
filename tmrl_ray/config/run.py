"""The whole configuration: what one YAML file says."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.config.game import ConnectionSettings, GameSettings, SimulatorSettings
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import (
    CutOffSettings,
    DriverSettings,
    LineSettings,
    MapEntry,
    ObservationSettings,
    PursuitSettings,
    RewardSettings,
)
from tmrl_ray.config.replay import ReplaySettings
from tmrl_ray.config.settings import Settings
from tmrl_ray.config.training import RunSettings, TrainingSettings


class RunConfig(Settings):
    """Everything that can be set. Each component is given its own group."""

    game: GameSettings = GameSettings()
    """How the game is played."""
    connection: ConnectionSettings | None = None
    """The game to connect to; null: the simulator, in this process."""
    simulator: SimulatorSettings = SimulatorSettings()
    """The simulator, where there is no other game."""
    maps: tuple[MapEntry, ...] = (MapEntry(name="loop", map="loop"),)
    """The maps that are driven, in turn."""
    line: LineSettings = LineSettings()
    """The reference line and progress along it."""
    observation: ObservationSettings = ObservationSettings()
    """What the agent sees besides the picture."""
    reward: RewardSettings = RewardSettings()
    """What the agent is rewarded for."""
    cut_offs: CutOffSettings = CutOffSettings()
    """When a race is given up."""
    network: NetworkSettings = NetworkSettings()
    """What the agent thinks with."""
    learner: LearnerSettings = LearnerSettings()
    """How it learns."""
    replay: ReplaySettings = ReplaySettings()
    """What it learns from."""
    collector: CollectorSettings = CollectorSettings()
    """Who drives for it."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How it is measured."""
    training: TrainingSettings = TrainingSettings()
    """When a run ends, and how often it tells of itself."""
    run: RunSettings = RunSettings()
    """What a run is called, and where its files are."""
    driver: DriverSettings = PursuitSettings()
    """Who drives where no agent does."""

    @model_validator(mode="after")
    def _has_pictures_for_a_device(self) -> Self:
        if not self.learner.pictures_on_device:
            return self
        if self.game.frame_size is None:
            raise ValueError("learner.pictures_on_device: there are no pictures, game.frame_size is null")
        if self.training.device == "cpu":
            raise ValueError("learner.pictures_on_device is for a learner on a GPU, and training.device is cpu")
        return self

    @model_validator(mode="after")
    def _imitates_somebody(self) -> Self:
        if self.learner.imitation is not None and self.replay.demonstrations is None:
            raise ValueError(
                "learner.imitation needs demonstrations: set replay.demonstrations.dataset to recorded races"
            )
        return self
