"""The processes of games that we started: who they are, whether they run, and their end.

TMLoader and Wine start the game in further processes and leave. What belongs to us is therefore told by a token in
the environment, which every process hands on to those that it starts; a process is never ended by its name. A record
of each start lies in a folder, so that the next run finds and ends what a killed one left behind: those games stand
still in an open call and would do so for a week.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.errors import GameError, GameUnavailableError, InvalidInputError
from tmrl_ray.game.bounded_log import BoundedLog
from tmrl_ray.game.connection import Address
from tmrl_ray.game.launch import Launch
from tmrl_ray.game.session import SocketGame
from tmrl_ray.process_identity import ProcessIdentity, is_running

log = logging.getLogger(__name__)

TOKEN_VARIABLE = "TMRL_RAY_GAME"
"""The variable that marks the processes of a game; its value is new for each start."""
GRACE_S = 5.0
"""How long a process may take to end when it is asked to, and to disappear when it is killed."""
_RECORD_SUFFIX = ".game.json"


@dataclass(frozen=True, slots=True)
class GameRecord:
    """What is written down about a start, for whoever has to clear up."""

    token: str
    port: int
    command: tuple[str, ...]
    parent: ProcessIdentity
    process: ProcessIdentity | None
    """None in the moment in which it is being started."""

    def members(self) -> list[psutil.Process]:
        """Return the running processes of this game: the first one, and all that carry its token.

        Wine's own services, which all games of a prefix share, are left out; they leave with the last game.
        """
        found = {process.pid: process for process in _carriers(self.token)}
        first = self.process.find() if self.process is not None else None
        if first is not None:
            found[first.pid] = first
        return list(found.values())


class GameProcess:
    """A game that was started by us; make one with ``start``."""

    def __init__(
        self, launch: Launch, record: GameRecord, path: Path, popen: subprocess.Popen[bytes], output: BoundedLog
    ):
        self.launch = launch
        self.record = record
        self.output = output
        self._path = path
        self._popen = popen

    @classmethod
    def start(cls, launch: Launch, state_dir: Path | None = None) -> GameProcess:
        """Start a game, after ending those that killed runs have left behind.

        Args:
            launch: what to start.
            state_dir: the folder of records and logs; None: ``default_state_dir()``.

        Raises:
            InvalidInputError: the command is wrong or its program does not exist.
        """
        state_dir = state_dir or default_state_dir()
        state_dir.mkdir(parents=True, exist_ok=True)
        reap_orphans(state_dir)
        words, token = launch.words(), uuid.uuid4().hex
        record = GameRecord(token, launch.port, tuple(words), ProcessIdentity.of(psutil.Process()), None)
        path = state_dir / f"{token}{_RECORD_SUFFIX}"
        _write(path, record)  # before the start: were we killed in between, the token would still lead to the game
        try:
            popen = _spawn(launch, words, token)
        except OSError as error:
            path.unlink()
            raise InvalidInputError(
                f"cannot start {words[0]!r}: {error}", hint="Check the path of the game in its launch settings."
            ) from error
        record = GameRecord(token, launch.port, record.command, record.parent, _identity(popen.pid))
        _write(path, record)
        assert popen.stdout is not None
        output = BoundedLog(state_dir / f"game-{launch.port}.log", popen.stdout)
        return cls(launch, record, path, popen, output)

    @property
    def address(self) -> Address:
        """Where the game listens, or will."""
        return self.launch.address

    def is_running(self) -> bool:
        """Return whether any process of the game runs: the one that we started may have handed over."""
        return self._popen.poll() is None or bool(self.record.members())

    def connect(
        self, settings: GameSettings | None = None, *, patience: Patience | None = None, player: str | None = None
    ) -> SocketGame:
        """Connect to the game as soon as it accepts that, which means that it is ready. ``end`` it yourself.

        Raises:
            GameUnavailableError: it ended, or did not listen within ``launch.ready_s``; with the end of its output.
            GameLostError: it did not say hello.
        """
        patience = (patience or Patience()).model_copy(update={"connect_s": self.launch.ready_s})
        try:
            return SocketGame.connect(
                self.address, settings, patience=patience, player=player, still_running=self.is_running
            )
        except GameUnavailableError as error:
            last_words = self.output.tail().strip()
            raise GameUnavailableError(
                f"{error}\nIts last output, from {self.output.path}:\n{last_words or '(nothing)'}"
            ) from error

    def end(self, grace_s: float = GRACE_S) -> None:
        """End the game with all its processes; harmless when it has ended.

        Raises:
            GameError: a process does not end.
        """
        _end(self.record.members(), grace_s)
        self._popen.wait()
        self.output.join(grace_s)
        self._path.unlink(missing_ok=True)


def default_state_dir() -> Path:
    """Return the folder for records and logs of this user's games."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    return base / "tmrl_ray" / "games"


def recorded_games(state_dir: Path) -> list[GameRecord]:
    """Return the games that were started and of whose end nothing is known; nothing is changed."""
    records = (_read(path) for path in sorted(state_dir.glob(f"*{_RECORD_SUFFIX}")))
    return [record for record in records if record is not None]


def reap_orphans(state_dir: Path, grace_s: float = GRACE_S) -> list[GameRecord]:
    """End the games of runs that were killed, and return their records.

    A game is an orphan when the process that started it, by id and creation time, runs no more.

    Raises:
        GameError: a process does not end.
    """
    reaped = []
    for path in sorted(state_dir.glob(f"*{_RECORD_SUFFIX}")):
        record = _read(path)
        if record is None or record.parent.find() is not None:
            continue
        members = record.members()
        log.warning("ending the game on port %d that a killed run left behind: %d processes", record.port, len(members))
        _end(members, grace_s)
        path.unlink(missing_ok=True)
        reaped.append(record)
    return reaped


def _spawn(launch: Launch, words: list[str], token: str) -> subprocess.Popen[bytes]:
    group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=launch.directory,
        env={**os.environ, **launch.environment, TOKEN_VARIABLE: token},
        **group,  # a group of its own: Ctrl-C in our terminal must not reach the game before we have parked or ended it
    )


def _identity(pid: int) -> ProcessIdentity | None:
    try:
        return ProcessIdentity.of(psutil.Process(pid))
    except psutil.Error:  # it has ended already; ``connect`` will say so
        return None


def _token_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(TOKEN_VARIABLE, "")
    except (psutil.Error, OSError):
        return None


def _carriers(token: str) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        if _token_of(process) == token and is_running(process) and not _is_shared(process):
            yield process


def _is_shared(process: psutil.Process) -> bool:
    """Whether this is Wine's server, or a Windows service that it runs for all games of a prefix."""
    try:
        words = process.cmdline()
    except (psutil.Error, OSError):
        return False
    program = words[0].replace("\\", "/").lower() if words else ""
    return program.endswith("/wineserver") or program == "wineserver" or "/windows/system32/" in program


def _end(processes: list[psutil.Process], grace_s: float) -> None:
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            try:
                ask(process)
            except psutil.NoSuchProcess:
                continue
        processes = _wait(processes, grace_s)
        if not processes:
            return
    raise GameError(f"processes {[process.pid for process in processes]} of a game do not end")


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those that still run after so many seconds."""
    end = time.monotonic() + seconds
    while (processes := [process for process in processes if is_running(process)]) and time.monotonic() < end:
        time.sleep(0.02)
    return processes


def _write(path: Path, record: GameRecord) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> GameRecord | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        process = data["process"]
        return GameRecord(
            str(data["token"]),
            int(data["port"]),
            tuple(data["command"]),
            ProcessIdentity(**data["parent"]),
            None if process is None else ProcessIdentity(**process),
        )
    except FileNotFoundError:  # its owner, or another run that clears up, was faster
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("left alone, not a record of a game: %s (%s)", path, error)
        return None
