"""The learner: asks for rows, builds batches of them, learns from these, and publishes weights.

The loop in which it is used::

    learner = Learner(update, builder, ports, settings, reward)
    for turn in learner.run():
        if turn is Turn.WAITING:
            learner.wait()

Each turn is one update or a moment of waiting, so that in one process others have their turns in between. Statistics,
logs and checkpoints are made by whoever drives the loop: :meth:`Learner.tell`, :meth:`Learner.state_dict`.

Now and then a batch of races that are kept for testing is asked for besides, and only measured.

With ``draw_ahead`` the next rows are asked for before the batches of the present ones are built, so that the answer
is there when it is needed. ``drain`` learns from what was drawn, so that a checkpoint misses nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from learner.device_copies import DeviceCopies
from learner.metering import LearnerMeter
from learner.report import StepReport, Summary, summarise
from learner.set_aside import SetAsideBook
from learner.update import LearnerUpdate
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.errors import DataError, PeerUnavailableError
from tmrl_ray.experience.batch_builder import BatchBuilder
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import Draw, PriorityUpdate
from tmrl_ray.experience.transitions import Valuation
from tmrl_ray.racing.reward import weight_vector
from tmrl_ray.runs.meter import Telling

log = logging.getLogger(__name__)

STATE_FORMAT = 1
MOST_REPORTS = 2048
"""Reports that are kept for whoever takes them. The older half makes way, its batches that were set aside on record."""
WAIT_S = 0.1
"""The longest that one turn of waiting takes."""
HELD_BACK_S = 0.005
"""Before the next question, where the limiter holds the learner back: at once would be a thousand calls a second."""
TEST_EVERY = 64
"""Updates between two batches that are only measured: one costs a quarter of an update, so 0.4 % of learning."""


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
    test_batches: int = 0
    """So many of races that are kept for testing, besides."""


class Drawn(NamedTuple):
    """The answer."""

    env_steps: int
    """Decisions taken in over the whole run: the clock of all schedules."""
    draw: Draw | None
    """Rows of the collectors' ring; None: not now, the limiter holds the learner back."""
    demonstrations: Draw | None = None
    """Rows of the experts' ring for as many batches; None: there are none."""
    test: Draw | None = None
    """Rows of races that are kept for testing; None: none were asked for, or there are none."""
    ring_uuid: str | None = None
    """Of the collectors' ring that the rows are in; None: always the same."""


class RowSource(Protocol):
    """The replay buffer as the learner sees it."""

    def ask(self, question: Question) -> Future[Drawn]:
        """Ask for rows. A future that fails with :class:`~tmrl_ray.errors.PeerUnavailableError` means: ask again."""

    def ring(self) -> RingReader:
        """Attach to the collectors' ring as it is now.

        Raises:
            PeerUnavailableError: nobody says where it is; its rows cannot be read now.
        """

    def set_priorities(self, updates: tuple[PriorityUpdate, ...]) -> None:
        """Tell what a question would tell, for good when this returns.

        Raises:
            PeerUnavailableError: nobody says that it is; tell it again.
        """


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
        set_aside: file of batches that gave no finite loss; None: only the log tells of them.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, and three settings
        self,
        update: LearnerUpdate,
        builder: BatchBuilder,
        ports: Ports,
        reward: RewardSettings,
        *,
        prioritised: bool = False,
        priorities_below_clock: int | None = None,
        set_aside: Path | None = None,
    ) -> None:
        self.update = update
        self.builder = builder
        self.version = 0
        """Of the newest weights that were published."""
        self.env_steps = 0
        """Of the run, as of the latest answer."""
        self._settings: LearnerSettings = update.settings
        self._ports = ports
        self._reward = reward
        self._prioritised = prioritised
        self._set_aside = SetAsideBook(set_aside)
        self._below_clock = priorities_below_clock
        self._question: Question | None = None  # until it is answered
        self._asked: Future[Drawn] | None = None
        self._untold: list[tuple[StepReport, Tensor]] = []  # with the clocks of the collectors' rows
        self._extra_samples = 0
        self._untested = TEST_EVERY  # updates since the last batch that was only measured; the first comes at once
        self._meter = LearnerMeter(update, builder)
        self._reports: deque[StepReport] = deque()
        self._tests: deque[Tensor] = deque(maxlen=MOST_REPORTS)
        on_gpu = update.device.type == "cuda"
        self._copies = DeviceCopies(update.device, builder.buffers) if on_gpu else None
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
        else:
            time.sleep(HELD_BACK_S)

    def drain(self) -> None:
        """Learn from what was drawn, ask for no more and end."""
        self._draining = True

    def publish(self) -> None:
        """Publish the weights as they are."""
        self.version += 1
        with self._meter.publishing(self.version):
            data = self.update.packed_weights()
            self._ports.weights.publish(self.version, data)
        self._meter.published_bytes(len(data))

    def tell(self) -> Telling:
        """Return its metrics since the last call. Waits for the device."""
        return self._meter.tell(self.take_summary(), set_aside=self._set_aside.batches)

    def take_summary(self) -> Summary | None:
        """Return what the steps since the last call were like, and tell of batches that were set aside; None: no steps.

        Waits for the device.
        """
        if not self._reports:
            return None
        tests = [self._tests.popleft() for _ in range(len(self._tests))]
        return self._summarise(len(self._reports), tests)

    def tell_priorities(self) -> None:
        """Tell the priorities of rows that were learned from since the last question, or have the next one tell them.

        They are no part of ``state_dict``: whoever wants to lose none calls this before it saves.
        """
        try:
            self._ports.rows.set_priorities(self._priorities())
        except PeerUnavailableError as error:
            log.warning("priorities of %d batches are not told now: %s", len(self._untold), error)
        else:
            self._untold = []

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
            "untested": self._untested,
            "builder": self.builder.state_dict(),
            "update": values,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned, before the first turn.

        Raises:
            DataError: it is of another format, or of another network; nothing was changed.
        """
        if values.get("format") != STATE_FORMAT:
            raise DataError(
                f"the state of the learner has the format {values.get('format')}, this version reads {STATE_FORMAT}",
                hint="resume with the version that wrote it, or start a new run",
            )
        self.update.load_state_dict(tensors, values["update"])
        self.version, self.env_steps = values["version"], values["env_steps"]
        self._extra_samples, self._untested = values["extra_samples"], values["untested"]
        self.builder.load_state_dict(values["builder"])
        self._meter.begin_anew()

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
        self._asked, began_s = asked, time.perf_counter()
        while not asked.done():
            yield Turn.WAITING
        self._meter.took("index_wait", time.perf_counter() - began_s)
        self._asked = None
        error = asked.exception()
        if error is None:
            self._question = None
            drawn = asked.result()
            self.env_steps = max(self.env_steps, drawn.env_steps)
            if drawn.draw is not None and self._reads(drawn.ring_uuid):
                self._meter.activities.begin("waiting")
                return drawn
            self._meter.activities.begin("blocked")
        elif not isinstance(error, PeerUnavailableError):
            raise error
        yield Turn.WAITING
        return None

    def _ask(self) -> Future[Drawn]:
        if self._question is None:
            settings = self._settings
            told, self._untold = self._priorities(), []
            extra, self._extra_samples = self._extra_samples, 0
            tests = int(self._untested >= TEST_EVERY)
            self._question = Question(settings.draw_batches, settings.batch_size, self.version, told, extra, tests)
        return self._ports.rows.ask(self._question)

    def _reads(self, ring_uuid: str | None) -> bool:
        """Return whether rows of a ring can be read; one that took the place of another is attached to."""
        if ring_uuid is None or ring_uuid == self.builder.ring_uuid:
            return True
        try:
            ring = self._ports.rows.ring()
        except PeerUnavailableError as error:
            log.warning("the rows that were drawn are left out: %s", error)
            return False
        log.warning("the run has another ring now: %s instead of %s", ring.uuid, self.builder.ring_uuid)
        self.builder.attach(ring)
        self._untold = []  # priorities of rows of the other one
        return ring.uuid == ring_uuid

    def _learn_from(self, drawn: Drawn) -> Iterator[Turn]:
        assert drawn.draw is not None
        worth = weight_vector(self._reward, self.env_steps)
        valuation = Valuation(self._settings.discount.at(self.env_steps), worth)
        batches = self.builder.batches(drawn.draw, valuation, demonstrations=drawn.demonstrations)
        is_first = True
        while (batch := self._gathered(batches)) is not None:
            if is_first:
                self._meter.lag(batch, self.version)
                is_first = False
            self._step(batch)
            yield Turn.LEARNED
        self._set_aside.check()
        if drawn.test is not None:
            self._untested = 0
            self._test(drawn.test, valuation)

    def _gathered(self, batches: Iterator[Batch]) -> Batch | None:
        """Return the next batch, on the CPU; None: there is none left."""
        began_s = time.perf_counter()
        with self._meter.activities.during("gathering"):
            batch = next(batches, None)
        if batch is not None:
            self._meter.took("gather", time.perf_counter() - began_s)
        return batch

    def _step(self, batch: Batch) -> None:
        with self._meter.activities.during("training"):
            copied = self._on_device(batch)
            began_s = time.perf_counter()
            report = self.update.step(copied, env_steps=self.env_steps)
            self._meter.took("step", time.perf_counter() - began_s)
        if len(self._reports) >= MOST_REPORTS:
            self._summarise(MOST_REPORTS // 2)
        self._reports.append(report)
        self._extra_samples += report.extra_samples
        self._untested += 1
        if self._prioritised:
            own = len(batch) if batch.expert_actions is None else int((batch.expert_actions < 0).sum())
            self._untold.append((report, batch.clock[:own].clone()))
        if self.update.steps % self._settings.publish_every == 0:
            self.publish()

    def _summarise(self, steps: int, tests: Sequence[Tensor] = ()) -> Summary:
        """Return what the oldest steps were like that nobody was told of. Waits for the device."""
        return self._set_aside.take(summarise([self._reports.popleft() for _ in range(steps)], tests))

    def _test(self, draw: Draw, valuation: Valuation) -> None:
        """Measure batches that are not learned from."""
        with self._meter.activities.during("testing"):
            for batch in self.builder.batches(draw, valuation, augment=False):
                self._tests.append(self.update.test(self._on_device(batch)))

    def _on_device(self, batch: Batch) -> Batch:
        """Return a batch where it is learned from."""
        if self._copies is None:
            return batch
        began_s = time.perf_counter()
        copied = self._copies.take(batch)
        self._meter.took("copy", time.perf_counter() - began_s)
        return copied

    def _priorities(self) -> tuple[PriorityUpdate, ...]:
        """Return those that nobody was told of."""
        return tuple(report.priorities(clock, below_clock=self._below_clock) for report, clock in self._untold)
