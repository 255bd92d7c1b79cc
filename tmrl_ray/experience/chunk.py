"""A chunk: consecutive steps of one race, shipped and stored together.

A chunk is self-contained. Besides its *core* rows, which are drawn and counted, it brings copies of the ``leading``
rows before them (a stack of frames looks back) and of the ``trailing`` rows after them (an n-step return looks ahead),
so that no transition ever needs another chunk::

    race    0 1 2 3 4 5 6 7 8 9 ...         history 2, look_ahead 3
    chunk   0 1 2 3 4 5 6 7                 core 0-4, trailing 5-7
    next          3 4 5 6 7 8 9 ...         leading 3-4, core from 5

Leading and trailing rows are never drawn themselves and count neither as env steps, nor as inserts, nor as capacity.
The final observation of a race is always a trailing row.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import ChunkError, InvalidInputError
from tmrl_ray.experience.columns import NO_ACTION, UNKNOWN_STEPS, Array, Columns, HowEnded, Layout
from tmrl_ray.racing.actions import ACTION_COUNT

MAX_CORE_ROWS = 256
"""Longer chunks gain nothing (spec: ingest is flat from 256 rows on) and would hold rows back."""
MAX_OVERLAP_ROWS = 1024
"""The most leading or trailing rows that any run may ask for."""


@dataclass(frozen=True)
class ChunkFormat:
    """What a collector, the wire and a ring must agree on."""

    layout: Layout
    history: int
    """How many rows before a row may be looked at: the stack of frames less one."""
    look_ahead: int
    """How many rows after a row may be looked at: the largest n-step; at least one, for the next observation."""

    def __post_init__(self) -> None:
        if not 0 <= self.history <= MAX_OVERLAP_ROWS or not 1 <= self.look_ahead <= MAX_OVERLAP_ROWS:
            raise InvalidInputError(
                f"history {self.history} or look-ahead {self.look_ahead} is out of range",
                hint=f"History is 0 to {MAX_OVERLAP_ROWS} rows, look-ahead 1 to {MAX_OVERLAP_ROWS} rows.",
            )

    @property
    def max_rows(self) -> int:
        """Rows of the longest chunk."""
        return self.history + MAX_CORE_ROWS + self.look_ahead


class ChunkId(NamedTuple):
    """Who sent a chunk, and which of its chunks it is: a chunk that comes again has the same one."""

    collector: int
    """Number of the collector in its pool."""
    incarnation: int
    """Which life of it; handed out by the owner of the ring, never twice."""
    sequence: int
    """Counts the chunks of an incarnation from 0."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows of one race, with the rows around them that transitions reach."""

    format: ChunkFormat
    id: ChunkId
    columns: Columns
    """(leading + core + trailing, *shape) for each column of the layout."""
    leading: int
    core: int
    trailing: int

    @property
    def rows(self) -> int:
        """All rows, those around the core included."""
        return self.leading + self.core + self.trailing

    @property
    def race_id(self) -> int:
        """The race that it is a part of."""
        return int(self.columns["race_id"][0])

    @property
    def ends_race(self) -> bool:
        """Whether its last row is the final observation of its race."""
        return int(self.columns["steps_to_end"][-1]) == 0

    @cached_property
    def checksum(self) -> int:
        """CRC-32 over the contents of all columns, in the layout's order."""
        checksum = 0
        for name in self.format.layout.names:
            checksum = zlib.crc32(np.ascontiguousarray(self.columns[name]).data.cast("B"), checksum)
        return checksum

    def core_of(self, name: str) -> Array:
        """Return the core rows of a column, a view."""
        return self.columns[name][self.leading : self.leading + self.core]

    def check(self) -> None:
        """See that this is what a race can give.

        Raises:
            ChunkError: numbers of rows out of bounds, arrays of another shape or dtype, rows that are not consecutive
                steps of one race, an unknown action, an end of the race in its midst, floats that are no numbers, or
                infinite TD errors.
        """
        self._check_counts()
        for column in self.format.layout.columns:
            array = self.columns.get(column.name)
            if array is None or array.dtype != column.dtype or array.shape != (self.rows, *column.shape):
                found = "none" if array is None else f"{array.dtype} {array.shape}"
                raise self._error(f"column {column.name} is {found}, not {column.dtype} {(self.rows, *column.shape)}")
        self._check_steps()
        self._check_end()
        for name in ("floats", "terms"):
            if not np.isfinite(self.columns[name]).all():
                raise self._error(f"column {name} has elements that are no finite numbers")
        if np.isinf(self.columns["td_error"]).any():  # NaN: it is unknown
            raise self._error("column td_error has elements that are infinite")

    def _check_counts(self) -> None:
        limits = self.format
        if min(self.id) < 0:
            raise self._error("no identity has negative numbers")
        if not (
            0 <= self.leading <= limits.history
            and 1 <= self.core <= MAX_CORE_ROWS
            and 1 <= self.trailing <= limits.look_ahead
        ):
            raise self._error(
                f"{self.leading} leading, {self.core} core and {self.trailing} trailing rows, where 0 to "
                f"{limits.history}, 1 to {MAX_CORE_ROWS} and 1 to {limits.look_ahead} are allowed"
            )

    def _check_steps(self) -> None:
        race_ids, steps = self.columns["race_id"], self.columns["step_in_race"]
        if (race_ids != race_ids[0]).any() or steps[0] < 0 or (np.diff(steps) != 1).any():
            raise self._error("its rows are not consecutive steps of one race")
        if self.leading != min(int(steps[self.leading]), self.format.history):
            raise self._error(f"{self.leading} leading rows before step {steps[self.leading]} of the race")
        if not self.ends_race and self.trailing != self.format.look_ahead:
            raise self._error(f"{self.trailing} trailing rows in the midst of a race, not {self.format.look_ahead}")

    def _check_end(self) -> None:
        action, to_end, how = (self.columns[name] for name in ("action", "steps_to_end", "how_ended"))
        decided = action[:-1] if self.ends_race else action
        if (decided >= ACTION_COUNT).any() or (self.ends_race and action[-1] != NO_ACTION):
            raise self._error("an action is none of those that there are, or missing, or one too many")
        if self.ends_race:
            expected: NDArray[np.int64] = np.arange(self.rows - 1, -1, -1)
            known = how[0] in {HowEnded.FINISH, HowEnded.CUT_OFF, HowEnded.LOST}
        else:
            expected, known = np.full(self.rows, UNKNOWN_STEPS), how[0] == HowEnded.NONE
        if not known or (to_end != expected).any() or (how != how[0]).any():
            raise self._error("its rows disagree about the end of the race")

    def _error(self, what: str) -> ChunkError:
        collector, incarnation, sequence = self.id
        return ChunkError(f"chunk {sequence} of collector {collector}, incarnation {incarnation}: {what}")
