"""How far a run is, by each of its clocks: stands in every checkpoint and on every row of metrics."""

from __future__ import annotations

from typing import NamedTuple


class Clocks(NamedTuple):
    """How far a run is."""

    env_steps: int = 0
    """Decisions that were taken in; the step axis of metrics."""
    learner_steps: int = 0
    """Updates of the network, undone ones included."""
    training_hours: float = 0.0
    """Hours in which the run was up, over all of its sessions: not those between a stop and a resume."""
