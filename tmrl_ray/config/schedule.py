"""A schedule as a setting: a value that changes with the number of env steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tmrl_ray import schedules
from tmrl_ray.config.settings import Settings

_FUNCTIONS = {"linear": schedules.linear, "log_linear": schedules.log_linear, "steps": schedules.steps}


class ScheduleSettings(Settings):
    """A value over env steps. A bare number stands for a value that never changes: ``learning_rate: 0.001``."""

    kind: Literal["linear", "log_linear", "steps"] = "linear"
    """linear: straight lines between the points. log_linear: straight in the logarithm. steps: the last point holds."""
    points: Annotated[tuple[tuple[float, float], ...], Field(min_length=1)]
    """(env step, value), in rising order of the steps; the first value holds before, the last one after them."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_constant(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"points": ((0, value),)}
        if isinstance(value, dict) and isinstance(value.get("points"), list):  # as files have it; pydantic is strict
            points = (tuple(point) if isinstance(point, list) else point for point in value["points"])
            return value | {"points": tuple(points)}
        return value

    @model_validator(mode="after")
    def _points_can_be_joined(self) -> Self:
        for (before, _), (after, _) in pairwise(self.points):
            if not before < after:
                raise ValueError(f"the steps of the points must rise, {after:g} follows {before:g}")
        if self.kind == "log_linear" and min(value for _, value in self.points) <= 0:
            raise ValueError("a log_linear schedule needs values above 0: use a small one, or kind: linear")
        return self

    @classmethod
    def constant(cls, value: float) -> Self:
        """Return the schedule that always has this value."""
        return cls(points=((0, value),))

    def at(self, env_steps: float, *, speed: float = 1.0) -> float:
        """Return the value after ``env_steps``, every point's step multiplied by ``speed``: larger means slower."""
        return _FUNCTIONS[self.kind](self.points, env_steps / speed)
