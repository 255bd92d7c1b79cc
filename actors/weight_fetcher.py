"""Brings newer weights to a policy, without making it wait for longer than it wants to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from actors.weight_store import Weights, WeightSource
from tmrl_ray.errors import DataError, PeerUnavailableError
from tmrl_ray.iqn.policy import Exploration
from tmrl_ray.racing.rollout import Policy

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

AGAIN_S = 0.5
"""Between two requests for the same weights; the learner publishes about as often."""


class ActingPolicy(Policy, Protocol):
    """A policy whose weights and exploration can be changed; :class:`~tmrl_ray.iqn.policy.IQNPolicy` is one."""

    version: int
    exploration: Exploration

    def load(self, weights: Mapping[str, Tensor], *, version: int) -> None:
        """Act with other weights from now on."""

    def reset(self) -> None:
        """Forget what was seen: a race begins."""

    def weights(self) -> Mapping[str, Tensor]:
        """Return those that it acts with, as they were loaded."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of what is left to chance, JSON-able."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with chance where ``state_dict`` was taken."""


class WeightFetcher:
    """Fetches weights for one policy.

    The loop in which it is used::

        fetcher.ask(newest_version)
        while fetcher.is_waiting:
            fetcher.poll()

    Args:
        source: where weights come from.
        policy: what they are for.
        collector: who acts.
        patience_s: after this time without an answer the policy goes on with what it has.
        clock: tells monotonic seconds.
        fetched: is told how many seconds it took until newer weights acted.
    """

    def __init__(
        self,
        source: WeightSource,
        policy: ActingPolicy,
        collector: int,
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        fetched: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.future: Future[Weights | None] | None = None
        """The answer that is awaited."""
        self.asked_for: int | None = None
        """The version that was known of when it asked last; None: it never did."""
        self.failures = 0
        """How often no weights came, or damaged ones."""
        self._source = source
        self._policy = policy
        self._collector = collector
        self._patience_s = patience_s
        self._clock = clock
        self._fetched = fetched
        self._asked_at_s = 0.0  # by the stopwatch
        self._due_s = 0.0
        self._again_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is awaited."""
        return self.future is not None

    def ask(self, newest_version: int) -> None:
        """Ask for weights if there are newer ones, as far as is known; the first time in any case.

        A store that has none, since it was killed and the learner has not published again, is asked again after a
        while, or when newer ones are known of.
        """
        now_s = self._clock()
        if self.future is not None or newest_version <= self._policy.version and self.asked_for is not None:
            return
        if self.asked_for is not None and newest_version <= self.asked_for and now_s < self._again_s:
            return
        self.asked_for = newest_version
        self._again_s = now_s + AGAIN_S
        self._asked_at_s = time.perf_counter()
        self.future = self._source.fetch_if_newer(self._policy.version)
        self._due_s = now_s + self._patience_s
        self.poll()

    def poll(self) -> None:
        """Load the weights if they came, and wait no longer if that took too long."""
        future = self.future
        if future is None:
            return
        if future.done():
            self.future = None
            self._take(future)
        elif self._clock() >= self._due_s:
            log.warning("no weights in %g s: collector %d goes on with what it has", self._patience_s, self._collector)
            self.failures += 1
            future.cancel()
            self.future = None

    def _take(self, future: Future[Weights | None]) -> None:
        error = future.exception()
        if error is not None and not isinstance(error, PeerUnavailableError):
            raise error
        try:
            weights = None if error is not None else future.result()
            if weights is not None:
                self._policy.load(weights.tensors(), version=weights.version)
                self._source.acknowledge(self._collector, weights.version)
                self._fetched(time.perf_counter() - self._asked_at_s)
        except DataError as damage:
            error = damage
        if error is not None:
            log.warning("collector %d goes on with the weights that it has: %s", self._collector, error)
            self.failures += 1
