"""Servers of simulated games on free ports, one for each test that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.simulator.flat_track import find_track
from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.simulator.server import GameServer, ServerSettings


@pytest.fixture
def serve_game() -> Iterator[Callable[..., GameServer]]:
    """Start a server with these settings, on the tests' tracks; it is ended with the test, and must not have failed."""
    with ExitStack() as stack:
        servers = []

        def start(**settings: object) -> GameServer:
            server = stack.enter_context(GameServer(ServerSettings(find_track=find_track, **settings), 0))
            servers.append(server)
            return server

        yield start
    assert [server.error for server in servers] == [None] * len(servers)


@pytest.fixture
def client(serve_game: Callable[..., GameServer]) -> Iterator[MinimalClient]:
    """A client in the race of the flat track, in the open run step of the countdown's beginning."""
    with MinimalClient(serve_game(track="flat").port) as client:
        client.play("< 05000000 \n > 13000000 32000000 05000000 \n < 01000000 d8f5ffff")
        yield client
