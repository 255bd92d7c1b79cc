"""Keeps the learner of a run on a cluster: starts it, asks it, and starts it again from the newest checkpoint.

A learner that died or failed is replaced after a pause that grows; one that does so again and again ends the run. The
versions of its weights go on from the newest that were published, never back: after a kill of the whole run, too, the
ring and the version board beside it know which that was.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

from actors.buffer_rings import DEMONSTRATIONS, EXPERIENCE
from actors.registry import Announcement, Refusal
from actors.remote.calls import answer, ask, end_actor, find_actor, start_actor
from actors.remote.registry import RegistryClient
from actors.remote.replay import PART as REPLAY
from actors.remote.replay import ReplayClient
from actors.remote.weights import PART as WEIGHTS
from actors.remote.weights import WeightClient
from actors.version_board import VersionBoard
from learner.learner import Learner, Ports
from learner.pretrained import Injection
from learner.remote import LearnerFigures, LearnerShell
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ArtifactError, ConfigError, PeerUnavailableError, TmrlError
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.freed_memory import keep_freed_memory
from tmrl_ray.iqn.network import IQN
from tmrl_ray.learner_line import LearnerLine
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.meter import Telling
from tmrl_ray.training import Training

log = logging.getLogger(__name__)

PART = "learner"
CPUS = 0.8
"""What a learner reserves beside its GPU."""
ANSWER_S = 60.0
"""For so long a summary or a state is awaited: an update of a large network on a CPU takes seconds."""
TELL_S = 5.0
"""For so long a row of metrics waits for the learner's, which has other things to do."""
LOOK_S = 1.0
"""Between two looks for an artifact that is waited for."""
FIRST_PAUSE_S = 1.0
"""Before the learner is started again; twice as long each further time."""
LAST_PAUSE_S = 60.0
MOST_CRASHES = 5
"""With so many within ``WINDOW_S`` the run ends."""
WINDOW_S = 600.0


class LearnerKeeper:
    """Keeps one learner; call ``reconcile`` about once a second.

    Args:
        config: of the run.
        run: its name.
        device: where to compute.
        set_aside: file of batches that gave no finite loss.
        newest: returns the learner of the newest checkpoint; None: there is none.
        options: Ray's.
    """

    def __init__(
        self,
        config: RunConfig,
        run: str,
        device: torch.device,
        set_aside: Path,
        newest: Callable[[], Part | None],
        options: Mapping[str, Any],
    ) -> None:
        self.figures = LearnerFigures(0, 0, 0, 0.0, 0.0)
        """As of the latest answer; ``steps`` goes back when the learner is started again from a checkpoint."""
        self.restarts = 0
        """How often it was started again."""
        self._config = config
        self._run = run
        self._device = device
        self._set_aside = set_aside
        self._newest = newest
        reserved = {"num_cpus": CPUS, "num_gpus": 1 if device.type == "cuda" else 0}
        self._options = {**reserved, **options, "max_restarts": 0}
        pretrained = config.learner.pretrained
        follow = None if pretrained is None else pretrained.follow
        self._following = None if follow is None else Following(run, follow)
        self._crashes: deque[float] = deque()
        self._looking: Future[LearnerFigures] | None = None
        self._telling: Future[tuple[Telling, ...]] | None = None
        self._due_s: float | None = None
        self._actor: ActorHandle[Any] | None = self._start()

    def reconcile(self) -> None:
        """See how the learner is, and start it again if that is due; returns at once.

        Raises:
            TmrlError: it failed again and again.
        """
        if self._due_s is not None:
            if time.monotonic() >= self._due_s:
                self._due_s, self._actor = None, self._start()
            return
        looking = self._looking
        if looking is not None and looking.done():
            self._looking = None
            error = looking.exception()
            if error is None:
                self.figures = looking.result()
            elif not isinstance(error, PeerUnavailableError) or isinstance(error.__cause__, ActorDiedError):
                self._crashed(error)
                return
        if self._looking is None:
            self._looking = answer(self._handle().figures.remote, "the learner")
        if self._following is not None:
            self._following.look(self._handle())

    def tell(self) -> tuple[Telling, ...]:
        """Return its metrics since the last call; nothing if it is busy: the next call has them then.

        Raises:
            PeerUnavailableError: it is away.
        """
        if self._telling is None:
            self._telling = answer(self._handle().tell.remote, "the learner")
        telling = self._telling
        if wait([telling], timeout=TELL_S).not_done:
            return ()
        self._telling = None
        return telling.result()

    def state(self) -> Part:
        """Return all that it needs to go on.

        Raises:
            PeerUnavailableError: it is away.
        """
        part: Part = ask(self._handle().state.remote, "the learner", timeout_s=ANSWER_S)
        self.figures = ask(self._handle().figures.remote, "the learner", timeout_s=ANSWER_S)
        if self._following is not None:
            self._following.is_due = True
        return part

    def last_state(self) -> Part:
        """Return its state at the end of the run, when it has learned from all that was drawn.

        One that is away or has failed is not waited for: its state is then that of the newest checkpoint, from which
        it would be started again.

        Raises:
            PeerUnavailableError: it is away, and there is no checkpoint.
        """
        try:
            self.drain()
            return self.state()
        except (TmrlError, RayError) as error:
            saved = self._newest()
            if saved is None:
                raise PeerUnavailableError(f"the learner is away and was never saved: {error}") from error
            log.error("the learner ends as the newest checkpoint has it: %s", error)
            return saved

    def observe_finish(self, finish_s: float, env_steps: int) -> None:
        """Tell it of a race that the evaluator finished; nobody waits for an answer."""
        if self._actor is not None:
            handle = self._actor
            answer(lambda: handle.observe_finish.remote(finish_s, env_steps), "the learner")

    def drain(self) -> None:
        """Let it learn from what was drawn, and no more.

        Raises:
            PeerUnavailableError: it is away.
        """
        handle = self._handle()
        if not ask(lambda: handle.drain.remote(ANSWER_S), "the learner", timeout_s=2 * ANSWER_S):
            log.warning("the learner was not drained in %g s", ANSWER_S)
        self.figures = ask(handle.figures.remote, "the learner", timeout_s=ANSWER_S)

    def end(self) -> None:
        """End it at once."""
        if self._actor is not None:
            end_actor(self._actor)
            self._actor = None

    def process_id(self) -> int:
        """Return the number of its process.

        Raises:
            PeerUnavailableError: it is away.
        """
        pid: int = ask(self._handle().process_id.remote, "the learner", timeout_s=ANSWER_S)
        return pid

    def _handle(self) -> ActorHandle[Any]:
        if self._actor is None:
            raise PeerUnavailableError("the learner is started again in a moment")
        return self._actor

    def _start(self) -> ActorHandle[Any]:
        made_of = (self._config, self._run, str(self._device), self._set_aside)
        make = partial(make_learner, *made_of, self._newest(), self.figures.version)
        part = PART if not self.restarts else f"{PART}-{self.restarts + 1}"  # a name is free some time after a death
        return start_actor(self._run, part, LearnerShell, make, partial(plan_injection, self._config), **self._options)

    def _crashed(self, error: BaseException) -> None:
        now_s = time.monotonic()
        self.end()
        self._crashes.append(now_s)
        while now_s - self._crashes[0] > WINDOW_S:
            self._crashes.popleft()
        if len(self._crashes) >= MOST_CRASHES:
            raise TmrlError(
                f"the learner failed {len(self._crashes)} times within {WINDOW_S:g} s, at last: {error}",
                hint="Its experience is kept. Mend what is wrong and resume the run.",
            ) from error
        pause_s = min(FIRST_PAUSE_S * 2 ** (len(self._crashes) - 1), LAST_PAUSE_S)
        log.error("the learner is started again in %g s: %s", pause_s, error)
        self.restarts += 1
        self._due_s = now_s + pause_s


def plan_injection(config: RunConfig, network: IQN, path: Path) -> Injection:
    """Return what the network of a run takes over from the artifact in a folder.

    Raises:
        ArtifactError: it cannot be read, or does not fit.
        ConfigError: it does not have what the configuration asks for.
    """
    injection = Training.of(config).injection(network, path)
    assert injection is not None  # there is an artifact
    return injection


def _awaited(training: Training, run: str) -> Path | None:
    """Wait for the artifact with which learning begins, and return its folder; None: there is none to wait for.

    One that does not fit is refused, and a newer one waited for.
    """
    pretrained = training.config.learner.pretrained
    if pretrained is None or pretrained.wait_for is None:
        return None
    registry, number = RegistryClient.find(), 0
    log.warning("the learner waits for an artifact of %s", pretrained.wait_for)
    while True:
        try:
            found = registry.newest(pretrained.wait_for, after=number).result()
        except PeerUnavailableError as error:
            log.warning("%s", error)
            found = None
        if found is None:
            time.sleep(LOOK_S)
            continue
        number = found.number
        try:
            training.check_pretrained(Path(found.path))
        except (ArtifactError, ConfigError) as error:
            log.error("the artifact %s is refused: %s", found.path, error)
            registry.refuse(Refusal(number, run, str(error)))
            continue
        return Path(found.path)


class Following:
    """Hands a learner what a stage announces, each time after a checkpoint, so that there is a way back.

    Args:
        run: name of the run, by which a refusal is known.
        stage: name of the stage's run.
    """

    def __init__(self, run: str, stage: str) -> None:
        self.is_due = False
        """A checkpoint was taken since it looked last."""
        self._run = run
        self._stage = stage
        self._registry: RegistryClient | None = None
        self._number = 0
        self._asked: Future[Announcement | None] | None = None
        self._taking: Future[str | None] | None = None

    def look(self, learner: ActorHandle[Any]) -> None:
        """Go on with it; returns at once, but for the first time, which finds the registry."""
        try:
            if self._taking is not None:
                self._see_taken(self._taking)
            elif self._asked is not None:
                self._see_answer(self._asked, learner)
            elif self.is_due:
                self.is_due = False
                self._registry = self._registry or RegistryClient.find()
                self._asked = self._registry.newest(self._stage, after=self._number)
        except PeerUnavailableError as error:
            log.warning("artifacts of %s are looked for again after the next checkpoint: %s", self._stage, error)
            self._asked = self._taking = None
            self._number = 0  # what was taken over already is known to the learner

    def _see_answer(self, asked: Future[Announcement | None], learner: ActorHandle[Any]) -> None:
        if not asked.done():
            return
        self._asked, found = None, asked.result()
        if found is not None:
            self._number = found.number
            path = found.path
            self._taking = answer(lambda: learner.take_over.remote(path), "the learner")

    def _see_taken(self, taking: Future[str | None]) -> None:
        if not taking.done():
            return
        self._taking, reason = None, taking.result()
        if reason is None:
            log.warning("the learner has taken over artifact %d of %s", self._number, self._stage)
            return
        log.error("artifact %d of %s is refused, the learner goes on without: %s", self._number, self._stage, reason)
        if self._registry is not None:
            self._registry.refuse(Refusal(self._number, self._run, reason))


def make_learner(
    config: RunConfig, run: str, device: str, set_aside: Path, saved: Part | None, version: int
) -> Learner:
    """Return the learner of a run, in its process.

    Args:
        config: of the run.
        run: its name.
        device: where to compute.
        set_aside: file of batches that gave no finite loss.
        saved: what it goes on from; None: it begins.
        version: of the newest weights that were published in this session.
    """
    # Collectors compute on the other cores: more threads would only wait for each other.
    torch.set_num_threads(config.training.threads or math.ceil(CPUS))
    keep_freed_memory()
    training, where = Training.of(config), torch.device(device)
    replay = ReplayClient(find_actor(run, REPLAY))
    address = replay.ring()
    experts = None
    if config.replay.demonstrations is not None:
        for chunk in training.demonstrations(replay.enlist_expert, begun=replay.stats().experts):
            replay.add_demonstration(encode(chunk, compress=False))
        name = address.directory.name.removesuffix(EXPERIENCE) + DEMONSTRATIONS
        experts = RingReader.attach(address.directory.with_name(name), training.format)
    line = LearnerLine(replay, WeightClient(find_actor(run, WEIGHTS)), training.format)
    ring = line.ring()
    priorities = config.replay.priorities
    learner = Learner(
        training.update(where, new=saved is None, announced=_awaited(training, run) if saved is None else None),
        training.batches(ring, experts, where),
        Ports(line, line),
        config.reward,
        prioritised=priorities is not None,
        priorities_below_clock=None if priorities is None else priorities.update_below_clock,
        set_aside=set_aside,
    )
    if saved is not None:
        learner.load_state_dict(saved.tensors(), saved.values)
    known = ring.newest_policy_version(), VersionBoard(ring.directory).newest()
    learner.version = max(learner.version, version, *known)
    learner.publish()
    return learner
