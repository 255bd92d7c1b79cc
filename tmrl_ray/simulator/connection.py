"""The server's end of a connection: buffered reads with deadlines, and the reasons for which a wait ends early.

While the game stands still for its client, two more things can happen: somebody else connects (the newer client gets
the game), or the server is told to stop. Each is an exception here, so that the code that speaks the protocol reads
as if it were alone with its client.
"""

from __future__ import annotations

import select
import selectors
import socket
import time
from typing import NoReturn

RECEIVE_BYTES = 65_536
HALF_MESSAGE_S = 5.0
"""How long the rest of a message may take: a client may think for minutes, but not in the middle of a word."""
SEND_S = 10.0
"""How long a client may leave its end of the line full."""
_PEEK_EVERY_S = 0.25


class SessionEnded(Exception):
    """The conversation with this client is over. What it says is for the log."""


class ClientLeft(SessionEnded):
    """The client closed the connection, said SHUTDOWN, or vanished."""


class ClientReplaced(SessionEnded):
    """Another client connected."""


class ClientTooSlow(SessionEnded):
    """The client did not answer in time, or stopped in the middle of a message."""


class ClientTalksNonsense(SessionEnded):
    """The client sent what the protocol does not allow, so that nobody knows where the next message begins."""


class ServerStopped(SessionEnded):
    """The server was told to stop."""


class StopSignal:
    """Wakes whoever waits on sockets. ``stop`` may be called from any thread, more than once."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.stopped = False

    @property
    def reader(self) -> socket.socket:
        """Becomes readable when the server is to stop."""
        return self._reader

    def stop(self) -> None:
        """Ask the server to stop."""
        if not self.stopped:
            self.stopped = True
            self._writer.send(b"\0")

    def close(self) -> None:
        """Close both ends; nobody waits any more."""
        self._reader.close()
        self._writer.close()


class Connection:
    """One client.

    Args:
        client: the accepted socket; it belongs to the connection from now on.
        listener: where the next client would knock.
        stop: ends every wait.
    """

    def __init__(self, client: socket.socket, listener: socket.socket, stop: StopSignal) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._client = client
        self._listener = listener
        self._stop = stop
        self._selector = selectors.DefaultSelector()
        for watched in (client, listener, stop.reader):
            self._selector.register(watched, selectors.EVENT_READ)
        self._buffer = bytearray()
        self._position = 0

    def close(self) -> None:
        """Close the socket and the selector."""
        self._selector.close()
        self._client.close()

    def read(self, length: int, deadline: float) -> memoryview:
        """Return the next ``length`` bytes, valid until the next read.

        Args:
            length: how many.
            deadline: on ``time.monotonic``; the first byte must be there by then.

        Raises:
            SessionEnded: they will not come.
        """
        if len(self._buffer) - self._position < length:
            self._fill(length, deadline)
        start = self._position
        self._position += length
        return memoryview(self._buffer)[start : self._position]

    def _fill(self, length: int, deadline: float) -> None:
        # A new buffer each time: views of the old one may still be held.
        self._buffer = bytearray(memoryview(self._buffer)[self._position :])
        self._position = 0
        begun = bool(self._buffer)
        if begun:
            deadline = min(deadline, time.monotonic() + HALF_MESSAGE_S)
        while len(self._buffer) < length:
            self._wait(deadline, selectors.EVENT_READ)
            self._receive()
            if not begun and 0 < len(self._buffer) < length:
                begun = True
                deadline = min(deadline, time.monotonic() + HALF_MESSAGE_S)

    def _receive(self) -> None:
        try:
            data = self._client.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ClientLeft(f"the connection broke: {error}") from error
        if not data:
            raise ClientLeft("the client closed the connection")
        self._buffer += data

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``.

        Raises:
            SessionEnded: the client does not take it.
        """
        rest = memoryview(data)
        deadline = time.monotonic() + SEND_S
        while rest:
            try:
                rest = rest[self._client.send(rest) :]
            except BlockingIOError:
                self._wait(deadline, selectors.EVENT_WRITE)
            except OSError as error:
                raise ClientLeft(f"the connection broke: {error}") from error

    def _wait(self, deadline: float, event: int) -> None:
        """Wait until the client's socket is ready for ``event``."""
        if event == selectors.EVENT_WRITE:
            self._selector.modify(self._client, event)
        try:
            ready = self._ready(max(0.0, deadline - time.monotonic()))
        finally:
            if event == selectors.EVENT_WRITE:
                self._selector.modify(self._client, selectors.EVENT_READ)
        if self._client in ready:
            return
        doing = "took nothing of what was sent to it" if event == selectors.EVENT_WRITE else "sent nothing"
        raise ClientTooSlow(f"the client {doing} until the deadline, with {len(self._buffer)} bytes of a message here")

    def _ready(self, timeout_s: float) -> set[object]:
        """Return the sockets that are ready; raise when it is time to leave the client."""
        ready: set[object] = {key.fileobj for key, _ in self._selector.select(timeout_s)}
        if self._stop.reader in ready:
            raise ServerStopped("the server is stopping")
        if self._listener in ready:
            raise ClientReplaced("another client connected")
        return ready

    def pause(self, seconds: float) -> None:
        """Say nothing for so long; what the client sends meanwhile waits.

        Raises:
            SessionEnded: another client came, or the server stops.
        """
        self._selector.unregister(self._client)
        try:
            self._ready(seconds)
        finally:
            self._selector.register(self._client, selectors.EVENT_READ)

    def fall_silent(self) -> NoReturn:
        """Do nothing any more, with the connection open, until the server stops: the game hangs."""
        while not self._stop.stopped:
            select.select([self._stop.reader], [], [])
        raise ServerStopped("the server is stopping, its game hung on purpose")

    def wait_for_end(self) -> NoReturn:
        """Wait while the game has nothing to say and hears nothing; what the client sends stays in the socket.

        Raises:
            SessionEnded: always, sooner or later: the client left, another one came, or the server stops.
        """
        self._selector.unregister(self._client)
        while True:
            self._ready(_PEEK_EVERY_S)
            try:
                gone = not self._client.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                gone = False
            except OSError as error:
                raise ClientLeft(f"the connection broke: {error}") from error
            if gone:
                raise ClientLeft("the client closed the connection while the game stood still")
