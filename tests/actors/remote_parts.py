"""What the actors of the tests are made of: a cluster of their own, small rings, collectors of toy races."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from actors.buffer_rings import BufferSetup
from actors.collector import Collector
from actors.collector_life import Ports
from actors.remote.calls import ask, find_actor
from actors.remote.replay import PART as REPLAY
from actors.remote.replay import ReplayClient
from actors.remote.weights import PART as WEIGHTS
from actors.remote.weights import WeightClient
from tests.actors.fakes import FORMAT, FakeKeeper, OneActionPolicy, driving
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.replay import ReplaySettings, WindowSettings
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.racing.rollout import Decision
from tmrl_ray.ray_session import started

PATIENCE_S = 120.0
"""What a loaded machine may take before a test gives up."""


@contextmanager
def own_cluster(games: int = 4, cpus: int = 4) -> Iterator[Path]:
    """A cluster of this process; yields its folder, whose name is short since Ray puts sockets there.

    Args:
        games: that may be played.
        cpus: that Ray believes in; more than there are lets more actors start, which share them.
    """
    directory = tempfile.mkdtemp(prefix="r")
    options = {"num_cpus": cpus, "include_dashboard": False, "_temp_dir": directory}
    try:
        with started(games, 150_000_000, **options):
            yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def setup(run: str, directory: Path, *, rows: int = 4099) -> BufferSetup:
    """A buffer of toy rows, on the disk of the test."""
    window = WindowSettings(rows=rows, learn_start_rows=37)
    return BufferSetup(
        run=run,
        settings=ReplaySettings(windows=(window,), samples_per_insert=None, test_every=None),
        format=FORMAT,
        ring_base=directory / "rings",
        directory=directory / "replay",
        max_draw=1024,
        guard_rows=256,
    )


class SlowPolicy(OneActionPolicy):
    """Thinks for as long as a real one."""

    def act(self, frame: np.ndarray | None, floats: np.ndarray) -> Decision:
        time.sleep(0.001)
        return super().act(frame, floats)


def make_collectors(run: str, number: int) -> list[Collector]:
    """A member's only collector, of toy races, made in the process of its actor."""
    sink = ReplayClient.connect(find_actor(run, REPLAY), FORMAT)
    ports = Ports(FakeKeeper(), sink, WeightClient(find_actor(run, WEIGHTS)))
    settings = CollectorSettings(reply_s=5.0, weights_at="decision", flush_s=0.1)
    return [Collector(number, settings, driving(make_policy=SlowPolicy), ports, run_seed=7)]


def process_of(actor: Any) -> int:
    return ask(actor.process_id.remote, "the actor", timeout_s=PATIENCE_S)


def kill_process(actor: Any) -> int:
    """Kill the process of an actor that the test started, as the kernel would when memory is short."""
    pid = process_of(actor)
    os.kill(pid, signal.SIGKILL)
    return pid


def eventually(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until something holds, or fail; somebody who is away for a moment holds nothing."""
    end_s = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except PeerUnavailableError:
            pass
        assert time.monotonic() < end_s, f"not within {within_s} s"
        time.sleep(0.05)


def is_gone(actor: Any) -> bool:
    """Whether an actor answers no more."""
    try:
        process_of(actor)
    except PeerUnavailableError:
        return True
    return False
