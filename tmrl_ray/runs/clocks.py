"""How far a run is, by each of its clocks: stands in every checkpoint and on every row of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tmrl_ray.config.training import TrainingSettings


class Clocks(NamedTuple):
    """How far a run is."""

    env_steps: int = 0
    """Decisions that were taken in; the step axis of metrics."""
    learner_steps: int = 0
    """Updates of the network, undone ones included."""
    training_hours: float = 0.0
    """Hours in which the run was up, over all of its sessions: not those between a stop and a resume."""

    def are_at_the_end(self, settings: TrainingSettings) -> bool:
        """Return whether a run with these settings ends now by itself."""
        if settings.minutes is not None and self.training_hours * 60 >= settings.minutes:
            return True
        return settings.env_steps is not None and self.env_steps >= settings.env_steps
