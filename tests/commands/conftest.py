"""What tests of several commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tmrl_ray.service import compile_kernels
from tmrl_ray.simulator.server import GameServer, ServerSettings


@pytest.fixture(scope="package")
def server() -> Iterator[GameServer]:
    """A simulated game on a free port, with the track ``loop``, that keeps no client waiting for the compiler."""
    compile_kernels()
    with GameServer(ServerSettings(track="loop"), port=0) as running:
        yield running
