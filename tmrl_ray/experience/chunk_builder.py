"""Makes chunks of the steps of races; the collector's end of the data path.

The loop in which it is used::

    for step in race:
        send(builder.add(step, policy_version=version))
    send(builder.end(race.end))

Rows are held back until the rows after them that a transition may reach are known, or the race has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np

from tmrl_ray.errors import ChunkError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.columns import NO_ACTION, NO_VERSION, UNKNOWN_STEPS, Array, Columns, HowEnded
from tmrl_ray.racing.rollout import Floats, Frame, RaceEnd, Step

TdErrors = Callable[[Columns], Array]
"""Computes the (rows,) TD errors of consecutive rows of a race, NaN where the next row is not among them."""

_HOW_ENDED = {"finish": HowEnded.FINISH, "cut_off": HowEnded.CUT_OFF, "lost": HowEnded.LOST}


class ChunkBuilder:
    """Turns the steps of one collector's races, one race after the other, into chunks.

    Args:
        format: of the chunks.
        collector: number of the collector.
        incarnation: as handed out by the owner of the ring.
        race_id: number of the first race.
        td_errors: called once for each chunk with all its columns, to fill ``td_error``; None: they stay NaN.
    """

    def __init__(
        self,
        format: ChunkFormat,
        collector: int,
        incarnation: int,
        *,
        race_id: int = 0,
        td_errors: TdErrors | None = None,
    ) -> None:
        self.format = format
        self.collector = collector
        self.incarnation = incarnation
        self.sequence = 0
        """Of the next chunk."""
        self.race_id = race_id
        """Of the race that is being added to, or of the next one."""
        self._td_errors = td_errors
        self._rows = format.layout.empty(format.max_rows + 1)
        self._steps = 0
        self._first = 0  # step in race of the first row held
        self._leading = 0  # rows held that went out as core rows already
        self._held = 0  # rows held, leading ones included

    def add(self, step: Step, *, policy_version: int = NO_VERSION) -> list[Chunk]:
        """Take in the next step of a race and return the chunks that are complete now: none or one.

        Raises:
            ChunkError: its picture or floats do not have the shape of the format.
        """
        row, rows = self._held, self._rows
        decision = step.decision
        self._observe(row, step.frame, step.floats)
        rows["action"][row] = decision.action
        rows["greedy"][row] = decision.greedy
        values = decision.q_values
        rows["q_value"][row] = nan if values is None else values[decision.action]
        rows["q_max"][row] = nan if values is None else values.max()
        rows["policy_version"][row] = policy_version
        rows["terms"][row] = step.terms
        rows["metres"][row] = step.metres
        rows["race_time_ms"][row] = step.race_time_ms
        self._steps += 1
        if self._held == self._leading + MAX_CORE_ROWS + self.format.look_ahead:
            return [self._emit(MAX_CORE_ROWS)]
        return []

    def end(self, end: RaceEnd) -> list[Chunk]:
        """Take in how the race ended and return the rest of it: up to two chunks, none if it had no steps."""
        row, rows = self._held, self._rows
        self._observe(row, end.frame, end.floats)
        rows["action"][row] = NO_ACTION
        rows["greedy"][row] = 0
        rows["q_value"][row] = rows["q_max"][row] = nan
        rows["policy_version"][row] = NO_VERSION
        rows["terms"][row] = 0
        rows["metres"][row] = end.metres
        rows["race_time_ms"][row] = end.race_time_ms
        rows["steps_to_end"][: self._held] = np.arange(self._held - 1, -1, -1)
        rows["how_ended"][: self._held] = _HOW_ENDED[end.how]
        chunks = []
        while self._held - self._leading > 1:
            chunks.append(self._emit(min(MAX_CORE_ROWS, self._held - self._leading - 1)))
        self.discard()
        return chunks

    def flush(self) -> list[Chunk]:
        """Return the rows that need not be held back any longer: one chunk, or none."""
        core = self._held - self._leading - self.format.look_ahead
        return [self._emit(core)] if core > 0 else []

    def discard(self) -> None:
        """Forget the rows that are held, and go on with another race."""
        if self._steps:
            self.race_id += 1
        self._steps = self._first = self._leading = self._held = 0

    @property
    def held_rows(self) -> int:
        """Decisions taken in that no chunk has counted yet."""
        return self._held - self._leading

    def _observe(self, row: int, frame: Frame | None, floats: Floats) -> None:
        rows, layout = self._rows, self.format.layout
        expected = layout["frame"].shape if "frame" in layout else None
        found = None if frame is None else frame.shape
        if found != expected or floats.shape != layout["floats"].shape:
            raise ChunkError(
                f"picture {found} and floats {floats.shape} do not fit the layout's {expected} and "
                f"{layout['floats'].shape}",
                hint="Give the game, the observation and the layout of the experience the same settings.",
            )
        if frame is not None:
            rows["frame"][row] = frame
        rows["floats"][row] = floats
        rows["td_error"][row] = nan
        rows["race_id"][row] = self.race_id
        rows["step_in_race"][row] = self._first + row
        rows["steps_to_end"][row] = UNKNOWN_STEPS
        rows["how_ended"][row] = HowEnded.NONE
        self._held += 1

    def _emit(self, core: int) -> Chunk:
        """Copy the next ``core`` rows with those around them, and hold back only what later rows look back at."""
        end = self._leading + core
        trailing = min(self.format.look_ahead, self._held - end)
        columns = {name: array[: end + trailing].copy() for name, array in self._rows.items()}
        if self._td_errors is not None:
            columns["td_error"][:] = self._td_errors(columns)
        identity = ChunkId(self.collector, self.incarnation, self.sequence)
        chunk = Chunk(self.format, identity, columns, self._leading, core, trailing)
        self.sequence += 1
        keep = max(0, end - self.format.history)
        for array in self._rows.values():
            array[: self._held - keep] = array[keep : self._held].copy()
        self._first += keep
        self._held -= keep
        self._leading = end - keep
        return chunk
