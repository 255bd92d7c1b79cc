"""The parts of a real run on a cluster, with the journal and with faults that are struck from outside.

Each is made in the process of its actor by what the product makes it with; ``folder`` is that of the journal.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from actors.collector import Collector
from actors.evaluation import Evaluation
from actors.evaluator import Evaluator
from actors.remote.weights import WeightClient
from actors.weight_store import Weights
from learner.learner import Learner
from tests.faults.journal import Journal
from tests.faults.journalled_client import JournalledClient
from tests.faults.parts import Trigger, die
from tmrl_ray import learner_keeper, makers
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import GameRefusedError
from tmrl_ray.experience.batches import Batch
from tmrl_ray.training import Training


def make_collectors(folder: Path, config: RunConfig, run: str, member: int) -> list[Collector]:
    """The product's collectors, with a journal."""
    JournalledClient.journal = Journal(folder, Training.of(config).format)
    makers.ReplayClient = JournalledClient  # type: ignore[misc]
    return makers.make_collectors(config, run, member)


def publishing(folder: Path) -> Trigger:
    """Kills the learner: ``before`` weights are sent, or while they are ``under way``."""
    return Trigger(folder / "publishing")


def nonsense(folder: Path) -> Trigger:
    """Spoils so many of the learner's next batches."""
    return Trigger(folder / "nonsense")


def measuring(folder: Path) -> Trigger:
    """Breaks the evaluator's next evaluation."""
    return Trigger(folder / "measuring")


def make_evaluator(folder: Path, *arguments: Any) -> tuple[Evaluator, WeightClient]:
    """The product's evaluator, which breaks when it is told to."""
    evaluator, weights = makers.make_evaluator(*arguments)
    trigger, evaluate = measuring(folder), evaluator.evaluate

    def breaking(measured: Weights) -> Evaluation:
        if trigger.fires() is not None:
            raise GameRefusedError("the game was lost 6 times")
        return evaluate(measured)

    evaluator.evaluate = breaking  # type: ignore[method-assign]
    return evaluator, weights


class DyingWeightClient(WeightClient):
    """Publishes weights, or dies of it."""

    trigger: Trigger

    def publish(self, weights: Weights) -> Future[int]:
        how = self.trigger.fires()
        if how == "before":
            die()
        future = super().publish(weights)
        if how is not None:
            die()
        return future


def make_learner(folder: Path, config: RunConfig, *arguments: Any) -> Learner:
    """The product's learner, with a journal, which dies or is given nonsense when it is told to."""
    JournalledClient.journal = Journal(folder, Training.of(config).format)
    DyingWeightClient.trigger = publishing(folder)
    learner_keeper.ReplayClient = JournalledClient  # type: ignore[misc]
    learner_keeper.WeightClient = DyingWeightClient  # type: ignore[misc]
    learner = learner_keeper.make_learner(config, *arguments)
    _spoil_batches(learner, nonsense(folder))
    return learner


def _spoil_batches(learner: Learner, trigger: Trigger) -> None:
    step, left = learner.update.step, 0

    def spoilt(batch: Batch, *, env_steps: int) -> Any:
        nonlocal left
        left += int(trigger.fires() or 0)
        if left > 0:
            left -= 1
            batch.rewards.fill_(math.nan)
        return step(batch, env_steps=env_steps)

    learner.update.step = spoilt  # type: ignore[method-assign]
