"""Stand-ins for what a collector reaches: a toy game, a buffer that remembers, a policy that plays one action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np

from actors.collector_life import Ports
from actors.courses import Course, Driving
from actors.messages import AppendReply, AppendStatus, Grant, Standing
from tests.racing.fake_game import FakeGame, line_from, straight_line
from tmrl_ray.config.race import CutOffSettings, MapEntry
from tmrl_ray.errors import ChunkError, GameLostError, PeerUnavailableError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.codec import decode
from tmrl_ray.experience.columns import Layout
from tmrl_ray.iqn.policy import GREEDY, Exploration
from tmrl_ray.racing.actions import FORWARD
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.rollout import Decision

OBSERVATION = ObservationLayout()
FORMAT = ChunkFormat(Layout.of((5, 7), OBSERVATION), history=2, look_ahead=3)
LINE = line_from(straight_line(60.0))
RACE_STEPS = 49
"""Decisions that a full throttle takes for this line."""
UUID = "7" * 32


class Clock:
    """Tells and spends time that nobody waits for."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def answered(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


class FakeSink:
    """A replay buffer that takes everything in and answers at once, unless told otherwise."""

    compress = False

    def __init__(self, format: ChunkFormat = FORMAT) -> None:
        self.format = format
        self.chunks: dict[tuple[int, int, int], Chunk] = {}
        self.arrivals: list[tuple[int, int, int]] = []
        self.granted = 0
        self.known: set[int] = set()
        self.credits: int | None = None
        self.policy_version = 0
        self.env_steps = 0
        self.away = False
        self.silent = False
        """Whether appends are taken in but never answered."""
        self.delayed: list[tuple[Future[AppendReply], AppendReply]] | None = None
        """Answers that were held back; None: they are not."""

    def stand(self) -> Standing:
        return Standing(UUID, self.credits, self.policy_version, self.env_steps)

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Future[Grant]:
        if self.away:
            return answered(PeerUnavailableError("the buffer is away"))
        if layout_hash != self.format.layout.hash:
            return answered(ChunkError(f"{layout_hash} is not {self.format.layout.hash}"))
        self.granted += 1
        self.known.add(self.granted)
        return answered(Grant(self.granted, self.stand()))

    def append(self, data: np.ndarray) -> Future[AppendReply]:
        if self.away:
            return answered(PeerUnavailableError("the buffer is away"))
        chunk = decode(data.copy(), self.format)
        self.arrivals.append(chunk.id)
        if chunk.id.incarnation not in self.known:
            return answered(AppendReply(AppendStatus.REFUSED, self.stand()))
        status = AppendStatus.DUPLICATE if chunk.id in self.chunks else AppendStatus.ACCEPTED
        if status is AppendStatus.ACCEPTED:
            self.chunks[chunk.id] = chunk
            self.env_steps += chunk.core
            if self.credits is not None:
                self.credits -= chunk.core
        reply = AppendReply(status, self.stand())
        if self.silent:
            return Future()
        if self.delayed is None:
            return answered(reply)
        future: Future[AppendReply] = Future()
        self.delayed.append((future, reply))
        return future

    def standing(self, collector: int) -> Future[Standing]:
        return answered(PeerUnavailableError("the buffer is away") if self.away else self.stand())

    def answer_one(self) -> None:
        """Give the oldest answer that was held back."""
        assert self.delayed
        future, reply = self.delayed.pop(0)
        future.set_result(reply)


class FakeWeights:
    """A weight store whose answers are given by hand."""

    def __init__(self) -> None:
        self.answer: Callable[[int], Future[Any]] = lambda version: answered(None)
        self.asked: list[int] = []
        self.acknowledged: list[tuple[int, int]] = []

    def fetch_if_newer(self, version: int) -> Future[Any]:
        self.asked.append(version)
        return self.answer(version)

    def acknowledge(self, collector: int, version: int) -> None:
        self.acknowledged.append((collector, version))


class OneActionPolicy:
    """Plays one action; values say that it is the best."""

    def __init__(self, seed: int = 0, action: int = FORWARD) -> None:
        self.seed = seed
        self.action = action
        self.version = 0
        self.exploration = GREEDY
        self.explored: list[Exploration] = []
        self.resets = 0

    def act(self, frame: np.ndarray | None, floats: np.ndarray) -> Decision:
        self.explored.append(self.exploration)
        values = np.zeros(12, dtype=np.float32)
        values[self.action] = 1.2
        return Decision(self.action, True, values)

    def load(self, weights: Any, *, version: int) -> None:
        self.version = version

    def reset(self) -> None:
        self.resets += 1


class FakeKeeper:
    """Keeps toy games, which are lost when told so; refuses after too many losses."""

    def __init__(self, most: int = 5, lost_at_ms: Iterator[int | None] | None = None) -> None:
        self.losses = 0
        self.errors: list[GameLostError] = []
        self.closed = False
        self.most = most
        self.refusal: Exception | None = None
        self._lost_at_ms = lost_at_ms or iter(())
        self.made: list[FakeGame] = []

    def game(self) -> FakeGame:
        if not self.made or self.made[-1].closed:
            self.made.append(FakeGame(LINE))
        self.made[-1].lost_at_ms = next(self._lost_at_ms, None)
        return self.made[-1]

    def lost(self, error: GameLostError) -> None:
        self.losses += 1
        self.errors.append(error)
        self.made[-1].close()
        if self.refusal is not None and self.losses >= self.most:
            raise self.refusal

    def close(self) -> None:
        self.closed = True


def course(name: str = "straight", **settings: Any) -> Course:
    return Course(MapEntry(name=name, map="straight", **settings), LINE)


def driving(*courses: Course, make_policy: Callable[[int], Any] = OneActionPolicy) -> Driving:
    return Driving(
        courses=courses or (course(),),
        layout=OBSERVATION,
        cut_offs=CutOffSettings(),
        make_policy=make_policy,
        format=FORMAT,
    )


class Surroundings:
    """The ports of a collector, all fake, on a fake clock."""

    def __init__(self, keeper: FakeKeeper | None = None) -> None:
        self.clock = Clock()
        self.keeper = keeper or FakeKeeper()
        self.sink = FakeSink()
        self.weights = FakeWeights()
        clock = self.clock
        self.written_up = 0
        self.ports = Ports(
            self.keeper,
            self.sink,
            self.weights,
            clock,
            clock.sleep,
            stopwatch=clock,
            newest_version=lambda: self.written_up,
        )
