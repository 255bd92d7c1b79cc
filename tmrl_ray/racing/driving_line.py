"""The shape of a line that a car is to follow: where it goes, how it bends, what it is made of.

Made from a track's centre line, from a line beside it, or from nothing but points (a line of the real game). The speed
profile asks how fast a car can follow it, the drivers follow it. Shape letter: N points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.contact import NOTHING, cast_ray
from tmrl_ray.simulator.track import Material, Track

Floats = NDArray[np.float64]

SPACING_M: Final = 2.0
"""Between two points: short against any bend, long enough for a profile of a 4 km line in a tenth of a second."""
SMOOTHING_M: Final = 6.0
"""Bends are measured over this length to either side: the lines of the game are rounded and shaky."""
_EASE_POINTS: Final = 110
"""Points of a track's line, 55 m, over which a way changes from the main road to a branch beside it, and back."""
_PROBE_UP_M: Final = 1.0
_PROBE_M: Final = 2.0


@dataclass(frozen=True, eq=False, kw_only=True)
class DrivingLine:
    """A line with what a driver needs to know of it."""

    points: Floats
    """(N, 3) metres, about ``SPACING_M`` apart."""
    up: Floats
    """(N, 3) unit normals of the road."""
    half_width: Floats
    """(N,) metres to the nearer edge of the road."""
    materials: NDArray[np.int64]
    """(N,) contact material ids; ``NOTHING`` where there is no road: the car flies."""
    closed: bool = False
    """Whether the last point is followed by the first: a lap."""

    @cached_property
    def spacing(self) -> Floats:
        """(N,) metres from each point to the next; 0 at the end of a line that is not closed."""
        steps = np.roll(self.points, -1, axis=0) - self.points
        spacing: Floats = np.linalg.norm(steps, axis=1)
        if not self.closed:
            spacing[-1] = 0.0
        return spacing

    @cached_property
    def along(self) -> Floats:
        """(N,) metres from the first point to each."""
        return np.concatenate(([0.0], np.cumsum(self.spacing[:-1])))

    @property
    def length_m(self) -> float:
        """Length of the line, the way back to the start included where it is closed."""
        return float(self.spacing.sum())

    @cached_property
    def tangents(self) -> Floats:
        """(N, 3) unit vectors along the line."""
        return _unit(self._difference(self.points))

    @cached_property
    def left(self) -> Floats:
        """(N, 3) unit vectors to the left, on the road."""
        return _unit(np.cross(self.up, self.tangents))

    @cached_property
    def curvature(self) -> Floats:
        """(N, 3) change of direction per metre."""
        return self._difference(self.tangents) / self._stride_m[:, None]

    @cached_property
    def bend(self) -> Floats:
        """(N,) curvature to the left along the road's surface, 1/m."""
        bend: Floats = np.einsum("ni,ni->n", self.curvature, self.left)
        return bend

    @cached_property
    def bend_growth(self) -> Floats:
        """(N,) change of ``bend`` per metre, 1/m2."""
        growth: Floats = self._difference(self.bend) / self._stride_m
        return growth

    @cached_property
    def crest(self) -> Floats:
        """(N,) curvature out of the road's surface, 1/m: positive in a dip, negative on a crest."""
        crest: Floats = np.einsum("ni,ni->n", self.curvature, self.up)
        return crest

    @property
    def on_road(self) -> NDArray[np.bool_]:
        """(N,) false where there is no road."""
        on_road: NDArray[np.bool_] = self.materials != NOTHING
        return on_road

    @cached_property
    def _stride_m(self) -> Floats:
        """(N,) metres between the two points whose difference stands for a change at each point."""
        stride = self._difference(self.along)
        stride[stride < 0] += self.length_m  # over the seam of a closed line
        return np.asarray(np.maximum(stride, 1e-6))

    def _shifted(self, values: Floats, by: int) -> Floats:
        """Return ``values`` of the point ``by`` places on: round a closed line, else that of the end."""
        places = np.arange(len(values)) + by
        return values[places % len(values) if self.closed else np.clip(places, 0, len(values) - 1)]

    def _difference(self, values: Floats) -> Floats:
        """Return by how much ``values`` change from ``SMOOTHING_M`` before each point to as far after it."""
        reach = max(1, round(SMOOTHING_M / SPACING_M))
        return self._shifted(values, reach) - self._shifted(values, -reach)

    def beside(self, offsets: Floats) -> DrivingLine:
        """Return the line that runs ``offsets`` (N,) metres to the left of this one, on the same road."""
        return DrivingLine(
            points=self.points + self.left * offsets[:, None],
            up=self.up,
            half_width=self.half_width,
            materials=self.materials,
            closed=self.closed,
        )


def line_of_points(points: Floats) -> DrivingLine:
    """Return the driving line through points (N, 3) of which nothing else is known: level asphalt, 6 m to each side.

    Raises:
        TrackError: there are too few points, or they are not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2 or not np.isfinite(points).all():
        raise TrackError(f"a driving line needs 2 or more finite points (N, 3), these are {points.shape}")
    points = _resampled(points, closed=False)[0]
    n = len(points)
    return DrivingLine(
        points=points,
        up=np.tile((0.0, 1.0, 0.0), (n, 1)),
        half_width=np.full(n, 6.0),
        materials=np.full(n, int(Material.ASPHALT)),
    )


def centre_line(track: Track, branch: str | None = None) -> DrivingLine:
    """Return the middle of a track's road as a driving line.

    Args:
        track: the track.
        branch: the name of another way to take; None: the main road all the way.

    Raises:
        TrackError: the track has no such branch.
    """
    closed = track.laps > 1
    way = (track.line, track.line_up, track.half_width) if branch is None else _over(track, branch)
    line, line_up, half_width = way
    points, places = _resampled(line, closed=closed)
    nearest = np.minimum(np.rint(places).astype(np.int64), len(line) - 1)
    up = line_up[nearest]
    materials = np.array([_material_under(track, point, normal) for point, normal in zip(points, up, strict=True)])
    return DrivingLine(points=points, up=up, half_width=half_width[nearest].copy(), materials=materials, closed=closed)


def _over(track: Track, name: str) -> tuple[Floats, Floats, Floats]:
    """Return the points, normals and half widths of the way over a branch, eased towards it and back."""
    branch = next((one for one in track.branches if one.name == name), None)
    if branch is None:
        known = ", ".join(one.name for one in track.branches) or "none"
        raise TrackError(f"track {track.name!r} has no branch {name!r}; its branches: {known}")
    before, after = track.line[: branch.leaves].copy(), track.line[branch.joins :].copy()
    count = min(_EASE_POINTS, len(before), len(after))
    rise = np.linspace(0.0, 1.0, count)[:, None]
    ease = rise * rise * (3 - 2 * rise)
    before[-count:] += ease * (branch.line[0] - track.line[branch.leaves])
    after[:count] += ease[::-1] * (branch.line[-1] - track.line[branch.joins])
    return (
        np.concatenate((before, branch.line, after)),
        np.concatenate((track.line_up[: branch.leaves], branch.line_up, track.line_up[branch.joins :])),
        np.concatenate((track.half_width[: branch.leaves], branch.half_width, track.half_width[branch.joins :])),
    )


def _material_under(track: Track, point: Floats, normal: Floats) -> int:
    x, y, z = point + _PROBE_UP_M * normal
    _, triangle = cast_ray(track.contacts, x, y, z, -normal[0], -normal[1], -normal[2], _PROBE_M)
    return NOTHING if triangle == NOTHING else int(track.contacts.materials[triangle])


def _resampled(points: Floats, *, closed: bool) -> tuple[Floats, Floats]:
    """Return ``points`` at even distances, and the place of each in the original list as a fraction of an index."""
    if closed:
        points = np.vstack((points, points[:1]))
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    keep = np.concatenate(([True], np.diff(along) > 0))
    along, points, places = along[keep], points[keep], np.flatnonzero(keep).astype(np.float64)
    count = max(2, round(along[-1] / SPACING_M) + (0 if closed else 1))
    wanted = np.linspace(0.0, along[-1], count, endpoint=not closed)
    even = np.stack([np.interp(wanted, along, points[:, axis]) for axis in range(3)], axis=1)
    return even, np.interp(wanted, along, places)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(length, 1e-9)
    return unit
