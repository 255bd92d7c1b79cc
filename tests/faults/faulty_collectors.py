"""Toy collectors as actors that fail on demand; all of them keep the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.collector import Collector, Turn
from actors.collector_life import Ports
from actors.remote.calls import find_actor
from actors.remote.replay import PART as REPLAY
from actors.remote.weights import PART as WEIGHTS
from actors.remote.weights import WeightClient
from actors.weight_store import Weights
from tests.actors.fakes import FORMAT, FakeKeeper, driving
from tests.actors.remote_parts import SlowPolicy
from tests.experience.races import LAYOUT
from tests.faults.journal import Journal
from tests.faults.journalled_client import JournalledClient
from tests.faults.parts import Trigger
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.racing.rollout import Decision


@dataclass(frozen=True)
class Making:
    """How to make the collectors of a run; travels to their processes."""

    run: str
    folder: Path

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal", FORMAT)

    def trigger(self, number: int = 0) -> Trigger:
        """What makes a collector misbehave."""
        return Trigger(self.folder / f"trigger-{number}")

    def ports(self) -> Ports:
        JournalledClient.journal = self.journal
        sink = JournalledClient(find_actor(self.run, REPLAY))
        return Ports(FakeKeeper(), sink, WeightClient(find_actor(self.run, WEIGHTS)))


SETTINGS = CollectorSettings(reply_s=5.0, weights_at="decision", flush_s=0.1)


def make_good(making: Making, number: int) -> list[Collector]:
    return [Collector(number, SETTINGS, driving(make_policy=SlowPolicy), making.ports(), run_seed=7)]


class FailingCollector(Collector):
    """Fails as soon as it drives."""

    def run(self) -> Iterator[Turn]:
        raise ZeroDivisionError("made up")


def make_failing(making: Making, number: int) -> list[Collector]:
    return [FailingCollector(number, SETTINGS, driving(), making.ports(), run_seed=7)]


def make_hanging(making: Making, number: int) -> list[Collector]:
    """A collector that hangs in a decision, for ever, when its trigger says so."""
    trigger = making.trigger(number)

    class HangingPolicy(SlowPolicy):
        def act(self, frame: np.ndarray | None, floats: np.ndarray) -> Decision:
            if trigger.fires() is not None:
                time.sleep(1_000_000)
            return super().act(frame, floats)

    return [Collector(number, SETTINGS, driving(make_policy=HangingPolicy), making.ports(), run_seed=7)]


class BlockedWeights:
    """A weight store whose answers never come."""

    def fetch_if_newer(self, version: int) -> Future[Weights | None]:
        return Future()

    def acknowledge(self, collector: int, version: int) -> None:
        """Never happens."""


def make_with_number_one_blocked(making: Making, number: int) -> list[Collector]:
    """Collectors of which number 1 is cut off from new weights."""
    ports = making.ports()
    if number == 1:
        ports = Ports(ports.game, ports.sink, BlockedWeights())
    settings = SETTINGS.replace(fetch_s=0.5)
    return [Collector(number, settings, driving(make_policy=SlowPolicy), ports, run_seed=7)]


OTHER_FORMAT = ChunkFormat(LAYOUT, 2, 3)
"""Of a collector of another version of the program."""


def make_skewed(making: Making, number: int) -> list[Collector]:
    other: Any = driving(make_policy=SlowPolicy)
    object.__setattr__(other, "format", OTHER_FORMAT)
    return [Collector(number, SETTINGS, other, making.ports(), run_seed=7)]


Make = Callable[[Making, int], list[Collector]]
