"""The learner as an actor: learns in a thread of its own from its start on.

Whatever touches the learner happens in that thread, between two turns; calls from outside wait for that. What Ray has
to be told of it stands in the composition of a cluster, so that this module needs no Ray either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from learner.learner import Learner, Turn
from learner.pretrained import Injection
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.network import IQN
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of


class LearnerFigures(NamedTuple):
    """How the learner is."""

    steps: int
    """Updates, undone ones included."""
    version: int
    """Of the newest weights that it published."""
    env_steps: int
    """Of the run, as far as it knows."""
    learning_s: float
    """Seconds in which it learned since its process began, without those in which it waited."""
    up_s: float
    """Seconds since it began."""


class LearnerShell:
    """Trains; after a kill it is made anew, from the newest checkpoint.

    Args:
        make: makes the plain learner in its own process; a function of a module, or a ``partial`` of one.
        plan: works out what a network takes over from the artifact in a folder, likewise.
    """

    def __init__(self, make: Callable[[], Learner], plan: Callable[[IQN, Path], Injection]) -> None:
        self._learner = make()
        self._plan = plan
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="learning")
        self._ended: Future[None] = Future()
        self._learning_s = 0.0
        self._began_s = time.monotonic()
        self._turns = self._learner.run()
        self._line_up()

    def process_id(self) -> int:
        """Return the number of the actor's process."""
        return os.getpid()

    def figures(self) -> LearnerFigures:
        """Return how the learner is; raises what ended the learning, where nobody asked for its end."""
        if self._ended.done():
            self._ended.result()
        learner = self._learner
        up_s = time.monotonic() - self._began_s
        return LearnerFigures(learner.steps, learner.version, learner.env_steps, self._learning_s, up_s)

    def tell(self) -> tuple[Telling, ...]:
        """Return the metrics of the learner and its process since the last call."""
        return self._thread.submit(self._learner.tell).result(), memory_of("learner")

    def state(self) -> Part:
        """Return all that is needed to go on, as a part of a checkpoint."""
        return self._thread.submit(self._state).result()

    def observe_finish(self, finish_s: float, env_steps: int) -> None:
        """Tell of a race that the evaluator finished; see ``PlateauBreaker.observe``."""
        self._thread.submit(self._learner.update.plateau.observe, finish_s, env_steps).result()

    def take_over(self, path: str) -> str | None:
        """Take pretrained weights over between two turns, and publish them.

        Weights that were taken over before are not taken over again.

        Returns:
            Why they were refused; None: they were not.
        """
        return self._thread.submit(self._take_over, Path(path)).result()

    def publish(self) -> None:
        """See ``Learner.publish``."""
        self._thread.submit(self._learner.publish).result()

    def drain(self, timeout_s: float) -> bool:
        """Learn no more, and return whether all that was drawn was learned from within ``timeout_s`` seconds."""
        self._learner.drain()
        return not wait([self._ended], timeout=timeout_s).not_done

    def _take_over(self, path: Path) -> str | None:
        update = self._learner.update
        try:
            injection = self._plan(update.online, path)
        except (ArtifactError, ConfigError) as error:
            return str(error)
        if injection.identity != update.taken_over:
            update.take_over(injection)
            self._learner.publish()
        return None

    def _line_up(self) -> None:
        """Let the next turn be taken, behind whoever called meanwhile."""
        self._thread.submit(self._take_turn).add_done_callback(self._after_turn)

    def _take_turn(self) -> bool:
        """Take one turn, and return whether there may be another one."""
        began_s = time.monotonic()
        turn = next(self._turns, None)
        if turn is Turn.WAITING:
            self._learner.wait()
        elif turn is Turn.LEARNED:
            self._learning_s += time.monotonic() - began_s
        return turn is not None

    def _after_turn(self, taken: Future[bool]) -> None:
        error = taken.exception()
        if error is not None:
            self._ended.set_exception(error)
        elif taken.result():
            self._line_up()
        else:
            self._ended.set_result(None)

    def _state(self) -> Part:
        """Return copies of the state. Priorities are told first: the replay buffer's part of a checkpoint has them."""
        self._learner.tell_priorities()
        tensors, values = self._learner.state_dict()
        return Part(values, {name: tensor.numpy() for name, tensor in tensors.items()})
