"""The registry of artifacts as a Ray actor, one for a cluster, which outlives the jobs that announce to it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from ray.actor import ActorHandle

from actors.registry import Announcement, ArtifactRegistry, Refusal
from actors.remote.calls import Shell, answer, ask, start_actor, wait_until_up

OWNER, PART = "pretrain", "registry"
"""Its name is ``pretrain.registry``."""
PEER = "the registry of artifacts"
ANSWER_S = 30.0
"""For so long a stage that has ended waits to be heard."""


class RegistryShell(Shell):
    """Remembers what was announced on a cluster."""

    def __init__(self) -> None:
        self._registry = ArtifactRegistry()

    def announce(self, announcement: Announcement) -> int:
        """See ``ArtifactRegistry.announce``."""
        return self._registry.announce(announcement)

    def newest(self, run: str, after: int) -> Announcement | None:
        """See ``ArtifactRegistry.newest``."""
        return self._registry.newest(run, after=after)

    def refuse(self, refusal: Refusal) -> None:
        """See ``ArtifactRegistry.refuse``."""
        self._registry.refuse(refusal)

    def refusals(self, run: str) -> list[Refusal]:
        """See ``ArtifactRegistry.refusals``."""
        return self._registry.refusals(run)


class RegistryClient:
    """The registry of the cluster that this process is a part of, for stages and learners; ``find`` makes one.

    Args:
        registry: the actor.
    """

    def __init__(self, registry: ActorHandle[Any]) -> None:
        self._registry = registry

    @classmethod
    def find(cls) -> RegistryClient:
        """Return it, started if it is not there yet.

        Raises:
            PeerUnavailableError: it does not answer.
        """
        handle = start_actor(OWNER, PART, RegistryShell, lifetime="detached", get_if_exists=True, max_concurrency=1)
        wait_until_up(handle, PEER)
        return cls(handle)

    def announce(self, announcement: Announcement) -> int:
        """Announce an artifact that is written, and return its number.

        Raises:
            PeerUnavailableError: the registry does not answer; to announce it twice does no harm.
        """
        number: int = ask(lambda: self._registry.announce.remote(announcement), PEER, timeout_s=ANSWER_S)
        return number

    def newest(self, run: str, *, after: int = 0) -> Future[Announcement | None]:
        """Return, when the registry answers, the newest artifact of a run with a number above ``after``."""
        return answer(lambda: self._registry.newest.remote(run, after), PEER)

    def refuse(self, refusal: Refusal) -> None:
        """Say that an artifact does not fit; nobody waits for an answer."""
        answer(lambda: self._registry.refuse.remote(refusal), PEER)

    def refusals(self, run: str) -> list[Refusal]:
        """Return why artifacts of a run were not taken.

        Raises:
            PeerUnavailableError: the registry does not answer.
        """
        refusals: list[Refusal] = ask(lambda: self._registry.refusals.remote(run), PEER, timeout_s=ANSWER_S)
        return refusals
