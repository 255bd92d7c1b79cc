"""Records races as Ray tasks: many games at once, each in a worker process; see ``recording`` for the races."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from tmrl_ray.errors import DatasetError, TmrlError
from tmrl_ray.recording import RaceJob, RecordedRace, Recorder, RecordPlan

RACES_PER_TASK = 4
"""Few enough that a worker that dies costs little, enough that a map is loaded for several."""
OBJECT_STORE_BYTES = 80 << 20
"""Of a cluster that is started for this only: plans and figures pass through it, no pictures. Ray takes no less."""
RETRIES = 2
"""Of a task whose worker died. Races that it had written stay, the others are driven again."""


def cpus() -> int:
    """Return how many CPUs the cluster has."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def record_on_ray(plan: RecordPlan, jobs: list[RaceJob], *, workers: int) -> Iterator[RecordedRace]:
    """Record with so many games at once on the Ray that is connected, and yield the races as they come.

    The folder of the dataset must be on a disk that all machines of the cluster share.

    Args:
        plan: what to record.
        jobs: which races of it.
        workers: how many games.

    Raises:
        DatasetError: a task was done and its races are not there, or its worker died again and again.
        TmrlError: what a task raised.
    """
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_record)
    root = plan.root.absolute()
    bundles, free = _bundles(jobs), list(range(workers))
    running: dict[Any, tuple[int, list[RaceJob]]] = {}
    while bundles or running:
        while bundles and free:
            slot, bundle = free.pop(), bundles.pop(0)
            running[task.remote(plan, root, bundle, slot)] = slot, bundle
        (done,), _ = ray.wait(list(running), num_returns=1)
        slot, bundle = running.pop(done)
        free.append(slot)
        yield from _races_of(done, bundle, plan)


def _races_of(done: Any, bundle: list[RaceJob], plan: RecordPlan) -> list[RecordedRace]:
    try:
        races: list[RecordedRace] = [RecordedRace(*race) for race in ray.get(done)]
    except RayTaskError as error:
        if isinstance(error.cause, TmrlError):
            raise error.cause from error
        raise
    except WorkerCrashedError as error:
        first = bundle[0]
        raise DatasetError(
            f"the worker that recorded {first.entry.name}/{first.name} died {RETRIES + 1} times: {error}",
            hint="Record again with fewer workers: what is there is kept.",
        ) from error
    for race in races:
        if not (plan.root / race.map / race.name).exists():
            raise DatasetError(
                f"a worker recorded {race.map}/{race.name}, and it is not in {plan.root}",
                hint="Record into a folder that all machines of the cluster share, or with --serial.",
            )
    return races


def _bundles(jobs: list[RaceJob]) -> list[list[RaceJob]]:
    """Return the jobs in bundles for one task each, every bundle on one map."""
    bundles = []
    for _, group in groupby(jobs, key=lambda job: job.entry):
        on_map = list(group)
        bundles += [on_map[first : first + RACES_PER_TASK] for first in range(0, len(on_map), RACES_PER_TASK)]
    return bundles


def _record(plan: RecordPlan, root: Path, jobs: list[RaceJob], slot: int) -> list[tuple[Any, ...]]:
    """Record what is not there yet, which is not all after a worker died; runs in a worker."""
    plan = replace(plan, root=root)
    recorder = Recorder(plan, slot)
    try:
        return [tuple(plan.recorded(job) or recorder.record(job)) for job in jobs]
    finally:
        recorder.close()
