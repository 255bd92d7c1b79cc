"""What collectors, the replay buffer and the pool tell each other."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Standing(NamedTuple):
    """How the replay buffer stands; a part of each of its replies, so that nobody has to ask for it."""

    ring_uuid: str
    """Of the ring that took the experience in. Another one means that the old ring is gone."""
    credits: int | None
    """Decisions that the asking collector may have taken beyond what had arrived of it; None: any number."""
    policy_version: int
    """Of the newest weights that were published, as far as the buffer knows; 0: none yet."""
    env_steps: int
    """Decisions taken in over the whole run."""


class Grant(NamedTuple):
    """A collector may send experience."""

    incarnation: int
    """What it must call itself; no other ever had this one."""
    standing: Standing
    first_race: int = 0
    """Number of its next race; lower ones are those of races that are in the ring."""


class AppendStatus(StrEnum):
    """What became of a chunk."""

    ACCEPTED = "accepted"
    """It is in the ring, and survives the kill of any process."""
    DUPLICATE = "duplicate"
    """It came before."""
    OUTDATED = "outdated"
    """Weights that are too old drove it: it is not taken, and need not be sent again."""
    REFUSED = "refused"
    """It is older than what the buffer can tell apart, or its incarnation is unknown: ask for another one."""


class AppendReply(NamedTuple):
    """The buffer's answer to a chunk."""

    status: AppendStatus
    standing: Standing


class CollectorState(StrEnum):
    """What a collector does."""

    STARTING = "starting"
    """It has no incarnation yet, or its game is started."""
    RACING = "racing"
    WAITING = "waiting"
    """For the learner to keep up, or for the buffer to answer."""
    DRAINING = "draining"
    """It drives no more, and waits until all that it sent has arrived."""
    STOPPED = "stopped"
    QUARANTINED = "quarantined"
    """Its game cannot be played: it was lost too often, or refused what was asked of it."""


class Heartbeat(NamedTuple):
    """A sign of life of one collector."""

    collector: int
    incarnation: int
    """0: none yet."""
    state: CollectorState
    beats: int
    """Grows with every decision and every moment of waiting. It stands still in one that hangs."""
    env_steps: int
    """Decisions since it was started."""
    races: int
    policy_version: int
    """Of the weights that act."""
    game_losses: int
    """How often the game was lost."""
    dropped_chunks: int
    """That the buffer refused."""
    resent_chunks: int
    """That were sent again, since no answer came."""
    reason: str = ""
    """Why it is quarantined, or the latest loss of its game."""
