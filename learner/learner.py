"""The learner: asks for rows, builds batches of them, learns from these, and publishes weights.

The loop in which it is used::

    learner = Learner(update, builder, ports, settings, reward)
    for turn in learner.run():
        if turn is Turn.WAITING:
            learner.wait()

Each turn is one update or a moment of waiting, so that in one process others have their turns in between. Statistics,
logs and checkpoints are made by whoever drives the loop: :meth:`Learner.take_summary`, :meth:`Learner.state_dict`.

With ``draw_ahead`` the next rows are asked for before the batches of the present ones are built, so that the answer
is there when it is needed. ``drain`` learns from what was drawn, so that a checkpoint misses nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from learner.report import StepReport, Summary, summarise
from learner.update import LearnerUpdate
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.experience.batch_builder import BatchBuilder
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.sampling import Draw, PriorityUpdate
from tmrl_ray.experience.transitions import Valuation
from tmrl_ray.racing.reward import weight_vector

log = logging.getLogger(__name__)

STATE_FORMAT = 1
MOST_REPORTS = 2048
"""Reports that are kept for whoever takes them; the oldest make way."""
WAIT_S = 0.1
"""The longest that one turn of waiting takes."""


class Turn(Enum):
    """What a learner did in one turn."""

    LEARNED = auto()
    WAITING = auto()
    """It may not draw now, or nobody answers: call ``wait``, or do something else."""


class Question(NamedTuple):
    """What the learner asks for, and what it has to tell."""

    batches: int
    batch_size: int
    policy_version: int
    """Of the newest weights that were published."""
    priorities: tuple[PriorityUpdate, ...] = ()
    """Of rows that were learned from since the last question."""
    extra_samples: int = 0
    """So many more samples may be drawn than the limiter allows, because of soft resets since the last question."""


class Drawn(NamedTuple):
    """The answer."""

    env_steps: int
    """Decisions taken in over the whole run: the clock of all schedules."""
    draw: Draw | None
    """Rows of the collectors' ring; None: not now, the limiter holds the learner back."""
    demonstrations: Draw | None = None
    """Rows of the experts' ring for as many batches; None: there are none."""


class RowSource(Protocol):
    """The replay buffer as the learner sees it."""

    def ask(self, question: Question) -> Future[Drawn]:
        """Ask for rows. A future that fails with :class:`~tmrl_ray.errors.PeerUnavailableError` means: ask again."""


class WeightSink(Protocol):
    """The weight store as the learner sees it."""

    def publish(self, version: int, data: bytes) -> None:
        """Publish weights, safetensors; nobody waits for an answer."""


@dataclass(frozen=True)
class Ports:
    """All that a learner reaches beyond itself."""

    rows: RowSource
    weights: WeightSink


class Learner:
    """Trains a network from a replay buffer; see the module for the loop in which it is used.

    Args:
        update: learns from batches.
        builder: makes them from rows, attached to the ring that the rows are of.
        ports: the replay buffer and the weights.
        reward: what the terms of the reward are worth.
        prioritised: whether rows are drawn by their temporal difference errors, which are then told.
        priorities_below_clock: draws later in their mini-race tell nothing; None: all do.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, and two settings
        self,
        update: LearnerUpdate,
        builder: BatchBuilder,
        ports: Ports,
        reward: RewardSettings,
        *,
        prioritised: bool = False,
        priorities_below_clock: int | None = None,
    ) -> None:
        self.update = update
        self.builder = builder
        self.version = 0
        """Of the newest weights that were published."""
        self.env_steps = 0
        """Of the run, as of the latest answer."""
        self._settings: LearnerSettings = update.settings
        self._ports = ports
        self._term_weights = weight_vector(reward)
        self._prioritised = prioritised
        self._below_clock = priorities_below_clock
        self._question: Question | None = None  # until it is answered
        self._asked: Future[Drawn] | None = None
        self._untold: list[tuple[StepReport, Tensor]] = []  # with the clocks of the collectors' rows
        self._extra_samples = 0
        self._reports: deque[StepReport] = deque(maxlen=MOST_REPORTS)
        self._copies: deque[torch.cuda.Event] = deque()
        self._draining = False
        self._turns = self._learn()

    @property
    def steps(self) -> int:
        """Updates so far, undone ones included."""
        return self.update.steps

    def run(self) -> Iterator[Turn]:
        """Return the turns: one for each update and moment of waiting, until it is drained."""
        return self._turns

    def wait(self) -> None:
        """Wait a moment, or less if the answer comes."""
        if self._asked is not None:
            wait([self._asked], timeout=WAIT_S)

    def drain(self) -> None:
        """Learn from what was drawn, ask for no more and end."""
        self._draining = True

    def publish(self) -> None:
        """Publish the weights as they are."""
        self.version += 1
        self._ports.weights.publish(self.version, save(self.update.weights()))

    def take_summary(self) -> Summary | None:
        """Return what the steps since the last call were like, and warn of batches that were set aside; None: no steps.

        Waits for the device.
        """
        if not self._reports:
            return None
        summary = summarise([self._reports.popleft() for _ in range(len(self._reports))])
        for aside in summary.set_aside:
            log.warning(
                "step %d was undone: its loss or gradient is not finite; rows %s of the ring",
                aside.step,
                np.array2string(aside.indices, threshold=8),
            )
        return summary

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on: tensors by name, and JSON-able values.

        Rows that were drawn and not learned from are not a part of it: take it when ``drain`` has ended, or in a
        turn between two draws, where the loop is not to continue exactly.
        """
        tensors, values = self.update.state_dict()
        return tensors, {
            "format": STATE_FORMAT,
            "version": self.version,
            "env_steps": self.env_steps,
            "extra_samples": self._extra_samples,
            "builder": self.builder.state_dict(),
            "update": values,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned, before the first turn.

        Raises:
            DataError: it is of another format, or of another network; nothing was changed.
        """
        self.update.load_state_dict(tensors, values["update"])
        self.version, self.env_steps = values["version"], values["env_steps"]
        self._extra_samples = values["extra_samples"]
        self.builder.load_state_dict(values["builder"])

    def _learn(self) -> Iterator[Turn]:
        while not self._draining:
            drawn = yield from self._rows()
            if drawn is None:
                continue
            if self._settings.draw_ahead and not self._draining:
                self._asked = self._ask()
            yield from self._learn_from(drawn)
        if self._asked is not None:
            drawn = yield from self._rows()
            if drawn is not None:
                yield from self._learn_from(drawn)

    def _rows(self) -> Generator[Turn, None, Drawn | None]:
        """Ask until there is an answer; None: there are no rows to learn from now."""
        asked = self._ask() if self._asked is None else self._asked
        self._asked = asked
        while not asked.done():
            yield Turn.WAITING
        self._asked = None
        error = asked.exception()
        if error is None:
            self._question = None
            drawn = asked.result()
            self.env_steps = max(self.env_steps, drawn.env_steps)
            if drawn.draw is not None:
                return drawn
        elif not isinstance(error, PeerUnavailableError):
            raise error
        yield Turn.WAITING
        return None

    def _ask(self) -> Future[Drawn]:
        if self._question is None:
            settings = self._settings
            told, self._untold = tuple(self._priorities(*each) for each in self._untold), []
            extra, self._extra_samples = self._extra_samples, 0
            self._question = Question(settings.draw_batches, settings.batch_size, self.version, told, extra)
        return self._ports.rows.ask(self._question)

    def _learn_from(self, drawn: Drawn) -> Iterator[Turn]:
        assert drawn.draw is not None
        valuation = Valuation(self._settings.discount.at(self.env_steps), self._term_weights)
        batches = self.builder.batches(drawn.draw, valuation, demonstrations=drawn.demonstrations)
        while (batch := next(batches, None)) is not None:
            self._step(batch)
            yield Turn.LEARNED

    def _step(self, batch: Batch) -> None:
        report = self.update.step(self._on_device(batch), env_steps=self.env_steps)
        self._reports.append(report)
        self._extra_samples += report.extra_samples
        if self._prioritised:
            own = len(batch) if batch.expert_actions is None else int((batch.expert_actions < 0).sum())
            self._untold.append((report, batch.clock[:own].clone()))
        if self.update.steps % self._settings.publish_every == 0:
            self.publish()

    def _on_device(self, batch: Batch) -> Batch:
        """Copy a batch to where it is learned from; its own memory is filled again while that is under way."""
        device = self.update.device
        if device.type != "cuda":
            return batch
        if len(self._copies) >= self.builder.buffers - 1:
            self._copies.popleft().synchronize()  # a batch before the last: hardly waits
        copied = batch.to(device)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._copies.append(event)
        return copied

    def _priorities(self, report: StepReport, clock: Tensor) -> PriorityUpdate:
        """Return what is told of the collectors' rows, which come first in a batch and have these clocks (rows,)."""
        own = len(clock)
        return PriorityUpdate.of(
            report.indices[:own].cpu().numpy(),
            report.generations[:own].cpu().numpy(),
            report.td_errors[:own].float().cpu().numpy(),
            clock=clock.numpy(),
            below_clock=self._below_clock,
        )
