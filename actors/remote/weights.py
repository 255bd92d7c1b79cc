"""The weight store as a Ray actor.

Weights lie in the object store of the node, put there once by the weight store: whoever fetches them on the same node
reads the same memory. The learner never owns them, so that they survive it; when the weight store is killed, they are
gone, which costs nothing (see ``actors.weight_store``).
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import ray
from numpy.typing import NDArray
from ray.actor import ActorHandle

from actors.remote.calls import Shell, answer, ask, start_actor, then
from actors.weight_store import Weights, WeightStore

PART = "weights"
PEER = "the weight store"


class Ticket(NamedTuple):
    """Where weights can be had."""

    version: int
    checksum: int
    reference: list[ray.ObjectRef[NDArray[np.uint8]]]
    """One; in a list it is handed over as it is, and fetched when somebody wants it."""


class WeightStoreShell(Shell):
    """Keeps a run's newest weights."""

    def __init__(self) -> None:
        self._store = WeightStore()
        self._ticket: Ticket | None = None

    @ray.method(concurrency_group="publish")
    def publish(self, version: int, data: NDArray[np.uint8], checksum: int) -> int:
        """See ``WeightStore.publish``; calls arrive one at a time."""
        if version <= self._store.version:
            return self._store.publish(Weights(version, data.data, checksum))
        stored = ray.put(data)
        # kept is what this actor owns itself: the learner's memory is let go of
        newest = self._store.publish(Weights(version, ray.get(stored).data, checksum))
        self._ticket = Ticket(version, checksum, [stored])
        return newest

    @ray.method(concurrency_group="fetch")
    def version(self) -> int:
        """See ``WeightStore.version``."""
        return self._store.version

    @ray.method(concurrency_group="fetch")
    def ticket(self, version: int) -> Ticket | None:
        """Return where weights newer than ``version`` can be had."""
        ticket = self._ticket
        return ticket if ticket is not None and ticket.version > version else None

    @ray.method(concurrency_group="fetch")
    def acknowledge(self, collector: int, version: int) -> None:
        """See ``WeightStore.acknowledge``."""
        self._store.acknowledge(collector, version)

    @ray.method(concurrency_group="fetch")
    def acknowledged(self) -> dict[int, int]:
        """Return by collector the version that it acts with."""
        return self._store.acknowledged

    @ray.method(concurrency_group="fetch")
    def forget(self, collector: int) -> None:
        """See ``WeightStore.forget``."""
        self._store.forget(collector)


def start_weight_store(run: str) -> ActorHandle[Any]:
    """Start the weight store of a run; Ray starts it again, empty, whenever its process dies."""
    return start_actor(run, PART, WeightStoreShell, groups={"publish": 1, "fetch": 2})


class WeightClient:
    """The weight store, for collectors, the evaluator and the learner.

    Args:
        store: the actor.
    """

    def __init__(self, store: ActorHandle[Any]) -> None:
        self._store = store

    def fetch_if_newer(self, version: int) -> Future[Weights | None]:
        """See ``WeightSource``."""
        return then(answer(lambda: self._store.ticket.remote(version), PEER), redeem)

    def acknowledge(self, collector: int, version: int) -> None:
        """See ``WeightSource``."""
        answer(lambda: self._store.acknowledge.remote(collector, version), PEER)

    def forget(self, collector: int) -> None:
        """Forget a collector that is no more; nobody waits for an answer."""
        answer(lambda: self._store.forget.remote(collector), PEER)

    def acknowledged(self, *, timeout_s: float = 10.0) -> dict[int, int]:
        """Return by collector the version that it acts with.

        Raises:
            PeerUnavailableError: the store does not answer.
        """
        acknowledged: dict[int, int] = ask(self._store.acknowledged.remote, PEER, timeout_s=timeout_s)
        return acknowledged

    def version(self) -> Future[int]:
        """Ask for the version that the store has; 0: none, since nothing was published or it was killed."""
        return answer(self._store.version.remote, PEER)

    def publish(self, weights: Weights) -> Future[int]:
        """Publish weights, and ask for the version that the store has then. One that fails may be published again."""
        data = np.frombuffer(weights.data, dtype=np.uint8)
        return answer(lambda: self._store.publish.remote(weights.version, data, weights.checksum), PEER)


def redeem(ticket: Ticket | None) -> Future[Weights | None]:
    """Return the weights that a ticket stands for; None: those of no ticket."""
    if ticket is None:
        nothing: Future[Weights | None] = Future()
        nothing.set_result(None)
        return nothing
    fetched = answer(lambda: ticket.reference[0], "the owner of the weights")

    def unpack(data: NDArray[np.uint8]) -> Future[Weights | None]:
        weights: Future[Weights | None] = Future()
        weights.set_result(Weights(ticket.version, data.data, ticket.checksum))
        return weights

    return then(fetched, unpack)
