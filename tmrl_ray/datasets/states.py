"""What is known of the car at moments of a recorded race, as columns, and the observation's floats made of it.

The names of the JSON fields are those of the public TMNF datasets, so that they are read and written alike. There the
velocities are the world's; ours add those in the car's frame, which is what an agent observes.

Shape letters: S moments of a race, n of them that are asked for, W floats of the way-points, F floats of an
observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, ACTION_KEYS, FORWARD
from tmrl_ray.racing.observation_layout import ObservationLayout

Floats = NDArray[np.float32]
Times = NDArray[np.int32]

_ANY = ObservationLayout()
_GEARBOX_STATE = _ANY.gearbox_state.start - _ANY.wheel_sliding.start
_GEARBOX_COUNT = _ANY.gearbox_count.start - _ANY.wheel_sliding.start
"""Places in ``gear_and_wheels``, the same in every layout."""
_FIELDS = (
    ("position", "position", 3),
    ("velocity", "velocity", 3),
    ("rotation", "orientation_flat", 9),
    ("angular_velocity", "angular_velocity", 3),
    ("gear_and_wheels", "gear_and_wheels", None),
    ("freewheeling", "is_freewheeling", 1),
    ("way_points", "zone_centers_in_car_frame", None),
    ("metres_left", "margin", 1),
    ("zone", "current_zone_idx", 1),
    ("metres", "metres", 1),
)
"""Attribute, JSON field, and numbers in it (None: as many as were recorded)."""
_CAR_FRAME = (("velocity", "velocity_car"), ("angular_velocity", "angular_velocity_car"))


@dataclass(frozen=True, eq=False)
class RaceStates:
    """The car at moments of one race; NaN is what is not known."""

    times_ms: Times
    """(S,) race clock, rising."""
    position: Floats
    """(S, 3) metres, world."""
    velocity: Floats
    """(S, 3) m/s, world."""
    rotation: Floats
    """(S, 9) from the world to the car's frame, row by row: v_car = rotation @ v."""
    angular_velocity: Floats
    """(S, 3) rad/s, world."""
    gear_and_wheels: Floats
    """(S, 32) as in the observation, between previous actions and angular velocity."""
    freewheeling: Floats
    """(S, 1) 0 or 1."""
    way_points: Floats
    """(S, W) metres, car frame."""
    metres_left: Floats
    """(S, 1) metres to the finish, at most the observation's margin."""
    zone: Floats
    """(S, 1) zone of the reference line."""
    metres: Floats
    """(S, 1) progress along the reference line."""

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def columns(self) -> dict[str, Floats]:
        """All but the times, by name."""
        return {name: getattr(self, name) for name, _, _ in _FIELDS}

    @property
    def needed(self) -> Floats:
        """(S, ...) all that the floats are made of, side by side."""
        return np.hstack([column for name, column in self.columns.items() if name not in ("zone", "metres")])

    def in_car_frame(self, vectors: Floats) -> Floats:
        """Return world vectors (S, 3) in the car's frame."""
        turned: Floats = np.einsum("sij,sj->si", self.rotation.reshape(-1, 3, 3), vectors)
        return turned

    def taken(self, rows: NDArray[Any]) -> RaceStates:
        """Return some of the moments, by their numbers or a mask."""
        return replace(
            self, times_ms=self.times_ms[rows], **{name: column[rows] for name, column in self.columns.items()}
        )

    def rows_at(self, times_ms: NDArray[Any]) -> NDArray[np.int64]:
        """Return the row (n,) of each time, -1 where nothing is known of exactly that moment."""
        rows = np.searchsorted(self.times_ms, times_ms)
        found = rows < len(self)
        found[found] = self.times_ms[rows[found]] == np.asarray(times_ms)[found]
        return np.where(found, rows, -1)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the moments as the objects of a manifest, every float32 with the digits that read back to it."""
        columns = {field: self.columns[name] for name, field, _ in _FIELDS}
        columns |= {field: self.in_car_frame(self.columns[name]) for name, field in _CAR_FRAME}
        single = {field for _, field, width in _FIELDS if width == 1}
        texts = {field: _digits(column) for field, column in columns.items()}
        return [
            {"time_ms": time_ms, "race_time": time_ms}
            | {field: values[row][0] if field in single else values[row] for field, values in texts.items()}
            for row, time_ms in enumerate(self.times_ms.tolist())
        ]


def states_of_json(moments: Sequence[Mapping[str, Any]], where: str) -> RaceStates | None:
    """Return the states that a manifest's objects describe, sorted by time; None: there are none.

    A field that is missing is NaN; the time is ``time_ms`` or, in old recordings, ``race_time``.

    Args:
        moments: the objects.
        where: what to call them in an error.

    Raises:
        InvalidInputError: they are no states, or of different sizes.
    """
    if not moments:
        return None
    try:
        times_ms = np.array([each["time_ms"] if "time_ms" in each else each["race_time"] for each in moments], np.int32)
        columns = {}
        for name, field, width in _FIELDS:
            rows = [each.get(field) for each in moments]
            sizes = {np.size(row) for row in rows if row is not None} or {width or 0}
            if len(sizes) > 1 or (width is not None and sizes != {width}):
                raise ValueError(f"{field} has {sorted(sizes)} numbers")
            (size,) = sizes
            unknown = [np.nan] * size
            column = np.array([unknown if row is None else row for row in rows], np.float64).reshape(-1, size)
            columns[name] = column.astype(np.float32)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInputError(f"{where}: the race states are malformed: {error}") from error
    order = np.argsort(times_ms, kind="stable")
    return RaceStates(times_ms[order], **{name: column[order] for name, column in columns.items()})


def floats_at(
    states: RaceStates,
    actions: NDArray[np.uint8],
    times_ms: NDArray[Any],
    layout: ObservationLayout,
    *,
    period_ms: int,
) -> Floats:
    """Return the floats (n, F) that an agent observes at some moments, NaN where the state is not known.

    The previous actions are those of the decisions before, one each ``period_ms`` and not each recorded tick; before
    the start they are ``FORWARD``, as when the agent drives. The gearbox count is in decisions likewise.

    Args:
        states: of the race.
        actions: (T,) its timeline, every 10 ms.
        times_ms: (n,) the moments.
        layout: of the floats.
        period_ms: between two decisions.

    Raises:
        InvalidInputError: the states were recorded for another layout.
    """
    _check_sizes(states, layout)
    times_ms = np.asarray(times_ms, np.int64)
    rows = states.rows_at(times_ms)
    floats = np.full((len(rows), layout.size), np.nan, np.float32)
    known = rows >= 0
    at = rows[known]
    out = np.zeros((len(at), layout.size), np.float32)
    ages = np.arange(layout.settings.previous_actions, 0, -1) * period_ms
    out[:, layout.previous_actions] = _keys_at(actions, times_ms[known, None] - ages).reshape(len(at), -1)
    out[:, layout.wheel_sliding.start : layout.wheel_materials.stop] = states.gear_and_wheels[at]
    out[:, layout.gearbox_count] = _gearbox_count(states, period_ms)[at, None]
    turned = states.taken(at)
    out[:, layout.angular_velocity] = turned.in_car_frame(turned.angular_velocity)
    out[:, layout.velocity] = turned.in_car_frame(turned.velocity)
    out[:, layout.up] = turned.rotation.reshape(-1, 3, 3)[:, :, 1]
    out[:, layout.way_points] = turned.way_points
    out[:, layout.metres_left] = turned.metres_left
    out[:, layout.freewheeling] = turned.freewheeling
    out[~np.isfinite(out).all(axis=1)] = np.nan
    floats[known] = out
    return floats


def _check_sizes(states: RaceStates, layout: ObservationLayout) -> None:
    gear = layout.wheel_materials.stop - layout.wheel_sliding.start
    points = layout.way_points.stop - layout.way_points.start
    if states.gear_and_wheels.shape[1] != gear or states.way_points.shape[1] != points:
        raise InvalidInputError(
            f"the states have {states.gear_and_wheels.shape[1]} numbers of gear and wheels and "
            f"{states.way_points.shape[1]} of way-points, the observation has {gear} and {points}",
            hint="Set observation as it was for the recording, or do without floats.",
        )


def _keys_at(actions: NDArray[np.uint8], times_ms: NDArray[np.int64]) -> Floats:
    """Return the keys (..., 4) that are held at some times; FORWARD's before the start, NaN where it is no action."""
    keys = np.vstack([ACTION_KEYS, np.full((1, ACTION_KEYS.shape[1]), np.nan, np.float32)])
    ticks = np.clip(times_ms // TICK_MS, 0, len(actions) - 1)
    held = np.where(times_ms < 0, FORWARD, actions[ticks])
    return keys[np.where(held == NO_ACTION, ACTION_COUNT, held)]


def _gearbox_count(states: RaceStates, period_ms: int) -> Floats:
    """Return for each moment (S,) the decisions with a busy gearbox up to it: recorded ones count other moments.

    Where nothing is known of a moment one period earlier, what was recorded stands.
    """
    recorded = states.gear_and_wheels[:, _GEARBOX_COUNT]
    busy = np.nan_to_num(states.gear_and_wheels[:, _GEARBOX_STATE]) != 0
    before = states.rows_at(states.times_ms.astype(np.int64) - period_ms)
    counts = np.zeros(len(states), np.float32)
    for row in np.flatnonzero(busy):
        earlier = before[row]
        if earlier >= 0:
            counts[row] = counts[earlier] + 1
        else:
            counts[row] = 1 if states.times_ms[row] < period_ms else recorded[row]
    return counts


def _digits(column: Floats) -> list[list[float | None]]:
    """Return the rows as lists of decimals that read back to the same float32, None for what is not known."""
    return [[float(f"{value:.9g}") if isfinite(value) else None for value in row] for row in column.tolist()]
