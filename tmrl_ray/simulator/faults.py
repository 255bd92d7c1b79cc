"""Games that go wrong on purpose, so that a client can be tested against each way in which the real one does.

A fault is written ``KIND@RACE_TIME_MS``, for slow games also ``slow@RACE_TIME_MS:DELAY_MS``.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from enum import StrEnum

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.state_layout import CURRENT_STATE, DYNA_POSITION

GARBAGE_BYTES = 64
_GARBAGE_SEED = 20_031
DEFAULT_DELAY_MS = 1000


class FaultKind(StrEnum):
    """What goes wrong."""

    HANG = "hang"
    """The game falls silent and keeps its connection."""
    SLOW = "slow"
    """Every call comes late, from then on."""
    GARBAGE = "garbage"
    """One call is made of random bytes."""
    SHORT_FRAME = "short_frame"
    """Half of the next picture is sent, then nothing."""
    NO_NUMBER = "no_number"
    """A state is sent in which the car stands nowhere: its place is no number."""
    EXIT = "exit"
    """The game ends, and its process with it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, once in the life of a server (a slow one stays slow)."""

    kind: FaultKind
    at_race_ms: int
    """It strikes at the first call at or after this race time."""
    delay_ms: int = DEFAULT_DELAY_MS
    """How late the calls of a slow game come."""


class GameExit(Exception):
    """The fault ``exit`` struck."""


def parse_fault(text: str) -> Fault:
    """Return the fault that a text such as ``hang@1500`` or ``slow@0:200`` describes.

    Raises:
        InvalidInputError: it describes none.
    """
    kind, _, when = text.partition("@")
    start, _, delay = when.partition(":")
    try:
        fault = Fault(FaultKind(kind), int(start), int(delay) if delay else DEFAULT_DELAY_MS)
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is no fault",
            hint=f"Write KIND@RACE_TIME_MS, KIND one of {', '.join(FaultKind)}; for slow, :DELAY_MS may follow.",
        ) from error
    if fault.delay_ms < 0:
        raise InvalidInputError(f"{text!r} is no fault: a delay cannot be negative")
    return fault


def without_number(state: bytes) -> bytes:
    """Return a state whose car has no height."""
    height = 4 * (CURRENT_STATE + DYNA_POSITION + 1)
    return state[:height] + struct.pack("<f", float("nan")) + state[height + 4 :]


def garbage() -> bytes:
    """Return what a game sends in place of a call; the same bytes every time, and no call of the protocol."""
    return bytes(random.Random(_GARBAGE_SEED).randbytes(GARBAGE_BYTES))
