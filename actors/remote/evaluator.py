"""The evaluator as a Ray actor: fetches the newest weights when it is told to, and drives its races with them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.evaluation import Evaluation
from actors.evaluator import Evaluator
from actors.remote.calls import Shell, answer, ask, end_actor, start_actor
from actors.remote.collector import GAME
from actors.weight_store import WeightSource
from tmrl_ray.errors import TmrlError

PART = "evaluator"
PEER = "the evaluator"
CPUS = 0.2
"""What it reserves: it drives a small part of the time."""
FETCH_S = 60.0
"""For so long it waits for weights."""
CLOSE_S = 15.0
"""For so long the end of its game is awaited."""


class EvaluatorShell(Shell):
    """Measures a run's weights."""

    def __init__(self, make: Callable[[], tuple[Evaluator, WeightSource]]) -> None:
        self._evaluator, self._weights = make()

    @ray.method(concurrency_group="races")
    def evaluate(self, version: int, races: int) -> Evaluation | None:
        """Measure the newest weights in so many races a map; None: there are none newer than ``version``."""
        weights = self._weights.fetch_if_newer(version).result(FETCH_S)
        self._evaluator.settings = self._evaluator.settings.replace(races=races)
        return None if weights is None else self._evaluator.evaluate(weights)

    def close(self) -> None:
        """Let go of the game; end the actor next."""
        self._evaluator.close()


def start_evaluator(
    run: str, make: Callable[[], tuple[Evaluator, WeightSource]], part: str = PART, **options: Any
) -> ActorHandle[Any]:
    """Start the evaluator of a run.

    Args:
        run: name of the run.
        make: makes the plain evaluator in its own process, and says where weights are; a function of a module, or a
            ``partial`` of one.
        part: its name within the run.
        options: Ray's.
    """
    reserved = {"num_cpus": CPUS, "resources": {GAME: 1}, **options}
    return start_actor(run, part, EvaluatorShell, make, groups={"races": 1}, **reserved)


class EvaluatorClient:
    """The evaluator, for whoever runs it.

    Args:
        evaluator: the actor.
    """

    def __init__(self, evaluator: ActorHandle[Any]) -> None:
        self.actor = evaluator

    def evaluate(self, version: int, races: int) -> Future[Evaluation | None]:
        """Let it measure the newest weights in so many races a map, if they are newer than ``version``."""
        return answer(lambda: self.actor.evaluate.remote(version, races), PEER)

    def close(self) -> None:
        """Let it end its game, which a kill alone would leave behind."""
        with suppress(TmrlError):
            ask(self.actor.close.remote, PEER, timeout_s=CLOSE_S)

    def end(self) -> None:
        """End the actor at once."""
        end_actor(self.actor)
