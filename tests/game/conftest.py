"""A scripted game: a thread that plays the game's side of a connection, byte by byte.

It is written from the description of the protocol and imports nothing of ours, so that client and game cannot be
wrong together.
"""

import socket
import struct
import threading
from dataclasses import dataclass, field

import pytest


@dataclass
class Peer:
    """The game's end of one connection."""

    sock: socket.socket

    def send(self, *parts):
        """Send ints as int32, bytes as they are, in one piece."""
        self.sock.sendall(b"".join(struct.pack("<i", part) if isinstance(part, int) else part for part in parts))

    def drip(self, data, pause_s, stop):
        """Send one byte at a time."""
        for i in range(len(data)):
            if stop.wait(pause_s):
                return
            self.sock.sendall(data[i : i + 1])

    def read(self, count):
        """Read exactly so many bytes; fewer when the client closes."""
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                return data
            data += more
        return data

    def expect(self, *parts):
        """Read these bytes, and nothing else."""
        wanted = b"".join(struct.pack("<i", part) if isinstance(part, int) else part for part in parts)
        got = self.read(len(wanted))
        assert got == wanted, f"expected {wanted.hex(' ')}, got {got.hex(' ')}"

    def expect_goodbye(self):
        """The client sends SHUTDOWN and closes."""
        self.expect(13)
        assert self.sock.recv(1) == b""


@dataclass
class ScriptedGame:
    """A listening socket whose connections are played by the given scripts, one after the other."""

    scripts: list
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    errors: list = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        from tmrl_ray.game.connection import Address

        return Address("127.0.0.1", self.listener.getsockname()[1])

    def _run(self):
        for script in self.scripts:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(10)
            with sock:
                try:
                    script(Peer(sock))
                except (AssertionError, OSError) as error:
                    self.errors.append(error)
                    return

    def close(self):
        self.stop.set()
        self.thread.join(5)
        self.listener.close()
        assert not self.thread.is_alive(), "the script did not end"
        if self.errors:
            raise self.errors[0]


@pytest.fixture
def scripted_game():
    """Return a function that starts a game with one script, ``script(peer)``, per connection."""
    games = []

    def start(*scripts):
        games.append(ScriptedGame(list(scripts)))
        return games[-1]

    yield start
    for game in games:
        game.close()
