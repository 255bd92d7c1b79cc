"""Where other processes ask how a run is and order it about: an actor that the run's own process looks into.

The run's process alone acts. It comes by twice a second with the newest state and takes the orders that came in; each
order waits for its answer here. When that process dies, so does this actor: nobody waits for a run that is no more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import ray
from ray.actor import ActorHandle

from actors.remote.calls import Shell, answer, ask, start_actor
from tmrl_ray.errors import PeerUnavailableError, TmrlError

PART = "control"
PEER = "the process of the run"
ORDERS = 8
"""So many may wait at the same time."""
STATUS_S = 30.0
"""For so long a question for the state is waited for."""


class Order(NamedTuple):
    """Something that the run is to do."""

    number: int
    what: str
    values: Mapping[str, Any]


Answers = Mapping[int, Any]
"""By an order's number what came of it; a ``TmrlError`` where it was refused or failed."""


class ControlShell(Shell):
    """Keeps orders until they are taken, and answers until they are fetched."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._orders: deque[Order] = deque()
        self._answers: dict[int, Any] = {}
        self._waiting: set[int] = set()
        self._number = 0
        self._status: Any = None

    @ray.method(concurrency_group="driver")
    def exchange(self, status: Any, answers: Answers) -> list[Order]:
        """Take over the state and answers, and return the new orders; for the run's process."""
        with self._changed:
            self._status = status
            self._answers.update({number: what for number, what in answers.items() if number in self._waiting})
            self._changed.notify_all()
            taken = [order for order in self._orders if order.number in self._waiting]
            self._orders.clear()
        return taken

    @ray.method(concurrency_group="status")
    def status(self) -> Any:
        """Return the newest state; None: there was none yet."""
        return self._status

    @ray.method(concurrency_group="orders")
    def order(self, what: str, values: Mapping[str, Any], timeout_s: float) -> Any:
        """Have something done, and return what came of it.

        Raises:
            TmrlError: it was refused, or it failed.
            PeerUnavailableError: the run's process did not come by in ``timeout_s`` seconds.
        """
        with self._changed:
            self._number += 1
            number = self._number
            self._waiting.add(number)
            self._orders.append(Order(number, what, values))
            came = self._changed.wait_for(lambda: number in self._answers, timeout=timeout_s)
            self._waiting.discard(number)
            if not came:
                raise PeerUnavailableError(f"{PEER} did not answer in {timeout_s:g} s")
            came_of_it = self._answers.pop(number)
        if isinstance(came_of_it, TmrlError):
            raise came_of_it
        return came_of_it


def start_control(run: str, **options: Any) -> ActorHandle[Any]:
    """Start the control of a run."""
    return start_actor(run, PART, ControlShell, groups={"driver": 1, "status": 2, "orders": ORDERS}, **options)


class ControlClient:
    """The control of a run, for other processes and for its own.

    Args:
        control: the actor.
    """

    def __init__(self, control: ActorHandle[Any]) -> None:
        self._control = control

    def exchange(self, status: Any, answers: Answers) -> Future[list[Order]]:
        """See :class:`ControlShell`."""
        return answer(lambda: self._control.exchange.remote(status, answers), "the control")

    def status(self) -> Any:
        """Return the newest state of the run; None: there was none yet.

        Raises:
            PeerUnavailableError: the run has just ended.
        """
        return ask(self._control.status.remote, PEER, timeout_s=STATUS_S)

    def order(self, what: str, *, timeout_s: float, **values: Any) -> Any:
        """Have the run do something, and return what came of it.

        Raises:
            TmrlError: it was refused, or it failed.
            PeerUnavailableError: no answer came in ``timeout_s`` seconds, or the run has just ended.
        """
        return ask(lambda: self._control.order.remote(what, values, timeout_s), PEER, timeout_s=timeout_s + STATUS_S)
