"""Batches a second through the replay actor, and through others': ``python -m tests.bench data_path [--help]``.

A picture of 120x160 and 184 floats, batches of 512, n = 3, prioritised with priorities told, 4 batches a call; once
alone and once with 256 transitions coming in for every 16 batches, which is 32 samples per insert. Compared with

- numpy gather: ``numpy.take`` of the same pictures and floats in this process, the limit;
- object store: the same actor builds the same batches and returns them through Ray;
- TorchRL and Reverb, each in a virtual environment of its own and at the settings that were best here; see ``peers``.

Each holds as many rows, and each is measured in turn in every round; what is told are medians, and the medians of the
ratios within the rounds. One process draws and inserts. ``peers`` are made so::

    python3.11 -m venv torchrl && torchrl/bin/pip install -c constraints.txt torch torchrl ray
    python3.11 -m venv reverb && reverb/bin/pip install 'dm-reverb[tensorflow]==0.14.0'
    python -m tests.bench data_path --torchrl torchrl/bin/python --reverb reverb/bin/python

Aims: 0.8 of the gather, 2.5 times the object store, 5 times Reverb, 50,000 transitions/s taken in, 0.02 remote calls
for each transition that comes in, weights and all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from actors.remote.calls import end_actor, start_actor, wait_until_up
from actors.remote.replay import PEER, ReplayClient, start_replay
from actors.remote.weights import WeightClient, start_weight_store
from actors.weight_store import Weights
from tests.bench.parts.buffers import BatchShell, Gather, ObjectStore, Ours, Sending, setup_of
from tests.bench.parts.cluster import bench_cluster
from tests.bench.peers.workload import (
    BATCH,
    BATCHES_PER_TURN,
    CHUNK,
    DRAW,
    INGEST,
    MIXED,
    Buffer,
    rate_of,
)
from tmrl_ray.config.learner import LearnerSettings

OURS, GATHER, STORE = "ours: replay actor and ring", "numpy gather, the limit", "ours through the object store"
RACE_TRANSITIONS = 600
"""Of a race of 30 s, in which a collector decides 20 times a second."""
CALL_TURNS = 96
"""Turns in which calls are counted."""
STORE_BYTES = 2**30
"""Of Ray's object store: some calls of 82 MB each, and chunks."""

Rate = Callable[[str, float], float]
"""Of a buffer, given what to time and for how long: see ``workload.rate_of``."""


class Peers:
    """Buffers of others, in a process with the Python of their environment."""

    def __init__(self, python: Path, module: str, rows: int, log: Path) -> None:
        command = [str(python), "-m", f"tests.bench.peers.{module}", str(rows)]
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        self.names: list[str] = self._answer()

    def rate(self, name: str, what: str, seconds: float) -> float:
        """See ``workload.rate_of``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}|{what}|{seconds}\n")
        self._process.stdin.flush()
        rate: float = self._answer()
        return rate

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise SystemExit(f"{self._process.args} ended:\n{self._log.read_text()[-2000:]}")


def local(buffer: Buffer) -> Rate:
    """Return how a buffer of this process is timed."""
    return lambda what, seconds: rate_of(buffer, what, seconds)


def compare(rates: dict[str, Rate], rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return the rates of each buffer in interleaved rounds, by what was timed."""
    measured: dict[str, dict[str, list[float]]] = {what: {name: [] for name in rates} for what in (DRAW, MIXED, INGEST)}
    for number in range(rounds):
        names = list(rates) if number % 2 else list(reversed(rates))
        for what, of in measured.items():
            for name in names:
                of[name].append(rates[name](what, seconds))
    return measured


def tell(measured: dict[str, dict[str, list[float]]]) -> None:
    """Print the tables."""
    titles = {DRAW: "batches alone", MIXED: f"batches, and {CHUNK} transitions in for every {BATCHES_PER_TURN}"}
    for what, title in titles.items():
        print(f"\n{title:<52}batches/s  transitions/s   best  ours is, by round")
        ours = measured[what][OURS]
        for name, rates in measured[what].items():
            middle = statistics.median(rates)
            ratio = statistics.median([mine / theirs for mine, theirs in zip(ours, rates, strict=True)])
            print(f"  {name:<50}{middle:9.1f} {middle * BATCH:14,.0f} {max(rates):6.1f}  x{ratio:.2f}")
    print(f"\n{'taken in, chunks of 256, transitions/s':<52}   median           best")
    for name, rates in measured[INGEST].items():
        print(f"  {name:<50}{statistics.median(rates):9,.0f} {max(rates):14,.0f}")


def encoded_before(buffer: Sending, rounds: int) -> list[float]:
    """Return the rates at which the actor takes in chunks that are there already, transitions/s."""
    rates = []
    for _ in range(rounds):
        chunks = [buffer.encoded() for _ in range(24)]
        began = time.perf_counter()
        for chunk in chunks:
            buffer.send(chunk)
        buffer.settle()
        rates.append(len(chunks) * CHUNK / (time.perf_counter() - began))
    return rates


class Counted:
    """An actor whose calls are counted, by method."""

    def __init__(self, handle: Any, calls: Counter[str]) -> None:
        self._handle = handle
        self._calls = calls

    def __getattr__(self, method: str) -> Any:
        called = getattr(self._handle, method)

        class Method:
            @staticmethod
            def remote(*arguments: Any) -> Any:
                self._calls[method] += 1
                return called.remote(*arguments)

        return Method


def calls_per_transition(handle: Any, weights: WeightClient, calls: Counter[str], batches_per_call: int) -> None:
    """Print how many remote calls a learner and a collector make for each transition, and what for.

    Weights are published as often as the learner does by default; the collector has races of 30 s, and looks for
    newer weights at the start of each.
    """
    buffer = Ours(Counted(handle, calls), 0, batches_per_call)
    calls.clear()
    publish_every = LearnerSettings().publish_every
    updates = transitions = version = fetched = 0
    for _ in range(CALL_TURNS):
        buffer.draw_turn()
        buffer.insert()
        updates += BATCHES_PER_TURN
        transitions += CHUNK
        while version < updates // publish_every:
            version += 1
            weights.publish(Weights.of(version, bytes(1000))).result(60.0)
        if transitions // RACE_TRANSITIONS > fetched:
            fetched = transitions // RACE_TRANSITIONS
            newest = weights.fetch_if_newer(0).result(60.0)
            assert newest is not None
            weights.acknowledge(0, newest.version)
    buffer.settle()
    total = sum(calls.values()) / transitions
    parts = ", ".join(f"{name} {count / transitions:.4f}" for name, count in calls.most_common())
    print(f"remote calls per transition, {batches_per_call} batches a call: {total:.4f} ({parts})")


def run(chosen: argparse.Namespace, stack: ExitStack) -> None:
    """Make the buffers, and measure them."""
    directory = stack.enter_context(bench_cluster(object_store_bytes=STORE_BYTES))
    rows, batches = chosen.rows, chosen.batches
    run = directory.name
    ring, store = (setup_of(f"{run}-{kind}", directory, rows) for kind in ("ring", "store"))
    handles = [start_replay(ring.run, ring), start_actor(store.run, "replay", BatchShell, store, batches, groups={
        "ingest": 2, "sample": 1, "checkpoint": 1})]  # fmt: skip
    for handle in handles:
        wait_until_up(handle, PEER)
        stack.callback(end_actor, handle)
        stack.callback(ReplayClient(handle).remove)
    ours = Ours(handles[0], rows, batches)
    rates = {GATHER: local(Gather(rows)), OURS: local(ours), STORE: local(ObjectStore(handles[1], rows, batches))}
    for module, python in (("torchrl_buffer", chosen.torchrl), ("reverb_buffer", chosen.reverb)):
        if python is None:
            print(f"{module.removesuffix('_buffer')} is left out: no Python given in whose environment it is")
            continue
        peers = Peers(python, module, rows, directory / f"{module}.log")
        stack.callback(peers.close)
        rates |= {name: partial(peers.rate, name) for name in peers.names}
    print(
        f"{rows:,} rows, {batches} batches a call, medians of {chosen.rounds} interleaved rounds of {chosen.seconds} s"
    )
    tell(compare(rates, chosen.rounds, chosen.seconds))
    before = encoded_before(ours, chosen.rounds)
    print(f"  {'ours, encoded by somebody else':<50}{statistics.median(before):9,.0f} {max(before):14,.0f}\n")
    calls: Counter[str] = Counter()
    store_of_weights = start_weight_store(run)
    stack.callback(end_actor, store_of_weights)
    for each in (batches, LearnerSettings().draw_batches):
        calls_per_transition(handles[0], WeightClient(Counted(store_of_weights, calls)), calls, each)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchrl", type=Path, help="Python of an environment with torchrl; left out without")
    parser.add_argument("--reverb", type=Path, help="Python of an environment with dm-reverb; left out without")
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="that each is timed in each round, at least")
    parser.add_argument("--batches", type=int, default=4, choices=(1, 2, 4, 8, 16), help="in a call")
    parser.add_argument("--smoke", action="store_true", help="a moment of each, to see that it works")
    chosen = parser.parse_args(arguments)
    if chosen.smoke:
        chosen.rows, chosen.rounds, chosen.seconds = 2048, 1, 0.0
    with ExitStack() as stack:
        run(chosen, stack)


if __name__ == "__main__":
    main()
