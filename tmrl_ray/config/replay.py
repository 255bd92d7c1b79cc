"""Settings of the experience: how much is kept, what is drawn from it, and how often.

Defaults are those of the public TMNF agents where these exist.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.config.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
_SURE_TO_BE_THERE = 0.9
"""Share of a full window: chunks leave as a whole, short ones take more room, and races for testing may be long."""


class WindowSettings(Settings):
    """How much experience is kept from a number of env steps on."""

    from_env_steps: NonNegativeInt = 0
    """Env steps of the run from which on this holds, until the next window."""
    rows: Annotated[int, Field(ge=512)] = 50_000
    """Decisions that are kept; older ones leave, a whole chunk at a time."""
    learn_start_rows: PositiveInt = 20_000
    """Decisions that must be there before anything is drawn, those that are kept for testing not counted."""


class PrioritySettings(Settings):
    """Prioritised drawing (Schaul et al. 2016): rows whose value was misjudged are drawn more often."""

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Rows are drawn in proportion to priority ** alpha."""
    beta: ScheduleSettings = ScheduleSettings.constant(1.0)
    """How much of the bias is taken back by the weights, over env steps: weight = (rows * probability) ** -beta, over
    the largest of the batch."""
    epsilon: PositiveFloat = 0.002
    """Added to the size of each temporal difference error to make a priority, in units of the return."""
    new_rows: Literal["maximum", "mean", "td_error"] = "maximum"
    """Priority of rows that were never drawn. maximum: the largest ever given. mean: ``mean_factor`` times the mean
    of what rows are drawn in proportion to. td_error: by the collector's own error; the maximum where it has none."""
    mean_factor: PositiveFloat = 2.0
    """See ``new_rows``."""
    first: PositiveFloat = 1.0
    """Priority of rows that come before there is any other."""
    update_below_clock: PositiveInt | None = 100
    """Only draws with an earlier clock in their mini-race change priorities: near its end every value is small. null:
    all draws."""


class MiniRaceSettings(Settings):
    """Mini-races (Linesight): values look a fixed time ahead, and each draw stands at a random point of that time."""

    oversample_long_steps: NonNegativeInt = 40
    """Decisions at the beginning that are drawn twice as often as others, less the next setting: there values look
    far ahead."""
    oversample_maximum_steps: NonNegativeInt = 5
    """How much further the very beginning is favoured, where the agent always is when it drives."""

    @model_validator(mode="after")
    def _maximum_within_long(self) -> Self:
        if self.oversample_maximum_steps > self.oversample_long_steps:
            raise ValueError(
                f"oversample_maximum_steps = {self.oversample_maximum_steps} is a part of oversample_long_steps = "
                f"{self.oversample_long_steps} and cannot be larger"
            )
        return self


class ShapingSettings(Settings):
    """Shaping by a potential (Ng et al. 1999): draws the car to the line without changing what is best."""

    ahead_weight: float = 0.0
    """For heading along the line, besides being near it."""


class AugmentationSettings(Settings):
    """What is done to drawn pictures, so that the network cannot rely on what does not matter."""

    shift_pixels: Annotated[int, Field(ge=0, le=64)] = 0
    """Pictures are shifted by up to so many pixels each way, edges repeated; 0: not."""
    mirror_share: Share = 0.0
    """Share of the draws in which left and right are exchanged: picture, floats and action."""


class DemonstrationSettings(Settings):
    """Races of experts, kept for themselves and mixed into the batches."""

    rows: Annotated[int, Field(ge=256)] = 50_000
    """Decisions that there is room for; nothing leaves, what does not fit is refused."""
    share: ScheduleSettings = ScheduleSettings.constant(0.25)
    """Of each batch, over env steps, at least 0 and below 1; 0: none."""
    dataset: Path | None = None
    """Folder of recorded races, ``<map>/<race>/``: those on the maps of the run are put there when it begins; null:
    demonstrations come from elsewhere."""

    @model_validator(mode="after")
    def _share_is_one(self) -> Self:
        if not all(0 <= share < 1 for _, share in self.share.points):
            raise ValueError("share must be at least 0 and below 1 at every point")
        return self


class ReplaySettings(Settings):
    """The experience, from the collectors' chunks to the learner's batches."""

    windows: Annotated[tuple[WindowSettings, ...], Field(min_length=1)] = (
        WindowSettings(),
        WindowSettings(from_env_steps=5_000_000, rows=100_000, learn_start_rows=75_000),
        WindowSettings(from_env_steps=7_000_000, rows=200_000, learn_start_rows=150_000),
    )
    """How much is kept, in rising order of env steps. Memory for the largest is taken at the start."""
    schedule_speed: PositiveFloat = 1.0
    """Multiplies the env steps of the windows: larger means slower."""
    samples_per_insert: PositiveFloat | None = 32.0
    """How often a decision is drawn on average; null: no limit on either side."""
    limiter_tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Half the limiter's band, as a share of what ``learn_start_rows`` are drawn in all."""
    priorities: PrioritySettings | None = None
    """Prioritised drawing; null: all rows are drawn alike."""
    max_policy_lag: PositiveInt | None = None
    """Decisions of weights that are older by more published versions than this are not taken in; null: all are."""
    test_every: Annotated[int, Field(ge=2)] | None = 20
    """Every so many races of a collector, one is kept for testing and never learned from; null: none."""
    n_steps: Annotated[int, Field(ge=1, le=64)] = 3
    """Decisions in a transition."""
    cut_at_exploration: bool = True
    """A transition ends before a decision that the policy did not hold for the best."""
    cut_off_ends: bool = False
    """Nothing is earned after a cut-off, as after the finish: right where only progress is rewarded. false: values
    go on from what was seen last, where nothing ever corrects them; only mini-races keep them from growing there."""
    mini_race: MiniRaceSettings | None = MiniRaceSettings()
    """Mini-races; null: values look ahead to the end of the race."""
    shaping: ShapingSettings | None = ShapingSettings()
    """Shaping by a potential; null: none."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """What is done to drawn pictures."""
    demonstrations: DemonstrationSettings | None = None
    """Races of experts; null: none."""

    @model_validator(mode="after")
    def _windows_grow(self) -> Self:
        if self.windows[0].from_env_steps != 0:
            raise ValueError("the first of the windows must have from_env_steps = 0")
        for before, after in pairwise(self.windows):
            if not before.from_env_steps < after.from_env_steps:
                raise ValueError(
                    f"the windows' from_env_steps must rise, {after.from_env_steps} follows {before.from_env_steps}"
                )
        return self

    @model_validator(mode="after")
    def _learning_can_start(self) -> Self:
        for window in self.windows:
            train_rows = window.rows if self.test_every is None else window.rows * (1 - 1 / self.test_every)
            most = int(train_rows * _SURE_TO_BE_THERE)
            if window.learn_start_rows > most:
                raise ValueError(
                    f"learn_start_rows = {window.learn_start_rows} may never be reached in a window of {window.rows} "
                    f"rows, some of which are kept for testing while others leave in whole chunks: use at most {most}"
                )
        return self

    @property
    def capacity_rows(self) -> int:
        """Of the largest window."""
        return max(window.rows for window in self.windows)

    def window_at(self, env_steps: int) -> WindowSettings:
        """Return the window that holds after so many env steps."""
        begun = [each for each in self.windows if each.from_env_steps * self.schedule_speed <= env_steps]
        return begun[-1]
