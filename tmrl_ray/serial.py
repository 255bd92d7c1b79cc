"""A whole run in one process, on one loop, without Ray: to look into, to test, and for small machines.

The parts are those of a cluster; only what lies between them is a plain call. The loop in which it is used::

    with SerialRun(training, run, checkpoint) as serial:
        for news in serial.run():
            show(news)

Collecting and learning take turns as the limiter says: the learner learns while it may draw, else the collector
decides. No part looks at a wall clock, so the same seed gives the same run, bit for bit. What does follow the wall
clock - evaluations, rows of metrics, checkpoints - changes nothing in what is learned (the plateau breaker, where it
is on, listens to evaluations: then runs differ).

Checkpoints are taken between two races, and a run that is stopped drives the race that is under way to its end first.
All that decides what comes next is in the checkpoint: networks, optimiser, experience with its places in the ring and
its priorities, limiter, counters, start states, weights that act and that were published, and the state of all chance.
So a run that was stopped and resumed goes on exactly like one that never stopped: the same races, the same draws, the
same weights, bit for bit. After a kill the ring of experience is there as it was left, newer than the checkpoint: the
learner repeats what it learned since then, and the collector begins another incarnation, with the same start states.
So it is after a run, too, that could not write its last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch

from actors.collector import Collector
from actors.collector import Turn as CollectorTurn
from actors.collector_life import Ports as CollectorPorts
from actors.collector_meter import count_states
from actors.collector_pool import Member, MemberState
from actors.draw_messages import BufferStats
from actors.evaluation import Evaluation
from actors.evaluator import Evaluator
from actors.messages import CollectorState
from actors.race_archive import RaceArchive
from actors.race_report import RaceReport
from actors.replay_buffer import ReplayBuffer
from actors.weight_store import Weights
from learner.learner import Learner
from learner.learner import Ports as LearnerPorts
from learner.learner import Turn as LearnerTurn
from tmrl_ray.errors import ConfigError, NotSavedError
from tmrl_ray.experience.codec import encode
from tmrl_ray.freed_memory import keep_freed_memory
from tmrl_ray.records import Records
from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointHead, CheckpointStore
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of
from tmrl_ray.runs.rundir import RunDirectory, resume_command
from tmrl_ray.serial_line import SerialLine
from tmrl_ray.training import Training, device_of

log = logging.getLogger(__name__)

LOOK_UP_S = 0.2
"""Between two looks at the wall clock's business."""


@dataclass(frozen=True)
class News:
    """What happened since the last news."""

    races: tuple[RaceReport, ...] = ()
    """Of the collector."""
    evaluation: Evaluation | None = None
    """Greedy races."""
    saved: CheckpointHead | None = None
    """A checkpoint."""


def ended_unsaved(store: CheckpointStore) -> NotSavedError:
    """Return the error of a run that has ended without a last checkpoint; why there is none was logged."""
    names = store.names()
    since = f"since {names[-1]} " if names else ""
    return NotSavedError(
        f"the run has ended without a last checkpoint: what was learned {since}is lost, its experience is kept until "
        "this machine is started again",
        hint=f"Mend what was in the way, then go on from there: {resume_command(store.directory.parent)}",
    )


class SerialRun:
    """One run; see the module for the loop in which it is used.

    Args:
        training: what it is made of.
        run: its folder.
        store: its checkpoints.
        checkpoint: to go on from; None: it is new.
    """

    def __init__(
        self, training: Training, run: RunDirectory, store: CheckpointStore, checkpoint: Checkpoint | None = None
    ) -> None:
        config, pretrained = training.config, training.config.learner.pretrained
        if pretrained is not None and (pretrained.wait_for or pretrained.follow):
            raise ConfigError(
                "learner.pretrained.wait_for and follow need a cluster, on which artifacts are announced",
                hint="Name the artifact when it is there, learner.pretrained=FOLDER, or train without --serial.",
            )
        self.training = training
        self.run_directory = run
        self._store = store
        parts = {} if checkpoint is None else checkpoint.parts
        self._stack = ExitStack()
        device = device_of(config.training.device)
        torch.set_num_threads(config.training.threads or torch.get_num_threads())
        keep_freed_memory()
        self.buffer = ReplayBuffer(training.buffer_setup(run.uuid, run.path), parts.get("experience"), clock=_no_time)
        self._stack.callback(self._let_go_of_rings)
        if self.buffer.demonstrations is not None:
            for chunk in training.demonstrations(self.buffer.enlist_expert, begun=self.buffer.stats().experts):
                self.buffer.add_demonstration(encode(chunk, compress=False))
        state = None if checkpoint is None else parts["records"].values["state"]
        self.records = Records(run, config, training.references_s, state)
        line = SerialLine(self.buffer)
        priorities, demonstrations = config.replay.priorities, self.buffer.demonstrations
        self.learner = Learner(
            training.update(device, new=checkpoint is None),
            training.batches(self.buffer.ring, None if demonstrations is None else demonstrations.ring, device),
            LearnerPorts(line, line),
            config.reward,
            prioritised=priorities is not None,
            priorities_below_clock=None if priorities is None else priorities.update_below_clock,
            set_aside=run.set_aside,
        )
        if checkpoint is not None:
            part = parts["learner"]
            self.learner.load_state_dict(part.tensors(), part.values)
        self.learner.version = max(self.learner.version, self.buffer.ring.newest_policy_version())  # after a kill
        collected = parts.get("collectors")  # none: a cluster saved it
        driving = training.driving(device_of(config.collector.device, setting="collector.device"))
        self.collector = Collector(
            0,
            config.collector.replace(flush_s=None),
            driving,
            CollectorPorts(
                training.game_keeper(0, races=0 if collected is None else collected.values["races"]),
                line,
                line,
                line.time,
                line.sleep,
            ),
            run_seed=config.training.seed,
        )
        if collected is not None:
            continues = self.buffer.continues
            self.collector.load_state_dict(collected.tensors(), collected.values, continues=continues)
        if "weights" in parts:
            line.publish(parts["weights"].values["version"], np.asarray(parts["weights"].arrays["data"]).tobytes())
        self._line = line
        self._is_between_races = False
        archive = RaceArchive(run.best, keep=config.evaluation.keep)
        self._evaluator = Evaluator(
            config.evaluation, driving, training.game_keeper(), archive, run_seed=config.training.seed
        )
        self._stack.callback(self._evaluator.close)
        self._stopping = False
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """Collect and learn no more once the race that is under way has ended; then all is saved."""
        self._stopping = True

    @property
    def state(self) -> Literal["starting", "training", "stopping", "ended"]:
        """What it does."""
        if self._ended:
            return "ended"
        if self._stopping:
            return "stopping"
        return "training" if self.records.is_counting else "starting"

    @property
    def stats(self) -> BufferStats:
        """Of the replay buffer."""
        return self.buffer.stats()

    @property
    def policy_version(self) -> int:
        """Of the newest weights that were published."""
        return self.learner.version

    @property
    def learner_restarts(self) -> int:
        """How often the learner was started again: never."""
        return 0

    def members(self) -> list[Member]:
        """Return how its collector is."""
        beat = self.collector.heartbeat()
        return [Member(number=0, state=MemberState.RUNNING, crashes=0, restarts=0, reason="", heartbeats=(beat,))]

    def run(self) -> Iterator[News]:
        """Yield the news, a few times a second and after each race, until the run is stopped or at its end.

        Raises:
            NotSavedError: it has ended, and its last checkpoint could not be written.
        """
        settings, every_s = self.training.config.training, self.training.config.evaluation.every_s
        if self._line.published is None:
            self.learner.publish()
        work = self._work()
        next(work)  # games are made and compiled for the first decision
        self.records.start()
        now_s = time.monotonic()
        due_s = {"evaluation": now_s + every_s, "row": now_s, "checkpoint": now_s + settings.checkpoint_s}
        while not self._is_done():
            look_up_s = time.monotonic() + LOOK_UP_S
            self._is_between_races = next(work)
            while time.monotonic() < look_up_s and not self._is_between_races:
                self._is_between_races = next(work)
            evaluation = None
            if time.monotonic() >= due_s["evaluation"]:
                due_s["evaluation"] = time.monotonic() + every_s
                evaluation = self.evaluate()
            races = self._take_races()
            if time.monotonic() >= due_s["row"]:
                due_s["row"] = time.monotonic() + settings.metrics_s
                self._write_row()
            saved = None
            if self._is_between_races and time.monotonic() >= due_s["checkpoint"]:
                saved = self._try_to_save()
                due_s["checkpoint"] = time.monotonic() + settings.checkpoint_s
            yield News(races, evaluation, saved)
        yield from self._end()

    def evaluate(self) -> Evaluation:
        """Drive greedy races with the weights as they are, and keep the best of all."""
        learner = self.learner
        evaluation = self._evaluator.evaluate(Weights.of(max(learner.version, 1), learner.update.packed_weights()))
        self.records.evaluation(evaluation)
        for report in evaluation.reports:
            if report.finish_time_ms is not None:
                learner.update.plateau.observe(report.finish_time_ms / 1000, self.records.clocks.env_steps)
        return evaluation

    def save(self) -> CheckpointHead:
        """Write a checkpoint, between two races or after the last one.

        Raises:
            NotSavedError: it could not be written.
        """
        self.learner.tell_priorities()
        tensors, values = self.learner.state_dict()
        parts = {
            "learner": Part(values, tensors),
            "experience": self.buffer.checkpoint(),
            "records": Part({"state": self.records.state_dict()}),
        }
        if self._is_between_races and (published := self._line.published) is not None:
            arrays, collected = self.collector.state_dict()
            parts["collectors"] = Part(collected, arrays)
            data = np.frombuffer(published.data, np.uint8)
            parts["weights"] = Part({"version": published.version}, {"data": data})
        began_s = time.monotonic()
        head = self._store.save(parts, self.records.clocks, score=self.records.evaluations.mean_time_s)
        self.records.saved(head, self._store.directory / head.name, time.monotonic() - began_s)
        return head

    def _try_to_save(self) -> CheckpointHead | None:
        try:
            return self.save()
        except NotSavedError as error:
            log.error("no checkpoint now: %s", error)
            self.records.save_failed()
            return None

    def _write_row(self) -> None:
        states = Telling("states", count_states([self.collector.heartbeat()]))
        self.records.row([self.learner.tell(), self.buffer.tell(), self.collector.tell(), states, memory_of("run")])

    def _work(self) -> Iterator[bool]:
        """Learn while that is allowed, else collect until something has arrived or a race has ended; in short turns.

        Yields whether a race has just ended: then the learner has learned from all that it has drawn.
        """
        learning = self.learner.run()
        while True:
            while next(learning) is LearnerTurn.LEARNED:
                self._advance()
                yield False
            arrived, turn = self._line.arrived, None
            for turn in self.collector.run():
                if turn is CollectorTurn.WAITING:
                    self._line.sleep(1.0)
                if turn is not CollectorTurn.DECIDED or self._line.arrived != arrived:
                    break
                yield False
            self._advance()
            yield turn is CollectorTurn.RACED

    def _end(self) -> Iterator[News]:
        """Let go of the game, measure what was learned, save all, and yield the last news."""
        self.collector.stop()
        for _ in self.collector.run():
            self._line.sleep(1.0)
        self._advance()
        self.records.hold()
        evaluation, races, saved = self.evaluate(), self._take_races(), self._try_to_save()
        self._write_row()
        self.records.close(None if saved is None else "finished" if self._is_over() else "stopped")
        self._ended = saved is not None
        yield News(races, evaluation, saved)
        if saved is None:
            raise ended_unsaved(self._store)

    def _advance(self) -> None:
        self.records.advance(env_steps=self.buffer.ring.counters.env_steps, learner_steps=self.learner.steps)

    def _take_races(self) -> tuple[RaceReport, ...]:
        races = tuple(self.collector.take_reports())
        for race in races:
            self.records.race(race)
        return races

    def _is_done(self) -> bool:
        if self.collector.state is CollectorState.QUARANTINED:
            return True
        return self._is_between_races and (self._stopping or self._is_over())

    def _is_over(self) -> bool:
        return self.records.clocks.are_at_the_end(self.training.config.training)

    def _let_go_of_rings(self) -> None:
        if self._ended:
            self.buffer.remove()  # its last checkpoint has all of it
        else:
            self.buffer.close()  # whoever resumes goes on with it


def _no_time() -> float:
    """Tell the buffer's credits no time: the one collector there is cannot fall silent."""
    return 0.0
