"""How soon weights are with everybody: ``python -m tests.bench weights [--collectors 1 4 8] [--help]``.

26 MB, Linesight's network, are packed and published as the learner does; collectors on the same machine, each a
process, fetch them with the product's fetcher and load them into a network. Told is the time from before the packing
until the last of them acts with the new weights: of all publications, the median and the 95th percentile. Aim: under
100 ms.

That there are newer weights the learner's line writes up beside the ring, and collectors look there every 5 ms, a
tenth of a decision, as with ``collector.weights_at: decision``. Else they do not look before their next race.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ray.actor import ActorHandle
from safetensors.torch import save

from actors.remote.calls import Shell, answer, end_actor, find_actor, start_actor, wait_until_up
from actors.remote.replay import PEER as REPLAY_PEER
from actors.remote.replay import ReplayClient, start_replay
from actors.remote.weights import PART, PEER, WeightClient, start_weight_store
from actors.version_board import VersionBoard
from actors.weight_fetcher import WeightFetcher
from tests.bench.parts.buffers import FORMAT, setup_of
from tests.bench.parts.cluster import bench_cluster
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.iqn.policy import IQNPolicy
from tmrl_ray.learner_line import LearnerLine
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout

LOOK_S = 0.005
"""Between two looks of a collector."""
PAUSE_S = 0.1
PATIENCE_S = 30.0
STORE_BYTES = 512 * 2**20
ROWS = 4096
"""Of a ring that stays empty: the weights' version is written up beside it."""

SETTINGS = NetworkSettings(quantile_embedding=64)
"""Linesight's: 6,578,333 parameters."""


def what_it_sees() -> NetworkIO:
    """Return what goes into the network, and comes out of it."""
    scale = normalisation_of(ObservationLayout())
    return NetworkIO((160, 120), scale.mean, scale.std, ACTION_COUNT)


class Acting(Shell):
    """A collector that only fetches weights."""

    def __init__(self, run: str, number: int, ring: Path) -> None:
        self._policy = IQNPolicy(SETTINGS, what_it_sees(), seed=0)
        self._board = VersionBoard(ring)
        self._fetcher = WeightFetcher(WeightClient(find_actor(run, PART)), self._policy, number, patience_s=PATIENCE_S)

    def acts_at_s(self, version: int) -> float:
        """Return when it acted with a version, by the machine's monotonic clock."""
        while self._policy.version < version:
            self._fetcher.ask(self._board.newest())
            if self._fetcher.future is not None:
                wait([self._fetcher.future], timeout=PATIENCE_S)
                self._fetcher.poll()
            else:
                time.sleep(LOOK_S)
        return time.monotonic()


def measure(line: LearnerLine, actors: Sequence[ActorHandle[Any]], first: int, publications: int) -> list[float]:
    """Return for each publication, the first of which has the version ``first``, the seconds until everybody acted."""
    network = build_network(SETTINGS, what_it_sees(), seed=0)
    taken = []
    for version in range(first, first + publications):
        loading = [answer(partial(actor.acts_at_s.remote, version), "a collector") for actor in actors]
        time.sleep(PAUSE_S)  # until all of them look out for it
        began_s = time.monotonic()
        # as LearnerUpdate.packed_weights does
        data = save({name: each.detach().cpu().contiguous() for name, each in network.state_dict().items()})
        line.publish(version, data)
        taken.append(max(each.result(PATIENCE_S) for each in loading) - began_s)
    return taken[1:]  # the first loads what has never been used


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collectors", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--publications", type=int, default=40)
    parser.add_argument(
        "--smoke", action="store_true", help="one collector and a few publications, to see that it works"
    )
    chosen = parser.parse_args(arguments)
    if chosen.smoke:
        chosen.collectors, chosen.publications = [1], 3
    print("collectors   median ms   p95 ms   best ms")
    with bench_cluster(object_store_bytes=STORE_BYTES) as directory:
        run = directory.name
        store, buffer = start_weight_store(run), start_replay(run, setup_of(run, directory, ROWS))
        wait_until_up(store, PEER)
        wait_until_up(buffer, REPLAY_PEER)
        replay = ReplayClient(buffer)
        line = LearnerLine(replay, WeightClient(store), FORMAT)
        ring = line.ring().directory
        actors: list[ActorHandle[Any]] = []
        published = 0
        try:
            for count in sorted(chosen.collectors):
                while len(actors) < count:
                    number = len(actors)
                    actors.append(start_actor(run, f"acting-{number}", Acting, run, number, ring))
                for actor in actors:
                    wait_until_up(actor, "a collector", timeout_s=300.0)
                taken = [1e3 * each for each in measure(line, actors, 1 + published, chosen.publications)]
                published += chosen.publications
                p95 = np.quantile(taken, 0.95)
                print(f"{count:>10} {statistics.median(taken):>11.1f} {p95:>8.1f} {min(taken):>9.1f}", flush=True)
        finally:
            replay.remove()
            for actor in (*actors, store, buffer):
                end_actor(actor)


if __name__ == "__main__":
    main()
