"""The collector's own temporal difference errors, by which new rows are drawn before anybody has learned from them.

One step, as in Ape-X (Horgan et al. 2018, https://arxiv.org/abs/1803.00933), from the values that the policy had when
it decided: they cost nothing more. Values of a mini-race look a fixed time ahead from wherever the car is, so this
compares horizons that end one decision apart; as a priority, that is near enough. So it is with rewards and discount,
which are those that a run begins with: a collector does not follow their schedules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmrl_ray.config.race import RewardSettings
from tmrl_ray.experience.columns import Array, Columns, HowEnded
from tmrl_ray.racing.reward import weigh, weight_vector


@dataclass(frozen=True)
class OneStepTdErrors:
    """Computes the TD errors of a chunk's rows; see ``Driving.td_errors``."""

    reward: RewardSettings
    """What the terms of the reward are worth."""
    discount: float
    """Of the value after one decision."""

    def __call__(self, columns: Columns) -> Array:
        """Return the errors (rows,): NaN for the last row, and where the policy had no values, or infinite ones."""
        rewards = weigh(columns["terms"], weight_vector(self.reward))
        after = np.append(columns["q_max"][1:], np.float32(np.nan)).astype(np.float64)
        ends = (columns["steps_to_end"] == 1) & (columns["how_ended"] == HowEnded.FINISH)
        after[ends] = 0.0
        errors = rewards + self.discount * after - columns["q_value"]
        errors[-1] = np.nan
        errors[~np.isfinite(errors)] = np.nan
        return errors.astype(np.float32)
