"""What other processes order a run on a cluster to do, done by its own process.

The loop in which it is used::

    with controlled(live, run, watch, place) as control:
        for news in live.run():
            watch.take(news, live)
            control.attend()
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from actors.remote.calls import end_actor
from actors.remote.control import ControlClient, Order, start_control
from tmrl_ray.cluster import ClusterRun
from tmrl_ray.errors import TmrlError
from tmrl_ray.live_settings import changed
from tmrl_ray.overview import Watch
from tmrl_ray.runs.cluster_file import ClusterPlace
from tmrl_ray.runs.rundir import RunDirectory

log = logging.getLogger(__name__)


@contextmanager
def controlled(live: ClusterRun, run: RunDirectory, watch: Watch, place: ClusterPlace) -> Iterator[Control]:
    """Let other processes order a run about.

    Args:
        live: the run.
        run: its folder, where other processes find ``place``.
        watch: knows how it is.
        place: where it can be reached.
    """
    actor = start_control(run.name)
    place.write(run.path)
    try:
        yield Control(live, run, watch, ControlClient(actor))
    finally:
        place.remove(run.path)
        end_actor(actor)


class Control:
    """Looks for orders and carries them out; ``controlled`` makes one."""

    def __init__(self, live: ClusterRun, run: RunDirectory, watch: Watch, client: ControlClient) -> None:
        self._live = live
        self._run = run
        self._watch = watch
        self._client = client
        self._answers: dict[int, Any] = {}
        self._exchange: Future[list[Order]] | None = None

    def attend(self) -> None:
        """Tell how the run is, and do what was ordered since the last call."""
        exchange, sent = self._exchange, list(self._answers)
        if exchange is not None:
            if not exchange.done():
                return
            if exchange.exception() is None:
                for number in sent:
                    del self._answers[number]
                for order in exchange.result():
                    self._answers[order.number] = self._do(order)
            else:
                self._answers.clear()  # the control was killed: nobody waits for them, and it numbers from 1 again
        self._exchange = self._client.exchange(self._watch.overview(self._live), dict(self._answers))

    def _do(self, order: Order) -> Any:
        try:
            return self._obey(order)
        except TmrlError as error:
            return error

    def _obey(self, order: Order) -> Any:
        live = self._live
        match order.what:
            case "pause":
                live.pause()
            case "continue":
                live.go_on()
            case "stop":
                live.stop()
            case "checkpoint":
                head = live.save()
                self._watch.saved(head)
                return head.name
            case "set":
                config = changed(self._run.config_file, order.values["assignments"])
                live.change(config)
                self._run.change_config(config)
            case what:
                raise TmrlError(f"a run cannot {what}", hint="Use the same version of tmrl_ray as the run.")
        return None
