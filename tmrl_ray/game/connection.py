"""A TCP connection to a game: whole reads and whole sends, each with a deadline on the monotonic clock.

Everything that can happen to a socket becomes one of three errors here, by what the caller can do about it: nothing
listens (``GameUnavailableError``), the other side is silent (``GameHungError``), it is gone (``GameGoneError``). No
signals and no threads: a connection can be used from any thread, by one at a time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from tmrl_ray.errors import GameGoneError, GameHungError, GameUnavailableError

_SLICE_S = 0.1
"""A wait looks up this often, to see whether its deadline has passed or the game's process has ended."""
_FIRST_BACK_OFF_S = 0.05
_LAST_BACK_OFF_S = 1.0
_BUFFER_BYTES = 64 * 1024


class Address(NamedTuple):
    """Where a game listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Deadline:
    """A moment on the monotonic clock, ``seconds`` from now."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds that are left, negative once it has passed."""
        return self._end - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end


def always() -> bool:
    """Say that the game runs: for games whose process nobody watches."""
    return True


def _connect(address: Address, timeout_s: float) -> socket.socket:
    sock = socket.create_connection(address, timeout=timeout_s)
    if sock.getsockname() == sock.getpeername():  # Linux, a port from its own range: we reached ourselves
        sock.close()
        raise ConnectionRefusedError("connected to itself: nothing listens there")
    return sock


class Connection:
    """A connected socket with a buffer for what arrived early.

    A wait ends at most a tenth of a second after its deadline. A connection closes itself before it raises: what would
    come next makes no sense without what did not come.

    Args:
        sock: the connected socket; it belongs to the connection from now on.
        address: where it leads, for error messages.
        still_running: asked while waiting; false means that the game's process has ended and no answer can come.
    """

    def __init__(self, sock: socket.socket, address: Address, still_running: Callable[[], bool] = always) -> None:
        self.address = address
        self._socket = sock
        self._still_running = still_running
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = self._end = 0
        sock.settimeout(_SLICE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def open(cls, address: Address, timeout_s: float, still_running: Callable[[], bool] = always) -> Connection:
        """Connect, trying again with growing pauses until ``timeout_s`` have passed.

        Raises:
            GameUnavailableError: nothing accepted a connection in time, or the game's process ended before.
        """
        deadline = Deadline(timeout_s)
        pause_s, attempts = _FIRST_BACK_OFF_S, 0
        while True:
            attempts += 1
            try:
                return cls(_connect(address, max(deadline.remaining_s, _SLICE_S)), address, still_running)
            except OSError as error:  # gaierror included: a name server may come back like a game
                reason = error
            if not still_running():
                raise GameUnavailableError(f"the game that should listen on {address} has ended") from reason
            if deadline.remaining_s < pause_s:
                raise GameUnavailableError(
                    f"nothing accepts connections on {address} ({attempts} attempts in {timeout_s:g} s): {reason}",
                    hint="Start a game on that port, then find out more with: tmrl-ray game check",
                ) from reason
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_BACK_OFF_S)

    @property
    def waiting_bytes(self) -> bytes:
        """What has arrived and was not read yet."""
        return bytes(self._buffer[self._start : self._end])

    def send(self, data: bytes | bytearray, deadline: Deadline) -> None:
        """Send all of ``data``.

        Raises:
            GameHungError: the game did not take it before the deadline.
            GameGoneError: the connection ended.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                self._look_up(deadline, "to read what we sent")
            except OSError as error:
                raise self._gone(f"sending: {error}") from error

    def read(self, count: int, deadline: Deadline, what: str) -> memoryview:
        """Return the next ``count`` bytes, a view that holds until the next read.

        Args:
            count: number of bytes, at most 64 KiB.
            deadline: when to give up.
            what: what the bytes are, for the error message.

        Raises:
            GameHungError: they did not arrive before the deadline.
            GameGoneError: the connection ended.
        """
        if self._end - self._start < count:
            self._fill(count, deadline, what)
        start = self._start
        self._start += count
        return memoryview(self._buffer)[start : start + count]

    def read_into(self, target: memoryview, deadline: Deadline, what: str) -> None:
        """Fill all of ``target`` (bytes of any number) with the next bytes; raises like ``read``."""
        early = min(self._end - self._start, len(target))
        target[:early] = memoryview(self._buffer)[self._start : self._start + early]
        self._start += early
        while early < len(target):
            early += self._receive(target[early:], deadline, what)
            if early < len(target):
                self._check(deadline, what)

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        self._socket.close()

    def _fill(self, count: int, deadline: Deadline, what: str) -> None:
        here = self._end - self._start
        self._buffer[:here] = self._buffer[self._start : self._end]
        self._start, self._end = 0, here
        view = memoryview(self._buffer)
        while self._end < count:
            self._end += self._receive(view[self._end :], deadline, what)
            if self._end < count:
                self._check(deadline, what)

    def _receive(self, target: memoryview, deadline: Deadline, what: str) -> int:
        while True:
            try:
                count = self._socket.recv_into(target)
            except TimeoutError:
                self._look_up(deadline, what)
                continue
            except OSError as error:
                raise self._gone(f"waiting for {what}: {error}") from error
            if count == 0:
                raise self._gone(f"waiting for {what}: it closed the connection")
            return count

    def _look_up(self, deadline: Deadline, what: str) -> None:
        if not self._still_running():
            raise self._gone(f"waiting for {what}: its process has ended")
        self._check(deadline, what)

    def _check(self, deadline: Deadline, what: str) -> None:
        if deadline.passed:
            self.close()
            raise GameHungError(f"the game on {self.address} kept us waiting {deadline.seconds:g} s for {what}")

    def _gone(self, reason: str) -> GameGoneError:
        self.close()
        return GameGoneError(f"the game on {self.address} is gone, {reason}")
