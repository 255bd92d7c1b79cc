"""How many collectors this machine holds: ``python -m tests.bench scale [--collectors 4 8 16 32] [--help]``.

Collectors are Ray actors that replay rows at 60 transitions/s each, a chunk every 2 s, by the product's sender: at
most two in flight, and no more than the credits allow; who may not go on sends what it has, as the product's do. A
learner without an update draws 32 times as much by the product's client, gathers every batch from the ring and tells
priorities. The limiter is on, and both obey it. The ring is as large as the default's at the beginning of a run.

Aims: 99 of 100 questions for rows are answered within 20 ms (also those that were asked ahead, which nobody waits
for), the limiter stays inside its band, anonymous memory of all processes (theirs alone, so without the ring) grows by
less than 1 MB/min after the warm-up, Ray spills nothing to disk, and no collector falls behind.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import ray
from ray._private.internal_api import memory_summary

from actors.draw_messages import Drawn, DrawRequest, NeedMore
from actors.remote.calls import Shell, end_actor, find_actor, start_actor, wait_until_up
from actors.remote.replay import PART, PEER, ReplayClient, start_replay
from actors.sender import ChunkSender
from learner.learner import HELD_BACK_S
from tests.bench.parts.buffers import FORMAT, RECIPE, VALUATION, Sending, judged, made_up_chunks, setup_of
from tests.bench.parts.cluster import bench_cluster
from tests.bench.peers.workload import BATCH, SAMPLES_PER_INSERT
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.replay import WindowSettings
from tmrl_ray.experience.batch_builder import BatchBuilder
from tmrl_ray.experience.chunk import Chunk, ChunkId
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate

RATE = 60
"""Transitions a second of each collector."""
FLUSH_S = 2.0
CHUNK_ROWS = int(RATE * FLUSH_S)
WINDOW = WindowSettings()
LOOK_S = 0.05
"""Between two looks of a collector at its clock."""
BATCHES = LearnerSettings().draw_batches
STORE_BYTES = 2**30
AIMS = {"p99_ms": 20.0, "mb_a_minute": 1.0, "share": 0.98}


class ReplayingCollectors(Shell):
    """Collectors that drive nothing: each sends the same rows again and again, in a thread of its own."""

    def __init__(self, run: str, numbers: Sequence[int]) -> None:
        self._replay = find_actor(run, PART)
        self._chunk = made_up_chunks(1, rows=CHUNK_ROWS)[0]
        for number in numbers:
            threading.Thread(target=self._drive, args=(number,), daemon=True).start()

    def _drive(self, number: int) -> None:
        sender = ChunkSender(ReplayClient(self._replay), number, FORMAT.layout.hash)
        while sender.incarnation is None:
            sender.enlist()
            sender.wait(0.1)
        began_s = sent_s = time.monotonic() - FLUSH_S * np.random.default_rng(number).random()
        driven, held, sequence = int(RATE * (time.monotonic() - began_s)), 0, 0
        while True:
            time.sleep(LOOK_S)
            sender.poll()
            now_s = time.monotonic()
            due = int(RATE * (now_s - began_s)) - driven
            while due and held < CHUNK_ROWS and sender.may_act(held):
                driven, held, due = driven + 1, held + 1, due - 1
            if held and not sender.is_full and (due or held == CHUNK_ROWS or now_s - sent_s >= FLUSH_S):
                identity = ChunkId(number, sender.incarnation, sequence)
                sender.send(self._chunk_of(identity, held))
                sent_s, held, sequence = now_s, 0, sequence + 1
            elif due:
                sender.ask()

    def _chunk_of(self, identity: ChunkId, rows: int) -> Chunk:
        chunk = self._chunk
        end = chunk.leading + rows + chunk.trailing
        columns = {name: values[:end] for name, values in chunk.columns.items()}
        return Chunk(FORMAT, identity, columns, chunk.leading, rows, chunk.trailing)


class StubLearner:
    """Draws and gathers as fast as it may, in a thread of this process; the next rows are asked for ahead."""

    def __init__(self, client: ReplayClient) -> None:
        self.answered_s: list[float] = []
        """From each question that brought rows to its answer."""
        self.waited_s: list[float] = []
        """What of that was waited for."""
        self.samples = 0
        self._client = client
        self._builder = BatchBuilder(RECIPE, RingReader.attach(client.ring().directory, FORMAT))
        self._rng = np.random.default_rng(1)
        self._told: list[PriorityUpdate] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._learn, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw no more."""
        self._stopped = True
        self._thread.join(30.0)

    def _learn(self) -> None:
        asked = self._ask()
        while not self._stopped:
            began_s = time.perf_counter()
            drawn, answered_s = asked.result(60.0)
            waited_s = time.perf_counter() - began_s
            if isinstance(drawn, NeedMore):
                time.sleep(HELD_BACK_S)
                asked = self._ask()
                continue
            self.answered_s.append(answered_s)
            self.waited_s.append(waited_s)
            asked = self._ask()
            for batch in self._builder.batches(drawn.draw, VALUATION):
                self._told.append(judged(batch, self._rng))
                self.samples += BATCH

    def _ask(self) -> Any:
        told, self._told = tuple(self._told), []
        return TimedAnswer(self._client, DrawRequest(BATCHES, BATCH, priorities=told))


class TimedAnswer:
    """An answer to be, and how long it takes."""

    def __init__(self, client: ReplayClient, request: DrawRequest) -> None:
        self._asked_s = self._answered_s = time.perf_counter()
        self._future = client.draw(request)
        self._future.add_done_callback(self._note)

    def result(self, timeout_s: float) -> tuple[Drawn | NeedMore, float]:
        """Return the answer, and the seconds from the question to it."""
        drawn = self._future.result(timeout_s)
        return drawn, self._answered_s - self._asked_s

    def _note(self, _: object) -> None:
        self._answered_s = time.perf_counter()


class Step(NamedTuple):
    """What was seen with a number of collectors."""

    collectors: int
    inserted: float
    """Transitions a second."""
    drawn: float
    """Samples a second."""
    p50_ms: float
    p99_ms: float
    waited_p99_ms: float
    balance: tuple[float, float]
    """The lowest and highest of the limiter, as shares of half its band."""
    mb_a_minute: float
    spilled: bool

    @property
    def misses(self) -> list[str]:
        """What falls short of the aims."""
        found = {
            "falls behind": self.inserted < AIMS["share"] * self.collectors * RATE,
            "index wait": self.p99_ms > AIMS["p99_ms"],
            "limiter": not -1.0 <= self.balance[0] <= self.balance[1] <= 1.0,
            "memory": self.mb_a_minute > AIMS["mb_a_minute"],
            "spilled": self.spilled,
        }
        return [name for name, missed in found.items() if missed]


def private_mb(pids: Sequence[int]) -> dict[int, float]:
    """Return by process its anonymous memory: not the ring, whose pages count for whoever touches them; of those that
    have ended, nothing."""
    sizes = {}
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            fields = dict(line.split(":", 1) for line in lines)
            sizes[pid] = int(fields["Anonymous"].split()[0]) / 2**10
    return sizes


def growth(times_s: Sequence[float], sizes: Sequence[dict[int, float]]) -> float:
    """Return the MB a minute by which the processes grow that are there all the time: the median of all slopes."""
    lasting = set.intersection(*(set(each) for each in sizes))
    sums = [sum(each[pid] for pid in lasting) for each in sizes]
    points = list(zip(times_s, sums, strict=True))
    slopes = [(later[1] - before[1]) / (later[0] - before[0]) for before, later in combinations(points, 2)]
    return 60 * float(np.median(slopes)) if slopes else 0.0


def watch(learner: StubLearner, client: ReplayClient, count: int, warm_up_s: float, seconds: float) -> Step:
    """Let everybody go on, and return what was seen after the warm-up."""
    time.sleep(warm_up_s)
    me = psutil.Process()
    pids = [each.pid for each in (me, *me.children(recursive=True))]
    began, before = time.monotonic(), client.stats()
    learner.answered_s.clear()
    learner.waited_s.clear()
    samples, times_s, sizes, balances = learner.samples, [], [], []
    while (now := time.monotonic()) < began + seconds:
        times_s.append(now - began)
        sizes.append(private_mb(pids))
        stats = client.stats()
        balances.append(stats.balance / stats.band)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - now)))
    took, after = time.monotonic() - began, client.stats()
    answered_ms, waited_ms = (1e3 * np.array(each or [np.inf]) for each in (learner.answered_s, learner.waited_s))
    return Step(
        collectors=count,
        inserted=(after.inserted_rows - before.inserted_rows) / took,
        drawn=(learner.samples - samples) / took,
        p50_ms=float(np.median(answered_ms)),
        p99_ms=float(np.quantile(answered_ms, 0.99)),
        waited_p99_ms=float(np.quantile(waited_ms, 0.99)),
        balance=(min(balances), max(balances)),
        mb_a_minute=growth(times_s, sizes),
        spilled="Spilled" in memory_summary(ray.get_runtime_context().gcs_address, stats_only=True),
    )


def run(counts: Sequence[int], per_process: int, warm_up_s: float, seconds: float) -> list[Step]:
    """Return a step for each number of collectors, in rising order; those that are there stay."""
    with bench_cluster(object_store_bytes=STORE_BYTES) as directory:
        run = directory.name
        setup = setup_of(run, directory, WINDOW.rows)
        window = setup.settings.windows[0].replace(learn_start_rows=WINDOW.learn_start_rows)
        settings = setup.settings.replace(windows=(window,), samples_per_insert=float(SAMPLES_PER_INSERT))
        replay = start_replay(run, replace(setup, settings=settings))
        wait_until_up(replay, PEER)
        client, steps, actors, learner = ReplayClient(replay), [], [], None
        try:
            Sending(replay, WINDOW.learn_start_rows)
            learner = StubLearner(client)
            started = 0
            for count in sorted(counts):
                while started < count:
                    numbers = range(started, min(started + per_process, count))
                    actors.append(start_actor(run, f"replaying-{started}", ReplayingCollectors, run, tuple(numbers)))
                    started = numbers.stop
                for actor in actors:
                    wait_until_up(actor, "a collector", timeout_s=300.0)
                steps.append(watch(learner, client, count, warm_up_s, seconds))
                tell(steps[-1])
        finally:
            for actor in actors:
                end_actor(actor)
            if learner is not None:
                learner.stop()
            client.remove()
            end_actor(replay)
    return steps


def tell(step: Step) -> None:
    """Print a line."""
    low, high = step.balance
    print(
        f"{step.collectors:>10} {step.inserted:>14,.0f} {step.drawn:>11,.0f} {step.p50_ms:>8.1f} {step.p99_ms:>8.1f} "
        f"{step.waited_p99_ms:>8.1f}   {low:>+5.2f} to {high:>+5.2f} {step.mb_a_minute:>10.2f} "
        f"{'yes' if step.spilled else 'no':>8}   {', '.join(step.misses) or 'holds'}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collectors", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--per-process", type=int, default=1, help="collectors in an actor")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds, of each number of collectors")
    parser.add_argument("--seconds", type=float, default=60.0, help="that are looked at, of each")
    parser.add_argument("--smoke", action="store_true", help="two collectors and some seconds, to see that it works")
    chosen = parser.parse_args(arguments)
    if chosen.smoke:
        chosen.collectors, chosen.warm_up, chosen.seconds = [2], 1.0, 3.0
    print("collectors  transitions/s   samples/s   p50 ms   p99 ms   waited    limiter's band     MB/min  spilled")
    steps = run(chosen.collectors, chosen.per_process, chosen.warm_up, chosen.seconds)
    held = max((step.collectors for step in steps if not step.misses), default=0)
    print(f"this machine holds {held} of {max(chosen.collectors)} collectors")


if __name__ == "__main__":
    main()
