"""Settings of the collectors: how they explore, where their races start, and how they ship what they see.

Defaults are those of the public TMNF agents where these exist.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.config.settings import Settings


class ExplorationSettings(Settings):
    """How collectors stray from what the policy holds for the best, over env steps of the whole run."""

    epsilon: ScheduleSettings = ScheduleSettings(
        kind="log_linear", points=((0, 1.0), (50_000, 1.0), (300_000, 0.1), (3_000_000, 0.03))
    )
    """Share of the decisions that are left to chance."""
    hold: Annotated[float, Field(ge=1)] = 1.0
    """For how many decisions an action by chance is held, on average, its length drawn geometrically (temporally
    extended epsilon-greedy, Dabney et al. 2021): single decisions hardly move a car."""
    epsilon_boltzmann: ScheduleSettings = ScheduleSettings(kind="log_linear", points=((0, 0.15), (3_000_000, 0.03)))
    """Share of the best action by values to which noise was added."""
    boltzmann_noise: NonNegativeFloat = 0.01
    """Standard deviation of that noise, in units of the return."""
    multipliers: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (1.0,)
    """Both probabilities are multiplied by one of these, in turn by the collector's number."""
    noisy_layers: bool = False
    """Whether the noise of the network's noisy layers acts while exploring."""
    schedule_speed: PositiveFloat = 1.0
    """Multiplies the env steps of the schedules: larger means slower."""
    greedy_until: NonNegativeInt = 0
    """Up to so many env steps nothing is left to chance: a run that begins with pretrained weights then fills its
    buffer with what they drive, until learning starts and beyond."""


class StartSettings(Settings):
    """Where races that explore start: shares of the kinds of start, and how states are kept for them."""

    race_start: NonNegativeFloat = 1.0
    """Share of races from the start line."""
    uniform: NonNegativeFloat = 0.0
    """Share from anywhere along the line that was reached."""
    near_best: NonNegativeFloat = 0.0
    """Share from anywhere on the way of the collector's best race."""
    reverse_curriculum: NonNegativeFloat = 0.0
    """Share from just before the goal, ever farther from it while that succeeds."""
    stretch_m: PositiveFloat = 20.0
    """States are kept evenly over stretches of this length."""
    per_stretch: PositiveInt = 8
    """How many states are kept in each stretch."""
    save_every_ms: Annotated[int, Field(ge=10)] = 500
    """Race time between two states that are saved."""

    @model_validator(mode="after")
    def _some_start(self) -> Self:
        if self.race_start + self.uniform + self.near_best + self.reverse_curriculum <= 0:
            raise ValueError("all shares are 0, so that no race could start: set race_start: 1")
        return self

    @property
    def saves_states(self) -> bool:
        """Whether any race starts elsewhere than at the start line."""
        return self.uniform + self.near_best + self.reverse_curriculum > 0


class CollectorSettings(Settings):
    """The collectors."""

    count: PositiveInt = 1
    """How many there are at first; may be changed while the run goes on."""
    games: PositiveInt = 1
    """Games in each, driven at the same time."""
    device: str = "cpu"
    """Where collectors work out their decisions: cpu, or cuda with a share of a GPU in ``gpus``."""
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of a GPU that each reserves on a cluster: 0.1 lets ten of them use one."""
    exploration: ExplorationSettings = ExplorationSettings()
    """How they explore."""
    starts: StartSettings = StartSettings()
    """Where their races start."""
    weights_at: Literal["race_start", "decision"] = "race_start"
    """When newer weights are fetched: before a race starts, or also in its midst, at a decision."""
    pause_at: Literal["decision", "race_start"] = "decision"
    """Where a collector waits when it is ahead of the learner. A real game that is kept waiting in its race for longer
    than its time-out is lost: use race_start there."""
    flush_s: PositiveFloat | None = 2.0
    """What was seen is sent after this time at the latest; null: only with 256 decisions, or when the race ends."""
    reply_s: PositiveFloat = 30.0
    """After this time without an answer of the buffer, experience is sent again, which does no harm."""
    compress: bool | None = None
    """Whether what was seen travels compressed; null: to a buffer on another machine only."""
    fetch_s: PositiveFloat = 10.0
    """How long a race waits for newer weights before it starts with those that are there."""
    stale_weights_s: PositiveFloat = 600.0
    """A collector that acts with the same weights for so long, while newer ones are there, raises an alarm. Longer than
    a race, in the midst of which weights may not change."""

    @model_validator(mode="after")
    def _share_of_a_gpu(self) -> Self:
        if self.gpus and self.device == "cpu":
            raise ValueError("a share of a GPU is reserved that nobody would use: set device: cuda, or gpus: 0")
        return self
