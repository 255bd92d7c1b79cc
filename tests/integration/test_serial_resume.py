"""A run in one process that was stopped and resumed is, bit for bit, the run that never stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.draw_messages import BufferStats
from actors.race_report import RaceReport
from tests.integration.test_serial import QUICKSTART, TINY
from tmrl_ray.config.loading import load_config
from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointStore, Identity
from tmrl_ray.runs.checkpoint_files import ArrayLike
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.serial import SerialRun
from tmrl_ray.training import Training

SETTINGS = (
    *TINY,
    "maps=[{name: loop, map: loop, repeat: 2}, {name: measured, map: loop, exploration: false, fill_buffer: false}]",
    "cut_offs.race_ms=6000",
    "collector.starts={race_start: 0.25, uniform: 0.25, near_best: 0.25, reverse_curriculum: 0.25}",
    "collector.exploration.hold=3.0",
    "simulator.look_seed=11",
    "learner.draw_batches=2",
    "learner.draw_ahead=true",
    "learner.publish_every=5",
    "learner.target={rate: 0.05, interval_samples: 17}",
    "replay.samples_per_insert=1.3",
    "replay.priorities={new_rows: mean}",
    "replay.test_every=3",
    "replay.mini_race={}",
)
"""All that has a state of its own: kinds of start, held actions, looks, batches drawn ahead, priorities, test races."""
PART, WHOLE = 1250, 1550
"""Env steps; a run ends with the race in which it reaches them."""
BUSY = ("evaluation.every_s=1.0", "training.checkpoint_s=0.3", "training.metrics_s=0.3")
"""What follows the wall clock, as often as may be."""


class Outcome:
    """What a run came to: all that was learned, drawn, driven and kept."""

    def __init__(self, live: SerialRun, races: list[RaceReport]) -> None:
        self.tensors, self.values = live.learner.state_dict()
        stats, ring = live.buffer.stats(), live.buffer.ring
        self.stale_priorities = stats.stale_priorities
        self.stats = stats._replace(ring_uuid="", stale_priorities=0)
        self.races = [replace(race, wall_s=0.0, waited_s=0.0, time_ratio=0.0, stage_ms={}) for race in races]
        self.chunks = [record._replace(env_steps=0, inserted_rows=0, incarnations=0) for record in ring.live_chunks()]
        self.priorities = ring.live_priorities()
        self.was_attached, self.continues = live.buffer.was_attached, live.buffer.continues
        self.incarnation = live.collector.heartbeat().incarnation
        self.start_bytes = bytes_of_starts(live.collector.state_dict()[0])


def bytes_of_starts(arrays: Mapping[str, ArrayLike]) -> int:
    return sum(np.asarray(each).size for name, each in arrays.items() if name.startswith("states."))


class Killed(Exception):
    """What ends a run as a kill would."""


Watch = Callable[[SerialRun, list[RaceReport]], None]


def run(folder: Path, name: str, *settings: str, start: Start = Start.NEW, watch: Watch | None = None) -> Outcome:
    config = load_config(QUICKSTART, [*SETTINGS, *settings, f"run.folder={folder}", f"run.name={name}"])
    training = Training.of(config)
    with RunDirectory.open(folder, name, config, start) as directory:
        store = CheckpointStore(directory.checkpoints, Identity(directory.uuid, training.hashes))
        saved = store.load() if start is Start.RESUME else None
        with SerialRun(training, directory, store, saved) as live:
            races: list[RaceReport] = []
            for news in live.run():
                races += news.races
                if watch is not None:
                    watch(live, races)
            return Outcome(live, races)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for runs whose ring wraps after 1,200 rows: one thread needs no band ahead of its writer."""
    made = Training.buffer_setup
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "buffer_setup", lambda *args, **more: replace(made(*args, **more), guard_rows=31))
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Outcome:
    return run(folder, "whole", f"training.env_steps={WHOLE}", *BUSY)


def check_equal(whole: Outcome, parts: list[Outcome]) -> None:
    last = parts[-1]
    assert whole.races == [race for part in parts for race in part.races]
    assert whole.tensors.keys() == last.tensors.keys()
    assert [name for name in whole.tensors if not torch.equal(whole.tensors[name], last.tensors[name])] == []
    assert whole.values == last.values
    assert whole.stats == last.stats
    assert whole.stale_priorities == sum(part.stale_priorities for part in parts)
    assert whole.chunks == last.chunks
    assert np.array_equal(whole.priorities, last.priorities)


def test_a_resumed_run_is_the_one_that_never_stopped(folder: Path, whole: Outcome) -> None:
    part = run(folder, "parts", f"training.env_steps={PART}")
    assert part.chunks[0].start > part.chunks[-1].start, "the ring has not wrapped"
    assert {race.from_start_line for race in part.races} == {True, False}
    resumed = run(folder, "parts", f"training.env_steps={WHOLE}", start=Start.RESUME)
    assert resumed.continues
    assert {race.from_start_line for race in resumed.races} == {True, False}
    assert 0 < part.values["update"]["steps"] < resumed.values["update"]["steps"]
    check_equal(whole, [part, resumed])


def test_it_may_be_stopped_again_and_again(folder: Path, whole: Outcome) -> None:
    def stop_soon(live: SerialRun, races: list[RaceReport]) -> None:
        if len(races) >= 3:
            live.stop()

    end = f"training.env_steps={WHOLE}"
    parts = [run(folder, "often", end, watch=stop_soon)]
    for _ in range(2):
        parts.append(run(folder, "often", end, start=Start.RESUME, watch=stop_soon))
    assert all(3 <= len(part.races) <= 4 for part in parts)
    parts.append(run(folder, "often", end, start=Start.RESUME))
    check_equal(whole, parts)


def test_after_a_kill_nothing_goes_back(folder: Path) -> None:
    def kill(live: SerialRun, races: list[RaceReport]) -> None:
        if len(races) >= 9 and live._store.names():
            seen.append((live.stats, live._store.load(), live.collector.heartbeat().incarnation))
            raise Killed

    seen: list[tuple[BufferStats, Checkpoint, int]] = []
    with pytest.raises(Killed):
        run(folder, "killed", f"training.env_steps={WHOLE}", "training.checkpoint_s=0.3", watch=kill)
    ((stats, saved, incarnation),) = seen
    resumed = run(folder, "killed", f"training.env_steps={stats.env_steps + 200}", start=Start.RESUME)
    assert resumed.was_attached and not resumed.continues
    assert resumed.stats.env_steps >= stats.env_steps + 200
    assert resumed.values["update"]["steps"] >= saved.head.clocks.learner_steps > 0
    assert resumed.values["version"] >= saved.parts["weights"].values["version"] > 1
    assert resumed.incarnation > incarnation
    numbers = {each: [chunk.race_id for chunk in resumed.chunks if chunk.incarnation == each] for each in (1, 2)}
    assert numbers[1] and numbers[2] and min(numbers[2]) > max(numbers[1])
    assert resumed.start_bytes > 0.8 * bytes_of_starts(saved.parts["collectors"].arrays) > 0


def test_versions_of_weights_never_go_back_to_before_the_rows_in_the_ring(folder: Path) -> None:
    def kill(live: SerialRun, races: list[RaceReport]) -> None:
        if live.buffer.ring.newest_policy_version() > 2:
            seen.append(live.buffer.ring.newest_policy_version())
            raise Killed

    seen: list[int] = []
    with pytest.raises(Killed):
        run(folder, "early", f"training.env_steps={WHOLE}", watch=kill)
    config = load_config(QUICKSTART, [*SETTINGS, f"run.folder={folder}", "run.name=early"])
    training = Training.of(config)
    with RunDirectory.open(folder, "early", config, Start.RESUME) as directory:
        store = CheckpointStore(directory.checkpoints, Identity(directory.uuid, training.hashes))
        assert store.names() == []
        with SerialRun(training, directory, store) as live:
            assert live.buffer.was_attached
            assert live.policy_version >= seen[0]
            live.buffer.remove()
