"""A second client of the protocol, written from its description and from nothing of ours.

It knows numbers and bytes only, so that the server and the client that ships cannot be wrong together. Two ways to
use it: calls one by one, or a transcript, in which each line is bytes in hexadecimal with a direction::

    < 05000000            the game must send exactly this
    > 13000000 32000000   we send this
    < state               the game must send a length and a state of that length; kept in ``states``
    < picture 7 5         the game must send the pixels of a picture; kept in ``pictures``
    > text map flat       we send a length and a text
    > last state          we send a length and the last state of ``states``
"""

from __future__ import annotations

import socket
import struct
import time

PAYLOADS = {1: 4, 2: 8, 3: 8, 4: 0, 5: 0}


class MinimalClient:
    """One connection; a context manager."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self.port = port
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.states: list[bytes] = []
        self.pictures: list[bytes] = []

    def __enter__(self) -> MinimalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError(f"the game closed the connection, {len(data)} of {count} bytes were there: {data.hex()}")
            data += more
        return data

    def read_int(self) -> int:
        """Read an int32."""
        return struct.unpack("<i", self.read(4))[0]

    def send(self, *parts: int | bytes) -> None:
        """Send ints as int32 and bytes as they are, at once."""
        self.sock.sendall(b"".join(struct.pack("<i", part) if isinstance(part, int) else part for part in parts))

    def call(self) -> tuple[int, ...]:
        """Read the game's next call: its id and the ints that follow. Pixels of a picture are not read."""
        kind = self.read_int()
        assert kind in PAYLOADS, f"{kind} is no call"
        size = PAYLOADS[kind]
        return (kind, *struct.unpack(f"<{size // 4}i", self.read(size)))

    def command(self, text: str) -> None:
        """Send a line for the console."""
        self.send(14, len(text.encode()), text.encode())

    def state(self) -> bytes:
        """Ask for the state."""
        self.send(9)
        return self.read(self.read_int())

    def ask(self, kind: int) -> int:
        """Send a question that is answered with an int32."""
        self.send(kind)
        return self.read_int()

    def run_until(self, race_time_ms: int) -> None:
        """Answer calls until the run step of a time, and leave that one open."""
        while (call := self.call()) != (1, race_time_ms):
            assert call[0] != 4, "a picture that nobody asked for"
            assert call[0] != 1 or call[1] < race_time_ms, f"no run step at {race_time_ms}, but at {call[1]}"
            self.send(call[0])

    def is_closed(self, within_s: float = 10.0) -> bool:
        """Whether the game closes the connection; what it still sends is thrown away."""
        deadline = time.monotonic() + within_s
        self.sock.settimeout(within_s)
        while time.monotonic() < deadline:
            try:
                if not self.sock.recv(65536):
                    return True
            except TimeoutError:
                return False
            except ConnectionError:
                return True
        return False

    def is_silent(self, for_s: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        timeout = self.sock.gettimeout()
        self.sock.settimeout(for_s)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
            return False
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(timeout)

    def play(self, transcript: str) -> None:
        """Play a transcript; see the module's docstring."""
        for number, line in enumerate(transcript.splitlines(), start=1):
            words = line.split("#")[0].split()
            if words:
                self._play_line(words, f"line {number}, {line.strip()!r}")

    def _play_line(self, words: list[str], where: str) -> None:
        direction, what = words[0], words[1]
        if direction == ">":
            if what == "text":
                text = " ".join(words[2:]).encode()
                self.send(len(text), text)
            elif what == "last":
                self.send(len(self.states[-1]), self.states[-1])
            else:
                self.send(bytes.fromhex("".join(words[1:])))
        elif what == "state":
            self.states.append(self.read(self.read_int()))
        elif what == "picture":
            self.pictures.append(self.read(int(words[2]) * int(words[3]) * 4))
        else:
            expected = bytes.fromhex("".join(words[1:]))
            assert self.read(len(expected)).hex(" ", 4) == expected.hex(" ", 4), where
