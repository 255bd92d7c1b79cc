"""The plateau breaker: raises the learning rate for a while when the best finish time stands still."""

from __future__ import annotations

from typing import Any

from tmrl_ray.config.learner import PlateauSettings


class PlateauBreaker:
    """Watches the best finish time of evaluations, and says by what to multiply the learning rate.

    Args:
        settings: None: the factor is always 1.
    """

    def __init__(self, settings: PlateauSettings | None) -> None:
        self._settings = settings
        self.best_s: float | None = None
        """The best finish time so far; None before the first finish."""
        self._still_since = 0
        self._raised_at: int | None = None
        self.raises = 0
        """How often the rate was raised."""

    def observe(self, finish_s: float, env_steps: int) -> None:
        """Take notice of a finish time, in seconds, of a race that was driven after ``env_steps``."""
        if self.best_s is None or finish_s < self.best_s:
            self.best_s = finish_s
            self._still_since = env_steps

    def factor(self, env_steps: int) -> float:
        """Return the factor after ``env_steps``; raise it first if the patience is at its end.

        Before the first finish nothing is raised: there is no plateau to leave.
        """
        settings = self._settings
        if settings is None or self.best_s is None:
            return 1.0
        if env_steps - self._still_since >= settings.patience_env_steps:
            self._raised_at = self._still_since = env_steps
            self.raises += 1
        if self._raised_at is None:
            return 1.0
        left = 1.0 - (env_steps - self._raised_at) / settings.length_env_steps
        return float(settings.lr_factor ** max(left, 0.0))

    def state_dict(self) -> dict[str, Any]:
        """Return the state, JSON-able."""
        return {
            "best_s": self.best_s,
            "still_since": self._still_since,
            "raised_at": self._raised_at,
            "raises": self.raises,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.best_s, self._still_since = state["best_s"], state["still_since"]
        self._raised_at, self.raises = state["raised_at"], state["raises"]
