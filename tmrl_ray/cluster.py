"""A run on a Ray cluster: its actors are started, looked after and ended here; its records and checkpoints are kept.

The loop in which it is used::

    with connected(training), ClusterRun(training, run, store, checkpoint) as cluster:
        for news in cluster.run():
            show(news)

The parts are those of a run in one process (``tmrl_ray.serial``), with its checkpoints: a run can be resumed as the
other kind. The replay buffer, the learner and the evaluator stay on the machine of this process, where the ring and
the run's folder are; collectors go wherever there are games. The actors end with this process, however it ends; the
ring stays, and whoever resumes the run goes on with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import psutil
import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.collector_pool import CollectorPool, Member
from actors.draw_messages import BufferStats
from actors.evaluation import Evaluation
from actors.race_report import RaceReport
from actors.remote.calls import answer, end_actor, object_store, wait_until_up
from actors.remote.collector import RayCollectors
from actors.remote.evaluator import CLOSE_S, EvaluatorClient, start_evaluator
from actors.remote.replay import PEER as REPLAY_PEER
from actors.remote.replay import ReplayClient, start_replay
from actors.remote.weights import WeightClient, start_weight_store
from actors.weight_watch import WeightWatch
from tmrl_ray.buffer_keeper import BufferKeeper
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import NotSavedError, PeerUnavailableError
from tmrl_ray.evaluator_keeper import EvaluatorKeeper
from tmrl_ray.learner_keeper import LearnerKeeper
from tmrl_ray.makers import make_collectors, make_evaluator, newest_experience
from tmrl_ray.process_identity import ProcessIdentity
from tmrl_ray.ray_session import RaySession, joined, started
from tmrl_ray.records import Records
from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointHead, CheckpointStore
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of
from tmrl_ray.runs.ray_sink import RaySink
from tmrl_ray.runs.rundir import RunDirectory
from tmrl_ray.serial import News, ended_unsaved
from tmrl_ray.training import Training, device_of

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between two looks at the actors."""
START_S = 300.0
"""For so long the replay buffer may take to come up: its worker imports torch, and takes in a checkpoint."""
DRAIN_S = 40.0
"""For so long the end of a run waits for what is on its way."""
LAST_RACES_S = 300.0
"""For so long a run that ends by itself waits for its last evaluation."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a cluster of our own: weights and chunks on their way. The experience lies in memory of its own."""
LOCAL_GAMES = 64
"""Simulators that a cluster of our own may run, beside those that are asked for at the start."""


@dataclass(frozen=True)
class ClusterStatus:
    """How a run is."""

    members: list[Member]
    """Of the collectors' pool."""
    buffer: BufferStats
    learner_steps: int
    policy_version: int
    learner_restarts: int
    acknowledged: dict[int, int]
    """By collector, the version of the weights that it acts with."""
    stale: tuple[int, ...]
    """Collectors that get no newer weights."""


@contextmanager
def connected(training: Training, address: str | None = None, **options: Any) -> Iterator[RaySession]:
    """Be a part of a Ray cluster.

    Args:
        training: what the run is made of.
        address: of a running cluster, or auto; None: one is started here and ended again.
        options: of ``ray.init`` beside these.

    Raises:
        ClusterError: the running cluster cannot be joined; the message says what to do.
    """
    collector = training.config.collector
    games = max(LOCAL_GAMES, collector.count * collector.games + 1)
    with started(games, OBJECT_STORE_BYTES, **options) if address is None else joined(address, **options) as session:
        yield session


class ClusterRun:
    """One run; see the module for the loop in which it is used.

    Args:
        training: what it is made of.
        run: its folder.
        store: its checkpoints.
        checkpoint: to go on from; None: it is new, or its ring is all that there is.
    """

    def __init__(
        self, training: Training, run: RunDirectory, store: CheckpointStore, checkpoint: Checkpoint | None = None
    ) -> None:
        config = training.config
        self.training = training
        self._store = store
        self._ended = self._stopping = False
        parts = {} if checkpoint is None else checkpoint.parts
        node = ray.get_runtime_context().get_node_id()
        here = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
        setup = replace(training.buffer_setup(run.uuid, run.path), owner=ProcessIdentity.of(psutil.Process()))
        newest = partial(newest_experience, store.directory.resolve(), store.identity)
        replay = start_replay(run.name, setup, parts.get("experience"), newest, **here)
        self._actors = [replay, start_weight_store(run.name)]
        wait_until_up(self._actors[0], REPLAY_PEER, timeout_s=START_S)
        self.replay = ReplayClient(self._actors[0])
        self.buffer = BufferKeeper(self.replay, config.replay.samples_per_insert)
        self.weights = WeightClient(self._actors[1])
        device, aside = device_of(config.training.device), run.set_aside.resolve()
        self.learner = LearnerKeeper(config, run.name, device, aside, self._newest_learner, here)
        make = partial(make_evaluator, config, run.name, run.best)
        # A machine without games has the evaluator elsewhere, where the best races are kept then.
        near = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}
        self.evaluator = EvaluatorKeeper(lambda part: EvaluatorClient(start_evaluator(run.name, make, part, **near)))
        self.collectors = RayCollectors(
            run.name,
            partial(make_collectors, config, run.name),
            games=config.collector.games,
            forget=self._forget,
            num_gpus=config.collector.gpus,
        )
        self.pool = CollectorPool(self.collectors)
        self._weight_watch = WeightWatch(config.collector.stale_weights_s)
        self.pool.scale(config.collector.count)
        state = parts["records"].values["state"] if "records" in parts else None
        self.records = Records(run, config, training.references_s, state, sinks=[RaySink(run.path.name)])
        self._memory: dict[str, Future[Telling]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.training.config.connection is not None:  # a kill alone would leave their games behind
            self.pool.drain(CLOSE_S)
            self.evaluator.client.close()
        for member in self.pool.members():
            self.collectors.kill(member.number)
        self.learner.end()
        self.evaluator.client.end()
        if self._ended:
            with suppress(PeerUnavailableError):
                self.replay.remove()  # its checkpoint has all of it; otherwise whoever resumes goes on with the ring
        for actor in self._actors:
            end_actor(actor)

    def stop(self) -> None:
        """Let the run end; what was begun is brought to its end and saved."""
        self._stopping = True

    def scale(self, collectors: int) -> None:
        """Let so many collectors drive from now on."""
        self.pool.scale(collectors)

    def pause(self) -> None:
        """Let nobody collect or learn, and no training time pass, until ``go_on``."""
        self.buffer.is_paused = True

    def go_on(self) -> None:
        """End a pause."""
        self.buffer.is_paused = False

    def change(self, config: RunConfig) -> None:
        """Go on with settings of which only those of ``tmrl_ray.live_settings`` may differ."""
        self.training = replace(self.training, config=config)
        self.buffer.samples_per_insert = config.replay.samples_per_insert
        self.pool.scale(config.collector.count)

    @property
    def state(self) -> Literal["starting", "training", "paused", "stopping", "ended"]:
        """What it does."""
        if self._ended:
            return "ended"
        if self._stopping:
            return "stopping"
        if self.buffer.is_paused:
            return "paused"
        return "training" if self.records.is_counting else "starting"

    @property
    def stats(self) -> BufferStats | None:
        """Of the replay buffer, as of late."""
        return self.buffer.stats

    @property
    def policy_version(self) -> int:
        """Of the newest weights that were published."""
        return self.learner.figures.version

    @property
    def learner_restarts(self) -> int:
        """How often the learner was started again."""
        return self.learner.restarts

    def members(self) -> list[Member]:
        """Return how the collectors are."""
        return self.pool.members()

    def status(self) -> ClusterStatus:
        """Return how the run is.

        Raises:
            PeerUnavailableError: the replay buffer or the weight store is away.
        """
        figures = self.learner.figures
        return ClusterStatus(
            members=self.pool.members(),
            buffer=self.replay.stats(),
            learner_steps=figures.steps,
            policy_version=figures.version,
            learner_restarts=self.learner.restarts,
            acknowledged=self.weights.acknowledged(),
            stale=self._weight_watch.stale,
        )

    def run(self) -> Iterator[News]:
        """Yield the news, twice a second, until the run is stopped or at its end.

        Raises:
            TmrlError: the learner failed again and again.
            NotSavedError: the run has ended, and its last checkpoint could not be written.
        """
        now_s = time.monotonic()
        evaluated_s = told_s = saved_s = now_s
        while not self._stopping and not self._is_over():
            self._look()
            settings, evaluation = self.training.config.training, self.training.config.evaluation
            now_s, saved = time.monotonic(), None
            if not self.records.is_counting:
                evaluated_s = told_s = saved_s = now_s
            if now_s >= evaluated_s + evaluation.every_s and self.evaluator.is_ready:
                self.evaluator.evaluate(evaluation.races)
                evaluated_s = now_s
            if now_s >= told_s + settings.metrics_s:
                self._write_row()
                told_s = now_s
            if now_s >= saved_s + settings.checkpoint_s:
                saved = self._try_to_save()
                saved_s = time.monotonic()
            yield News(self._take_races(), self._take_evaluation(), saved)
            time.sleep(LOOK_S)
        yield from self._end()

    def _look(self) -> None:
        """See how all parts are, do what is due, and let time pass only while somebody drives."""
        self.pool.reconcile()
        self.learner.reconcile()
        self.buffer.reconcile()
        if self.buffer.stats is not None:
            self._advance(self.buffer.stats)
        beats = [beat for member in self.pool.members() for beat in member.heartbeats]
        self._weight_watch.look(beats, 0 if self.buffer.is_paused else self.learner.figures.version)
        if self.buffer.is_paused:
            self.records.hold()
        elif any(beat.env_steps for beat in beats):
            self.records.start()

    def save(self, *, last: bool = False) -> CheckpointHead:
        """Write a checkpoint; the run goes on, unless it is the ``last`` one.

        Raises:
            NotSavedError: it could not be written.
            PeerUnavailableError: the learner or the replay buffer is away.
        """
        learner = self.learner.last_state() if last else self.learner.state()
        experience = self.replay.checkpoint()
        self._advance(self.replay.stats())
        records = Part({"state": self.records.state_dict()})
        parts = {"learner": learner, "experience": experience, "records": records}
        began_s = time.monotonic()
        head = self._store.save(parts, self.records.clocks, score=self.records.evaluations.mean_time_s)
        self.records.saved(head, self._store.directory / head.name, time.monotonic() - began_s)
        return head

    def _try_to_save(self, *, last: bool = False) -> CheckpointHead | None:
        try:
            return self.save(last=last)
        except (NotSavedError, PeerUnavailableError) as error:
            log.error("no checkpoint now: %s", error)
            self.records.save_failed()
            return None

    def _end(self) -> Iterator[News]:
        """Bring to its end what was begun, save it, and yield the last news."""
        self.pool.drain(DRAIN_S)
        self.records.hold()
        saved, evaluation = self._try_to_save(last=True), self._take_evaluation()
        self._write_row()
        if not self._stopping:
            evaluation = self._evaluate_last() or evaluation
        races = self._take_races()
        self.records.close(None if saved is None else "stopped" if self._stopping else "finished")
        self._ended = saved is not None
        yield News(races, evaluation, saved)
        if saved is None:
            raise ended_unsaved(self._store)

    def _write_row(self) -> None:
        """Put a row of metrics on record; what somebody who is away does not tell is missing."""
        self.records.row(self._tellings())

    def _tellings(self) -> Iterator[Telling]:
        for peer in (self.replay, self.learner):
            try:
                yield from peer.tell()
            except PeerUnavailableError as error:
                log.warning("some metrics are missing now: %s", error)
        yield from (*self.collectors.take_tellings(), self.pool.tell(), self.evaluator.tell())
        yield from (memory_of("driver"), object_store())
        yield from self._memory_of("weights", self._actors[1])
        yield from self._memory_of("evaluator", self.evaluator.client.actor)

    def _memory_of(self, process: str, actor: ActorHandle[Any]) -> Iterator[Telling]:
        """Yield the memory of an actor as of the row before, and ask for that of the next."""
        if (before := self._memory.get(process)) and before.done() and before.exception() is None:
            yield before.result()
        self._memory[process] = answer(lambda: actor.memory.remote(process), f"the process {process}")

    def _advance(self, stats: BufferStats) -> None:
        self.records.advance(env_steps=stats.env_steps, learner_steps=self.learner.figures.steps)

    def _take_races(self) -> tuple[RaceReport, ...]:
        races = tuple(self.collectors.take_reports())
        for race in races:
            self.records.race(race)
        return races

    def _take_evaluation(self, *, within_s: float = 0.0) -> Evaluation | None:
        evaluation = self.evaluator.take(within_s=within_s)
        if evaluation is None:
            return None
        self.records.evaluation(evaluation)
        for report in evaluation.reports:
            if report.finish_time_ms is not None:
                self.learner.observe_finish(report.finish_time_ms / 1000, self.records.clocks.env_steps)
        if evaluation.alarm is not None:
            log.error("%s", evaluation.alarm)
        return evaluation

    def _evaluate_last(self) -> Evaluation | None:
        """Return how the final weights drive; None: they were measured already, or nobody answered."""
        self._take_evaluation(within_s=LAST_RACES_S)
        if self.evaluator.is_busy:
            return None
        self.evaluator.evaluate(self.training.config.evaluation.races)
        return self._take_evaluation(within_s=LAST_RACES_S)

    def _is_over(self) -> bool:
        return self.records.clocks.are_at_the_end(self.training.config.training)

    def _newest_learner(self) -> Part | None:
        """Return the learner of the newest checkpoint; None: there is none yet."""
        return self._store.load().parts["learner"] if self._store.names() else None

    def _forget(self, collector: int) -> None:
        self.replay.forget(collector)
        self.weights.forget(collector)
