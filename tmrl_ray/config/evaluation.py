"""Settings of the evaluation: greedy races that are only measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from tmrl_ray.config.settings import Settings


class EvaluationSettings(Settings):
    """Greedy races from the start line, with fixed weights, which are never learned from."""

    races: PositiveInt = 10
    """Races on each map in one evaluation."""
    every_s: PositiveFloat = 60.0
    """Time from the start of one evaluation to that of the next; it begins when there are newer weights."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals of the finish rate and of the mean time."""
    keep: PositiveInt = 3
    """How many of the best races of each map, and of the best evaluations, are kept as files."""
    video: bool = True
    """Whether the best race of each map is filmed when the run ends; in the simulator only."""
    alarm: bool = True
    """Whether to raise an alarm when the finish rate collapses: its interval lies below that of the best evaluation."""
