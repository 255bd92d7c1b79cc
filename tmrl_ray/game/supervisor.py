"""A game that is there whenever it is needed: launched, connected to, and launched again when it was lost.

::

    with GameSupervisor(simulator_launch(), settings) as supervisor:
        while more_to_do:
            try:
                drive_races(supervisor.game())
            except GameLostError as error:      # the race in progress is lost, the next one is not
                supervisor.lost(error)

Losses are bounded: a game that is lost again and again stops the run with the reason, it does not spin.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.errors import GameGoneError, GameLostError, GameRefusedError, GameUnavailableError
from tmrl_ray.game.connection import Address
from tmrl_ray.game.launch import Launch
from tmrl_ray.game.process import GameProcess
from tmrl_ray.game.session import SocketGame

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaunchPolicy:
    """How often and how fast a lost game is replaced."""

    most: int = 5
    """Losses within ``window_s`` after which we stop."""
    window_s: float = 600.0
    """A game that is lost once an hour may be lost for ever; a real one needs a restart now and then."""
    first_pause_s: float = 1.0
    """The pause after the first loss in the window; each further one doubles it."""
    last_pause_s: float = 60.0
    """The longest pause."""
    stable_s: float = 30.0
    """A connection that lasted so long and broke, while its game runs on, is made again without a new game."""


class GameSupervisor:
    """Keeps one game; see the module for the loop in which it is used.

    Args:
        source: how to start the game, or the address of one that somebody else starts and ends.
        settings: how it is played.
        patience: how long to wait for it.
        player: the account that a real game logs in with; None leaves that to the game.
        policy: how losses are dealt with.
        state_dir: the folder of records and logs of processes.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        source: Launch | Address,
        settings: GameSettings | None = None,
        *,
        patience: Patience | None = None,
        player: str | None = None,
        policy: RelaunchPolicy | None = None,
        state_dir: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.losses = 0
        """How often the game was lost so far."""
        self._source = source
        self._settings = settings
        self._patience = patience
        self._player = player
        self._policy = policy or RelaunchPolicy()
        self._state_dir = state_dir
        self._sleep = sleep
        self._process: GameProcess | None = None
        self._game: SocketGame | None = None
        self._connected_at = 0.0
        self._recent: deque[float] = deque()

    def __enter__(self) -> GameSupervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def game(self) -> SocketGame:
        """Return the game, connected; started first if need be. No map is loaded in a game that is new here.

        Raises:
            GameRefusedError: the game was lost too often.
        """
        while self._game is None:
            try:
                self._game = self._connect()
                self._connected_at = time.monotonic()
            except (GameUnavailableError, GameLostError) as error:
                self._count(error, keep_process=False)
        return self._game

    def lost(self, error: GameLostError) -> None:
        """Give up the game that ``game`` returned; the next call of ``game`` brings another.

        Raises:
            GameRefusedError: it was lost too often.
        """
        lasted_s = time.monotonic() - self._connected_at
        only_connection = isinstance(error, GameGoneError) and lasted_s >= self._policy.stable_s
        self._count(error, keep_process=only_connection and self._process is not None and self._process.is_running())

    def close(self) -> None:
        """Let go of the game, and end it if it was started here."""
        game, self._game = self._game, None
        if game is not None:
            game.close()
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _connect(self) -> SocketGame:
        if isinstance(self._source, Address):
            return SocketGame.connect(self._source, self._settings, patience=self._patience, player=self._player)
        if self._process is None:
            self._process = GameProcess.start(self._source, self._state_dir)
        return self._process.connect(self._settings, patience=self._patience, player=self._player)

    def _count(self, error: GameUnavailableError | GameLostError, *, keep_process: bool) -> None:
        policy, now = self._policy, time.monotonic()
        if keep_process and self._game is not None:
            self._game.close()
            self._game = None
        else:
            self.close()
        self.losses += 1
        self._recent.append(now)
        while now - self._recent[0] > policy.window_s:
            self._recent.popleft()
        times = len(self._recent)
        if times > policy.most:
            raise GameRefusedError(
                f"the game was lost {times} times within {policy.window_s:g} s, the last time: {error}",
                hint="Find out why with: tmrl-ray game check",
            ) from error
        pause_s = min(policy.first_pause_s * 2 ** (times - 1), policy.last_pause_s)
        log.warning("game lost, %s in %g s: %s", "connecting" if keep_process else "starting again", pause_s, error)
        self._sleep(pause_s)
