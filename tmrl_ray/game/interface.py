"""The seam between whoever drives and the game that is driven.

Two things implement :class:`Game`: ``tmrl_ray.game.session.SocketGame`` talks to a game over TCP (the real one or
``tmrl-ray game serve``), ``tmrl_ray.simulator.embedded.EmbeddedGame`` runs the simulator in this process. Nothing
above this seam knows which of the two it has. ``tests/contract`` holds both to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.game import Camera, GameSettings
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.sim_state import SimState

TICK_MS = 10

__all__ = ["TICK_MS", "Camera", "Game", "GameSettings", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """The game at a decision: everything that may be known before choosing the next inputs."""

    race_time_ms: int
    """Time on the race clock; the finish time, exact to the tick, once ``finished`` is true."""
    state: SimState
    """The simulation state, a private copy."""
    frame: NDArray[np.uint8] | None
    """(H, W) grey or (H, W, 4) BGRA, top row first; None when the settings ask for no picture."""
    checkpoints_passed: int
    """Checkpoints passed so far, the finish included."""
    checkpoints_total: int
    """Checkpoints of all laps, the finish included."""
    finished: bool
    """True on the moment at which the finish was crossed; the race is over and ``step`` may not be called."""


class Game(Protocol):
    """One instance of the game, at the level of decisions.

    The loop in which it is used::

        game.load_map("hairpin")
        moment = game.start_race()
        while not moment.finished:
            moment = game.step(choose(moment))

    Every call raises a :class:`~tmrl_ray.errors.GameError` whose class says what to do about it.
    """

    settings: GameSettings

    def load_map(self, name: str) -> None:
        """Load a map (a track's name, or a path as the game knows it). Does nothing when it is loaded already.

        Raises:
            GameRefusedError: the game has no such map.
        """

    def start_race(self, state: bytes | None = None) -> Moment:
        """Start a race from the start line at race time 0, or from a saved ``state``, and return its first moment."""

    def step(self, inputs: Inputs) -> Moment:
        """Hold ``inputs`` for one decision period and return the next moment.

        The period ends early only at the finish.
        """

    def close(self) -> None:
        """Let go of the game. A game that this object started is ended; any other is left running."""
