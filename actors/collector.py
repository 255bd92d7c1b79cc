"""A collector: drives races in one game with the newest weights, and sends what it sees to the replay buffer.

The loop in which it is used::

    collector = Collector(3, settings, driving, ports, run_seed=0)
    while (report := collector.run_once()) is not None:
        print(report.map, report.finish_time_ms)

``run`` is the same in smaller turns, for whoever has something else to do between decisions. An actor with several
games runs a collector for each, in threads (``actors.collector_threads``): games and the network let go of the
interpreter while they compute.

Whatever happens to the game costs the race in progress and a pause that grows with each loss; a game that is lost again
and again puts the collector into quarantine, with the reason in its heartbeat.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import wait
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from actors.collector_life import STATE_FORMAT, Life, Ports, Race, SavedLife, begin_life, check_format
from actors.collector_meter import CollectorMeter
from actors.courses import Course, CourseCycle, Driving
from actors.exploration import exploration_at
from actors.messages import CollectorState, Heartbeat, Standing
from actors.race_report import RaceContext, RaceReport, report_race
from actors.sender import ChunkSender
from actors.stage_times import StageTimes, TimedGame, TimedPolicy
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.errors import GameLostError, GameRefusedError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.game.interface import Game
from tmrl_ray.iqn.policy import GREEDY, Exploration
from tmrl_ray.racing.rollout import Step, rollout
from tmrl_ray.runs.checkpoint_files import ArrayLike
from tmrl_ray.runs.meter import Telling

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

MOST_REPORTS = 256
"""Reports that are kept for whoever takes them; the oldest make way."""
WAIT_S = 0.1
"""The longest that one turn of waiting takes, so that a heartbeat never looks dead."""


class Turn(Enum):
    """What a collector did in one turn."""

    DECIDED = auto()
    RACED = auto()
    """A race has ended, and its report is there."""
    WAITING = auto()
    """It has nothing to do until somebody answers; call ``wait``, or do something else."""


class _Stopped(Exception):
    """It was told to stop."""


class Collector:
    """Drives one game; see the module for the loop in which it is used.

    Equal seeds, numbers and incarnations drive equal races, as far as the game allows.

    Args:
        number: of this collector in its pool.
        settings: how it explores, starts races and ships chunks.
        driving: what is driven.
        ports: the game, the replay buffer and the weights.
        run_seed: seed of the run.
    """

    def __init__(
        self, number: int, settings: CollectorSettings, driving: Driving, ports: Ports, *, run_seed: int
    ) -> None:
        self.number = number
        self.settings = settings
        self.state = CollectorState.STARTING
        self.reason = ""
        """Why it is quarantined, or what happened to the game last."""
        self._driving = driving
        self._ports = ports
        self._run_seed = run_seed
        layout_hash = driving.format.layout.hash
        self._sender = ChunkSender(
            ports.sink, number, layout_hash, reply_s=settings.reply_s, clock=ports.clock, sleep=ports.sleep
        )
        self._cycle = CourseCycle(driving.courses, offset=number)
        self._reports: deque[RaceReport] = deque(maxlen=MOST_REPORTS)
        self._stopping = False
        self._beats = self._races = self._env_steps = 0
        self._races_before = 0  # in the sessions before
        self._saved: SavedLife | None = None
        self._meter = CollectorMeter(number, ports.stopwatch)
        self._run_env_steps = 0  # of the whole run: exploration never goes back
        self._waited_s = 0.0
        self._sent_s = 0.0  # when the last chunk was sent, or the race began
        self._unsent: deque[Chunk] = deque()
        self._life: Life | None = None
        self._turns = self._drive()

    def run(self) -> Iterator[Turn]:
        """Return the turns: one for each decision, race and moment of waiting, until it is stopped or quarantined."""
        return self._turns

    def run_once(self) -> RaceReport | None:
        """Drive to the end of a race and return its report; None: it was stopped, or is in quarantine."""
        for turn in self._turns:
            if turn is Turn.RACED:
                return self._reports[-1]
            if turn is Turn.WAITING:
                self.wait()
        return None

    def wait(self) -> None:
        """Wait a moment, or less if somebody answers."""
        fetch = None if self._life is None else self._life.fetcher.future
        if fetch is not None:
            wait([fetch], timeout=WAIT_S)
        else:
            self._sender.wait(WAIT_S)

    def stop(self) -> None:
        """Drive no more: give the race up, send what is left of it and wait until all has arrived. Any thread may."""
        self._stopping = True

    def take_reports(self) -> list[RaceReport]:
        """Return the reports of races since the last call, the newest ``MOST_REPORTS`` of them. Any thread may."""
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def state_dict(self) -> tuple[dict[str, ArrayLike], dict[str, Any]]:
        """Return all that is needed to go on: arrays by name, and JSON-able values.

        Take it in the turn in which a race has ended, or after the last turn: a race in progress is no part of it.
        """
        assert self._life is not None and self._sender.standing is not None  # races were driven
        arrays, life = self._life.state_dict()
        return arrays, {
            "format": STATE_FORMAT,
            "cycle": self._cycle.races,
            "races": self._races_before + self._races,
            "standing": self._sender.standing._asdict(),
            "life": life,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, continues: bool) -> None:
        """Take over what ``state_dict`` returned, before the first turn.

        Args:
            tensors: by name.
            values: beside them.
            continues: the replay buffer is as it was then too, so that all goes on as it would have; False: it has
                seen more since, and another incarnation begins that drives the same maps from the same starts.

        Raises:
            CheckpointError: it is of another format.
        """
        check_format(values)
        self._cycle.races, self._races_before = values["cycle"], values["races"]
        self._saved = SavedLife(tensors, values["life"])
        if continues and values["life"]["sequence"]:  # else the buffer does not know the incarnation
            self._sender.incarnation = self._saved.incarnation
            self._sender.standing = Standing(**values["standing"])

    def tell(self) -> Telling:
        """Return its metrics since the last call. Any thread may ask."""
        return self._meter.tell(self.heartbeat())

    def heartbeat(self) -> Heartbeat:
        """Return how it is. Any thread may ask."""
        return Heartbeat(
            collector=self.number,
            incarnation=self._sender.incarnation or 0,
            state=self.state,
            beats=self._beats,
            env_steps=self._env_steps,
            races=self._races,
            policy_version=0 if self._life is None else self._life.policy.version,
            game_losses=self._ports.game.losses,
            dropped_chunks=self._sender.refused,
            resent_chunks=self._sender.resent,
            reason=self.reason,
        )

    def _drive(self) -> Iterator[Turn]:
        ended = CollectorState.STOPPED
        try:
            while not self._stopping:
                life = yield from self._enlisted()
                yield from self._hold_until_credit(life)
                life.fetcher.ask(self._newest_version)
                while life.fetcher.is_waiting:
                    yield from self._wait_a_turn()
                    life.fetcher.poll()
                yield from self._race(life, self._cycle.next())
        except _Stopped:
            pass
        except GameRefusedError as error:
            log.error("collector %d is quarantined: %s", self.number, error)
            self.reason = str(error)
            ended = CollectorState.QUARANTINED
        finally:
            self._ports.game.close()
        yield from self._drain()
        self.state = ended

    def _enlisted(self) -> Generator[Turn, None, Life]:
        """Get an incarnation where there is none, and become it."""
        sender = self._sender
        while sender.incarnation is None:
            sender.enlist()
            if sender.incarnation is None:
                yield from self._wait_a_turn()
        if self._life is None:
            self._life = begin_life(
                self._builder(sender.incarnation),
                self.settings,
                self._driving,
                self._ports,
                run_seed=self._run_seed,
                fetched=self._meter.fetched,
                saved=self._saved,
            )
        elif self._life.builder.incarnation != sender.incarnation:
            self._life.builder = self._builder(sender.incarnation, first_race=self._life.builder.race_id)
        return self._life

    def _builder(self, incarnation: int, first_race: int = 0) -> ChunkBuilder:
        first_race, driving = max(first_race, self._sender.first_race), self._driving
        return ChunkBuilder(driving.format, self.number, incarnation, race_id=first_race, td_errors=driving.td_errors)

    def _race(self, life: Life, course: Course) -> Iterator[Turn]:
        """Drive a race, if there is a game to drive it in."""
        self.state = CollectorState.STARTING
        self._meter.activities.begin("starting")
        try:
            game = self._ports.game.game()
            game.load_map(course.entry.map)
            race = self._begin(life, course, game)
            self.state = CollectorState.RACING
            self._meter.activities.begin("racing")
            yield from self._follow(life, race)
        except GameLostError as error:  # between races, or before the first step: there is nothing to keep
            self._lost(error)

    def _begin(self, life: Life, course: Course, game: Game) -> Race:
        entry, policy, driving = course.entry, life.policy, self._driving
        start = life.starts.on(course).draw() if entry.exploration else None
        policy.reset()
        policy.exploration = self._exploration() if entry.exploration else GREEDY
        context = RaceContext(
            collector=self.number,
            incarnation=life.builder.incarnation,
            race_id=self._races_before + self._races,
            map=entry.name,
            exploration=entry.exploration,
            stored=entry.fill_buffer,
            epsilon=policy.exploration.epsilon,
            first_version=policy.version,
        )
        times = StageTimes()
        driven = rollout(
            TimedGame(game, times),
            TimedPolicy(policy, times),
            course.line,
            layout=driving.layout,
            cut_offs=driving.cut_offs,
            start=start,
        )
        self._sent_s = self._ports.clock()
        return Race(course, context, driven, start, times, self._waited_s)

    def _follow(self, life: Life, race: Race) -> Iterator[Turn]:
        """Take in the steps of a race and its end."""
        context, starts, times = race.context, life.starts.on(race.course), race.times
        version = context.first_version
        while (step := self._next_step(race)) is not None:
            self._beats += 1
            self._env_steps += 1
            race.figures.add(step)
            if context.stored:
                begun_s = time.perf_counter()
                chunks = life.builder.add(step, policy_version=version)
                times.store_s += time.perf_counter() - begun_s
                yield from self._send(chunks, times)
            if context.exploration and starts.is_due(step.race_time_ms, race.saved):
                race.saved.append(race.rollout.save())
            yield Turn.DECIDED
            yield from self._between_decisions(life, race)
            if self._sender.incarnation != context.incarnation:
                self._meter.discarded(life.builder.held_rows)
                life.builder.discard()
                return
            version = life.policy.version
        end = race.rollout.end
        if context.stored:
            yield from self._send(life.builder.end(end), times)
        if context.exploration:
            starts.finished(race.start, race.saved, end)
        self._races += 1
        race.figures.waited_s = self._waited_s - race.waited_before_s
        report = report_race(context, race.figures, end, version, times)
        self._reports.append(report)
        self._meter.raced(report.stage_ms)
        yield Turn.RACED
        if end.lost is not None:
            self._lost(end.lost)

    @staticmethod
    def _next_step(race: Race) -> Step | None:
        begun_s = time.perf_counter()
        step = next(race.rollout, None)
        race.times.race_s += time.perf_counter() - begun_s
        return step

    def _between_decisions(self, life: Life, race: Race) -> Iterator[Turn]:
        if self._stopping:
            raise _Stopped
        self._sender.poll()
        if self.settings.weights_at == "decision":
            life.fetcher.poll()
            life.fetcher.ask(self._newest_version)
        if race.context.exploration:
            life.policy.exploration = self._exploration()
        if not race.context.stored:
            return
        flush_s = self.settings.flush_s
        if flush_s is not None and self._ports.clock() - self._sent_s >= flush_s:
            yield from self._send(life.builder.flush(), race.times)
        if self.settings.pause_at == "decision":
            yield from self._hold_until_credit(life)

    def _hold_until_credit(self, life: Life) -> Iterator[Turn]:
        """Go on when the learner has kept up; what can be sent is sent before, since it may be all that it needs."""
        while not self._sender.may_act(max(0, life.builder.held_rows - self._driving.format.look_ahead)):
            yield from self._send(life.builder.flush())
            self._sender.ask()
            yield from self._wait_a_turn("blocked")

    def _send(self, chunks: list[Chunk], times: StageTimes | None = None) -> Iterator[Turn]:
        self._unsent.extend(chunks)
        while self._unsent:
            while self._sender.is_full:
                yield from self._wait_a_turn()
            begun_s = time.perf_counter()
            self._sender.send(self._unsent.popleft())
            self._sent_s = self._ports.clock()
            if times is not None:
                times.store_s += time.perf_counter() - begun_s

    def _drain(self) -> Iterator[Turn]:
        """Send what is left, and wait until all of it has arrived."""
        self.state = CollectorState.DRAINING
        if self._life is not None:
            self._unsent.extend(self._life.builder.flush())
        while self._unsent or not self._sender.is_empty:
            if self._unsent and not self._sender.is_full:
                self._sender.send(self._unsent.popleft())
                continue
            self._beats += 1
            yield Turn.WAITING
            self._sender.poll()

    def _wait_a_turn(self, why: str = "waiting") -> Iterator[Turn]:
        self._beats += 1
        begun_s = self._ports.stopwatch()
        before, self.state = self.state, CollectorState.WAITING
        with self._meter.activities.during(why):
            yield Turn.WAITING
        self.state = before
        self._waited_s += self._ports.stopwatch() - begun_s
        if self._stopping:
            raise _Stopped
        self._sender.poll()

    def _lost(self, error: GameLostError) -> None:
        self.reason = str(error)
        self.state = CollectorState.STARTING
        self._meter.lost(error)
        self._ports.game.lost(error)

    def _exploration(self) -> Exploration:
        if self._sender.standing is not None:  # a buffer that lost its ring counts on from its last checkpoint
            self._run_env_steps = max(self._run_env_steps, self._sender.standing.env_steps)
        return exploration_at(self.settings.exploration, self._run_env_steps, self.number)

    @property
    def _newest_version(self) -> int:
        told = 0 if self._sender.standing is None else self._sender.standing.policy_version
        return max(told, self._ports.newest_version())
