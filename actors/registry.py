"""The registry of artifacts: what pretraining has finished, so that learners that wait for it or follow it find it.

A stage announces its artifact when it is written; a learner asks for what is newer than what it has seen, checks it
against its network, takes it over or refuses it with the reason, and goes on either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

MOST_KEPT = 256
"""Announcements that are remembered; there is one for each finished stage."""


@dataclass(frozen=True)
class Announcement:
    """An artifact that is there, whole."""

    run: str
    """Name of the stage's run."""
    stage: str
    """visual or bc."""
    path: str
    """Of its folder, on a file system that all machines of the cluster see."""
    architecture_hash: str
    metrics: Mapping[str, float | None]
    number: int = 0
    """Counts up over all announcements, from 1; given by the registry."""


@dataclass(frozen=True)
class Refusal:
    """Why a learner did not take an artifact."""

    number: int
    """Of the announcement."""
    learner: str
    """Name of its run."""
    reason: str
    """With every name and shape that does not fit."""


class ArtifactRegistry:
    """Remembers announcements and refusals."""

    def __init__(self) -> None:
        self._announced: deque[Announcement] = deque(maxlen=MOST_KEPT)
        self._refused: deque[Refusal] = deque(maxlen=MOST_KEPT)
        self._numbers = 0

    def announce(self, announcement: Announcement) -> int:
        """Take an announcement and return its number; the same artifact again keeps the one it has."""
        for known in self._announced:
            if replace(known, number=0) == replace(announcement, number=0):
                return known.number
        self._numbers += 1
        self._announced.append(replace(announcement, number=self._numbers))
        return self._numbers

    def newest(self, run: str, *, after: int = 0) -> Announcement | None:
        """Return the newest artifact of a run with a number above ``after``; None: there is none yet."""
        fits = (each for each in reversed(self._announced) if each.run == run and each.number > after)
        return next(fits, None)

    def refuse(self, refusal: Refusal) -> None:
        """Remember that a learner did not take an artifact."""
        if refusal not in self._refused:
            self._refused.append(refusal)

    def refusals(self, run: str) -> list[Refusal]:
        """Return why artifacts of a run were not taken."""
        numbers = {each.number for each in self._announced if each.run == run}
        return [each for each in self._refused if each.number in numbers]
