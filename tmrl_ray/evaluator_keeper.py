"""Keeps the evaluator of a run on a cluster: lets it measure weights, and goes on without it while it fails.

Evaluations are only measured, so that nothing that goes wrong with them ends a run. One that fails is told, and the
next one waits for a pause that grows. Ray starts an evaluator again whose process died; one that Ray has given up,
since it could not be made, is started anew here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from ray.exceptions import ActorDiedError

from actors.evaluation import Evaluation
from actors.remote.evaluator import PART, EvaluatorClient
from tmrl_ray.runs.meter import Meter, Telling

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 5.0
"""After an evaluation that failed; twice as long after each further one."""
LAST_PAUSE_S = 300.0


class EvaluatorKeeper:
    """Keeps one evaluator, which evaluates one version of the weights at a time.

    Args:
        start: starts an evaluator under the name of its part of the run.
        clock: tells monotonic seconds.
    """

    def __init__(self, start: Callable[[str], EvaluatorClient], clock: Callable[[], float] = time.monotonic) -> None:
        self._start = start
        self._clock = clock
        self._starts = 1
        self._client = start(PART)
        self._is_dead = False
        self._evaluating: Future[Evaluation | None] | None = None
        self._version = 0
        self._failures = 0
        self._due_s = clock()
        self._meter = Meter("evaluations")

    @property
    def client(self) -> EvaluatorClient:
        """The evaluator that there is."""
        return self._client

    @property
    def is_busy(self) -> bool:
        """Whether it is at an evaluation that was not taken yet."""
        return self._evaluating is not None

    @property
    def is_ready(self) -> bool:
        """Whether it is at nothing, and no pause after a failure goes on."""
        return not self.is_busy and self._clock() >= self._due_s

    def evaluate(self, races: int) -> None:
        """Let it measure the newest weights in so many races a map, unless it did before; it must be at nothing."""
        assert not self.is_busy
        if self._is_dead:
            self._client.end()
            self._starts += 1
            self._client, self._is_dead = self._start(f"{PART}-{self._starts}"), False  # a name is free only later
        self._evaluating = self._client.evaluate(self._version, races)

    def take(self, *, within_s: float = 0.0) -> Evaluation | None:
        """Return an evaluation that is there; None: there is none, in that time."""
        evaluating = self._evaluating
        if evaluating is None or wait([evaluating], timeout=within_s).not_done:
            return None
        self._evaluating = None
        error = evaluating.exception()
        if error is not None:
            self._failed(error)
            return None
        self._failures = 0
        evaluation = evaluating.result()
        if evaluation is not None:
            self._version = evaluation.version
        return evaluation

    def tell(self) -> Telling:
        """Return the metrics of what went wrong since the last call."""
        self._meter.add("evaluation/failures", 0)
        return self._meter.tell()

    def _failed(self, error: BaseException) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**self._failures, LAST_PAUSE_S)
        self._failures += 1
        self._due_s = self._clock() + pause_s
        self._is_dead = isinstance(error.__cause__, ActorDiedError)
        self._meter.add("evaluation/failures")
        log.error("no evaluation now, the next one not before %g s have passed: %s", pause_s, error)
