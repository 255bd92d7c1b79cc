"""The columns of experience: what is stored of each step, in one place.

Collectors fill these columns, the wire and the ring carry them, the learner gathers from them; everybody asks a
:class:`Layout` for names, dtypes and shapes. Row k of a race holds what was seen before its decision k and what the
decision led to. The last row of a race is its final observation, for which nothing was decided.

Shape letters: H W pixels, F floats of an observation, R terms of the reward.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.racing.actions import ACTION_NAMES
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import Term

COLUMNS_VERSION = 1
"""Changes with what a column means where its name, dtype and shape stay."""
NO_ACTION = 255
"""The action of a row for which nothing was decided: the final observation of a race."""
NO_VERSION = -1
"""The policy version of a row that no network played."""
UNKNOWN_STEPS = -1
"""The steps to the end of a race whose end lies beyond the row's own chunk."""

Array = NDArray[Any]
Columns = Mapping[str, Array]
"""Arrays (rows, *shape) by the name of their column."""


class HowEnded(IntEnum):
    """How a race ended, as far as the row knows."""

    NONE = 0
    """Not within reach of the row's chunk."""
    FINISH = 1
    """Terminal: nothing comes after it."""
    CUT_OFF = 2
    """Given up by us: values go on from the final observation."""
    LOST = 3
    """The game died: nothing is known past the final observation."""


@dataclass(frozen=True)
class Column:
    """One quantity of a step."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """Of one row."""
    meaning: str
    """What it is, with its unit."""
    contents: str = ""
    """What the elements of a row are, where their number does not tell; part of the layout's hash."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape)


def step_columns(frame_shape: tuple[int, int] | None, observation: ObservationLayout) -> tuple[Column, ...]:
    """Return the columns of a step.

    Args:
        frame_shape: (H, W) of the grey picture; None: the agent sees none, and there is no such column.
        observation: which floats are seen.
    """

    def column(name: str, dtype: str, meaning: str, shape: tuple[int, ...] = (), contents: str = "") -> Column:
        return Column(name, np.dtype(dtype), shape, meaning, contents)

    terms = ",".join(term.name for term in Term)
    columns = (
        column("floats", "<f4", "observed floats, before the decision", (observation.size,), observation.hash),
        column("action", "|u1", "what was decided, or NO_ACTION", contents=",".join(ACTION_NAMES)),
        column("greedy", "|u1", "1 if the policy held the action for the best, else 0"),
        column("q_value", "<f4", "return that the policy expected of the action; NaN: it had no such estimate"),
        column("q_max", "<f4", "return that the policy expected of the best action; NaN: it had no such estimate"),
        column("td_error", "<f4", "the collector's temporal difference error; NaN: not computed"),
        column("policy_version", "<i8", "of the weights that decided, or NO_VERSION"),
        column("terms", "<f4", "unweighted terms of the reward from this row to the next", (len(Term),), terms),
        column("metres", "<f4", "progress along the reference line, metres"),
        column("race_time_ms", "<i4", "race clock, milliseconds"),
        column("race_id", "<i8", "number of the race within its collector's incarnation"),
        column("step_in_race", "<i4", "decisions before this one in the race, wherever it started"),
        column("steps_to_end", "<i4", "decisions until the race's final observation, or UNKNOWN_STEPS"),
        column("how_ended", "|u1", "a HowEnded: how the race ended, where steps_to_end is known"),
    )
    if frame_shape is None:
        return columns
    return (column("frame", "|u1", "grey picture, top row first", frame_shape), *columns)


class Layout:
    """The columns that a run stores, in their order.

    Args:
        columns: with different names.
    """

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._by_name = {column.name: column for column in columns}
        if len(self._by_name) != len(columns):
            raise InvalidInputError(f"columns share a name: {', '.join(column.name for column in columns)}")

    @classmethod
    def of(cls, frame_shape: tuple[int, int] | None, observation: ObservationLayout | None = None) -> Layout:
        """Return the layout of what an agent sees; see :func:`step_columns`."""
        return cls(step_columns(frame_shape, ObservationLayout() if observation is None else observation))

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in their order."""
        return tuple(self._by_name)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row over all columns."""
        return sum(column.row_bytes for column in self.columns)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all that rows mean: equal for rows that may be mixed, and only for those."""
        lines = [f"columns {COLUMNS_VERSION}"]
        lines += [f"{each.name} {each.dtype.str} {list(each.shape)} {each.contents}" for each in self.columns]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def empty(self, rows: int) -> dict[str, Array]:
        """Return uninitialised arrays for so many rows."""
        return {each.name: np.empty((rows, *each.shape), each.dtype) for each in self.columns}
