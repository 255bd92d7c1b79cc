"""A server that is treated badly for a long time keeps its files and its memory."""

from __future__ import annotations

import gc
import logging
import random
import socket
import struct
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.simulator import connection
from tmrl_ray.simulator.server import GameServer

Serve = Callable[..., GameServer]
MISHAP_SHARE = 0.03
"""How many of the decisions end in a disconnection of some kind."""


class RoughClient:
    """Takes decisions with pictures, rewinds now and then, and leaves in every way that a client can leave."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.client = MinimalClient(port)
        self.states: list[bytes] = []
        self._greet()

    def _greet(self) -> None:
        client = self.client
        assert client.call() == (5,)
        client.send(6, struct.pack("<f", 80.0), 15, 5000, 19, 50)
        client.command("set countdown_speed 8")
        if client.ask(22):
            client.command("map flat")
        client.send(5)

    def decide(self) -> None:
        """Play one decision, or a mishap."""
        client, source = self.client, self.random
        while (call := client.call())[0] != 1:
            client.send(call[0])
        client.send(9, 8, 6, struct.pack("<f", 0.0), 17, 64, 64, 1)
        state = client.read(client.read_int())
        assert client.call() == (4,)
        client.read(64 * 64 * 4)
        if source.random() < 0.05:
            self.states = [*self.states[-20:], state]
        if self.states and source.random() < 0.1:
            target = source.choice(self.states)
            client.send(7, len(target), target)
            assert client.state() == target
        if source.random() < 0.01:
            client.send(source.choice([11, 12, 16 << 8, -1]))
        if source.random() < MISHAP_SHARE:
            self._leave()
            return
        client.send(10, bytes(source.choices((0, 1), k=4)), 6, struct.pack("<f", 80.0), 4)

    def _leave(self) -> None:
        client, source = self.client, self.random
        match source.randrange(6):
            case 0:
                client.send(13)
            case 1:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 2:
                client.send(source.randbytes(source.randrange(1, 4000)))
            case 3:
                client.send(7, 8392, bytes(source.randrange(8392)))
            case 4:
                client.send(14, 2**31 - 1)
            case 5:
                client.send(*[9] * 20)
        newer = MinimalClient(self.port) if source.random() < 0.3 else None
        client.sock.close()
        self.client = newer or MinimalClient(self.port)
        self._greet()


def soak(port: int, decisions: int) -> tuple[list[float], list[float], int]:
    """Play decisions; return times in minutes and the memory in MB at them, and the files open beside one client."""
    process = psutil.Process()
    rough = RoughClient(port, seed=5)
    minutes, megabytes = [], []
    for i in range(decisions):
        rough.decide()
        if i % (decisions // 100) == 0:
            minutes.append(time.monotonic() / 60)
            megabytes.append(process.memory_info().rss / 2**20)
    gc.collect()
    files = process.num_fds()
    rough.client.sock.close()
    return minutes, megabytes, files


def run_soak(serve_game: Serve, monkeypatch: pytest.MonkeyPatch, decisions: int) -> tuple[list[float], list[float]]:
    monkeypatch.setattr("tmrl_ray.simulator.session.HALF_MESSAGE_S", 0.02)
    monkeypatch.setattr(connection, "HALF_MESSAGE_S", 0.02)
    # pytest keeps every record of a log, which would be the memory that is measured here.
    for name in ("session", "server", "instance"):
        monkeypatch.setattr(logging.getLogger(f"tmrl_ray.simulator.{name}"), "disabled", True)
    server = serve_game(track="flat")
    *_, before = soak(server.port, decisions // 5)
    minutes, megabytes, after = soak(server.port, decisions)
    assert after <= before, "files were left open"  # other tests of this process may have closed theirs
    assert server.error is None
    return minutes, megabytes


def test_a_thousand_rough_decisions(serve_game: Serve, monkeypatch: pytest.MonkeyPatch):
    _, megabytes = run_soak(serve_game, monkeypatch, 1000)
    assert megabytes[-1] - megabytes[len(megabytes) // 4] < 8


@pytest.mark.slow
def test_fifty_thousand_rough_decisions(serve_game: Serve, monkeypatch: pytest.MonkeyPatch):
    """Half a minute: over less, a page more or less would be a slope of megabytes a minute."""
    minutes, megabytes = run_soak(serve_game, monkeypatch, 50_000)
    quarter = len(minutes) // 4
    slope = np.polyfit(np.array(minutes[quarter:]) - minutes[quarter], megabytes[quarter:], 1)[0]
    assert slope < 1.0, f"{slope:.2f} MB a minute"
