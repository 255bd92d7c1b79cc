"""Who brings a game whenever one is needed, and replaces it when it was lost.

:class:`tmrl_ray.game.supervisor.GameSupervisor` does it for a game behind a connection, ``InProcessGame`` for the
simulator in this process, which has nothing that could be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tmrl_ray.errors import GameLostError
from tmrl_ray.game.interface import Game


class GameKeeper(Protocol):
    """Keeps one game; see :class:`~tmrl_ray.game.supervisor.GameSupervisor` for the loop in which it is used."""

    losses: int

    def game(self) -> Game:
        """Return the game for the next race; started first if need be.

        Raises:
            GameRefusedError: the game was lost too often.
        """

    def lost(self, error: GameLostError) -> None:
        """Give up the game; the next call of ``game`` brings another, after a pause that grows with each loss.

        Raises:
            GameRefusedError: it was lost too often.
        """

    def close(self) -> None:
        """Let go of the game, and end it if it was started here."""


class InProcessGame:
    """A :class:`GameKeeper` of a game that lives in this process.

    Args:
        make: makes the game, when it is first needed.
        prepare: called before each race with the game and the number of the race, from 0, to vary its look for example.
    """

    def __init__(self, make: Callable[[], Game], prepare: Callable[[Game, int], None] | None = None) -> None:
        self.losses = 0
        self._make = make
        self._prepare = prepare
        self._game: Game | None = None
        self._races = 0

    def game(self) -> Game:
        """Return the game, prepared for the next race."""
        if self._game is None:
            self._game = self._make()
        if self._prepare is not None:
            self._prepare(self._game, self._races)
        self._races += 1
        return self._game

    def lost(self, error: GameLostError) -> None:
        """Count it, and make another game for the next race."""
        self.losses += 1
        self.close()

    def close(self) -> None:
        """Let go of the game."""
        game, self._game = self._game, None
        if game is not None:
            game.close()
