"""Serving simulated games over TCP: what ``tmrl-ray game serve`` runs.

Each instance is a game with a port of its own and a thread of its own. The protocol is a conversation in which the
game stands still whenever its client thinks, so a thread that blocks says it best; there is one wait for each
message, and nothing to do in between. Threads of one process share one core: many instances at full speed want a
process each, one process with several instances is for few cores and for tests.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.protocol import DEFAULT_PORT
from tmrl_ray.simulator.connection import ClientLeft, Connection, ServerStopped, SessionEnded, StopSignal
from tmrl_ray.simulator.faults import Fault, GameExit
from tmrl_ray.simulator.instance import SimulatedGame
from tmrl_ray.simulator.library import load_track, track_names
from tmrl_ray.simulator.look import Look
from tmrl_ray.simulator.session import TIMEOUT_CEILING_MS, Session
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning

log = logging.getLogger(__name__)

BACKLOG = 128
RETRY_S = 0.5
"""Pause after a failure to accept: without files left, the client would knock again and again."""
EXIT_STATUS = 3
"""Exit status of a process whose game was told to exit by a fault."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What is served, and where."""

    track: str | None = None
    """The map that is loaded at the start, as a track's name or the path of a track file; None: begin in the menus."""
    port: int = DEFAULT_PORT
    """The first instance's port, the others take the ports after it; 0: any free ports."""
    instances: int = 1
    host: str = "127.0.0.1"
    """The protocol knows no passwords: whoever reaches the port drives the game."""
    find_track: Callable[[str], Track] = load_track
    """Finds the track that a map's name stands for."""
    tuning: CarTuning = field(default_factory=CarTuning)
    look: Look | None = None
    """Colours and light of the pictures; None: the standard look."""
    scripts: Path = Path()
    """The folder of the console's ``load``."""
    faults: Sequence[Fault] = ()
    """What goes wrong, in every instance."""
    timeout_ceiling_ms: int = TIMEOUT_CEILING_MS
    """The longest silence that a client can ask the game to bear."""


class GameServer:
    """One game on one port, from the moment in which it is made; ``close`` ends it.

    Args:
        settings: what to serve; ``instances`` is not looked at.
        port: where to listen; 0 for any free port.

    Raises:
        InvalidInputError: nobody can listen there, or there is no such track.
    """

    def __init__(self, settings: ServerSettings, port: int) -> None:
        self._settings = settings
        self._game = _new_game(settings)
        self._faults = list(settings.faults)
        self._listener = _listen(settings.host, port)
        self._stop = StopSignal()
        self.port: int = self._listener.getsockname()[1]
        self.exited = False
        """The fault ``exit`` struck: to its clients the game is gone."""
        self.error: BaseException | None = None
        """What ended the game that should not have; None while all is well."""
        self._on_end: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"game-{self.port}", daemon=True)

    def start(self, on_end: Callable[[], None] = lambda: None) -> None:
        """Begin to accept clients; ``on_end`` is called, in the game's thread, once the game has ended."""
        self._on_end = on_end
        self._thread.start()

    def close(self) -> None:
        """End the game, whatever it is doing, and let go of its port."""
        self._stop.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()
        self._stop.close()

    def __enter__(self) -> GameServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while True:
                self._serve_one(self._next_client())
        except ServerStopped:
            log.info("port %d: stopped", self.port)
        except GameExit as fault:
            log.warning("port %d: %s", self.port, fault)
            self.exited = True
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._listener.close()
            self._on_end()

    def _serve_one(self, client: socket.socket) -> None:
        try:
            connection = Connection(client, self._listener, self._stop)
        except OSError as error:  # gone again, or the process has no files left
            client.close()
            log.warning("port %d: a client could not be served: %s", self.port, error)
            return
        log.info("port %d: a client connected", self.port)
        ceiling_ms = self._settings.timeout_ceiling_ms
        try:
            Session(connection, self._game, faults=self._faults, timeout_ceiling_ms=ceiling_ms).run()
        except ServerStopped:
            raise
        except ClientLeft as end:
            log.info("port %d: %s", self.port, end)
        except SessionEnded as end:
            log.warning("port %d: connection closed: %s", self.port, end)
        finally:
            connection.close()

    def _next_client(self) -> socket.socket:
        """Wait for a client; of several that have connected meanwhile, take the newest."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stop.reader, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._stop.reader in ready:
                    raise ServerStopped("the server is stopping")
                newest = None
                while (client := self._accept()) is not None:
                    if newest is not None:
                        newest.close()
                    newest = client
                if newest is not None:
                    return newest

    def _accept(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, ConnectionError):  # nobody, or somebody who left while waiting
            return None
        except OSError as error:
            log.warning("port %d: a client could not be accepted: %s", self.port, error)
            time.sleep(RETRY_S)
            return None


def serve(settings: ServerSettings, on_ready: Callable[[list[int]], None], stop: threading.Event | None = None) -> int:
    """Serve games until ``stop`` is set, or a game exits by a fault.

    Args:
        settings: what to serve, and where.
        on_ready: called once, with the ports, when all of them accept clients.
        stop: ends the serving; without it, an interrupt of the process does.

    Returns:
        The exit status for the process: 0, or ``EXIT_STATUS`` after the fault ``exit``.

    Raises:
        InvalidInputError: a port is taken, or there is no such track.
    """
    stop = stop or threading.Event()
    servers: list[GameServer] = []
    _warm_up(settings)
    try:
        for index in range(settings.instances):
            servers.append(GameServer(settings, settings.port + index if settings.port else 0))
        for server in servers:
            server.start(stop.set)
        on_ready([server.port for server in servers])
        while not stop.wait(1.0):  # waiting in slices keeps the main thread open to signals everywhere
            pass
    finally:
        for server in servers:
            server.close()
    for server in servers:
        if server.error is not None:
            raise server.error
    return EXIT_STATUS if any(server.exited for server in servers) else 0


def _warm_up(settings: ServerSettings) -> None:
    """Play a tick before anybody connects: what is not compiled yet is then, and no client waits for it."""
    game = SimulatedGame(settings.find_track if settings.track else load_track, tuning=settings.tuning)
    game.load_map(settings.track or track_names()[0])
    game.warm_up()


def _new_game(settings: ServerSettings) -> SimulatedGame:
    """Return a game in its menus, or in the race of the settings' track."""
    first = settings.find_track(settings.track) if settings.track is not None else None

    def find_track(name: str) -> Track:
        if first is not None and name in (settings.track, first.name, Path(settings.track or "").stem):
            return first
        return settings.find_track(name)

    game = SimulatedGame(find_track, tuning=settings.tuning, look=settings.look, scripts=settings.scripts)
    if first is not None:
        game.load_map(first.name)
    return game


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        hint = "Choose another address with --host; ports go up to 65535."
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            hint = "Another program, perhaps another game, has the port: choose one with --port. See: tmrl-ray doctor"
        raise InvalidInputError(f"cannot listen on {host}:{port}: {error}", hint=hint) from error
    listener.setblocking(False)
    return listener
