"""A ribbon: one uninterrupted piece of road as a centre line with a cross-section at every half metre.

Segments and reference lines become ribbons; ``road_mesh`` makes triangles of them. A jump ends one ribbon and starts
the next, and so does a fork. Frames follow the car's convention: left = up x forward.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.track import Floats, Pose

SPACING_M = 0.5
"""Distance between the samples of a centre line: the reference lines of public agents have the same."""

SURFACE_TO_ORIGIN_M = 0.0275
"""How far above the road the origin of a car at rest is (spec/game.md 2.2)."""
SPAWN_DROP_M = 0.05
"""A car is put down this much above where it rests, so that no wheel starts inside the road."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ribbon:
    """A piece of road, N samples. What belongs to a stretch is that from the sample to the next one."""

    points: Floats
    """(N, 3) the centre line on the surface, ``SPACING_M`` apart."""
    forward: Floats
    """(N, 3) unit tangents."""
    up: Floats
    """(N, 3) unit normals of the surface."""
    distance: Floats
    """(N,) metres along the track, for the paint."""
    left_m: Floats
    """(N,) from the centre line to the left edge of the road."""
    right_m: Floats
    """(N,) from the centre line to the right edge."""
    material: NDArray[np.uint8]
    """(N,) material of each stretch."""
    wall_left_m: Floats
    """(N,) height of the wall at the left of each stretch; 0: none."""
    wall_right_m: Floats
    """(N,) height of the wall at the right."""
    shoulder_m: Floats
    """(N,) width of the strips beside the road; 0: none."""
    shoulder_rise_m: Floats
    """(N,) how much the outer edges of these strips are above the road's edges; negative: below."""
    shoulder_material: NDArray[np.uint8]
    """(N,) their material."""
    tunnel: NDArray[np.bool_]
    """(N,) whether a stretch has walls and a ceiling."""
    start_face: bool = True
    """Whether the road begins here, at a jump or at its very start; false where another piece joins it."""
    end_face: bool = True
    """Whether the road ends here."""

    @property
    def left(self) -> Floats:
        """(N, 3) unit vectors to the left, in the surface."""
        return np.cross(self.up, self.forward)

    def __len__(self) -> int:
        return len(self.points)

    def part(self, first: int, last: int) -> Ribbon:
        """Return the road between two samples, both included."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        cut: dict[str, Any] = {name: a[first : last + 1] for name, a in arrays.items() if isinstance(a, np.ndarray)}
        return replace(self, **cut)


def line_pose(point: Floats, forward: Floats, up: Floats) -> Pose:
    """Return the pose of a car that is put down on the road at a point of a line, facing along it."""
    rotation = np.stack([np.cross(up, forward), up, forward], axis=1)
    return Pose(point + (SURFACE_TO_ORIGIN_M + SPAWN_DROP_M) * up, rotation)


def frames_along(points: Floats, bank_rad: Floats, *, closed: bool = False) -> tuple[Floats, Floats]:
    """Return tangents and surface normals (N, 3) along points that never run straight up or down.

    Args:
        points: (N, 3) metres.
        bank_rad: (N,) tilt about the tangent; positive lowers the left edge.
        closed: whether the last point is followed by the first.
    """
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0) if closed else np.gradient(points, axis=0)
    forward = unit(tangent)
    left = unit(np.cross(np.array([0.0, 1.0, 0.0]), forward))
    level_up = np.cross(forward, left)
    up = level_up * np.cos(bank_rad)[:, None] + left * np.sin(bank_rad)[:, None]
    return forward, up


def unit(vectors: Floats) -> Floats:
    """Return vectors (..., 3) scaled to length 1."""
    scaled: Floats = vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return scaled


def smooth(values: Floats, window_m: float, *, mode: str = "edge") -> Floats:
    """Return values (N,) averaged with a raised-cosine window: steps become eased transitions of that length.

    Args:
        values: one value every ``SPACING_M``.
        window_m: full width of the window.
        mode: what lies beyond the ends, as in ``np.pad``: "edge", "wrap", or "constant" for zeros.
    """
    half = min(int(round(window_m / SPACING_M / 2)), len(values) - 1)
    if half < 1:
        return values.copy()
    window = 1 + np.cos(np.pi * np.arange(-half, half + 1) / (half + 1))
    padded = np.pad(values, half, mode=mode)  # type: ignore[call-overload]
    averaged: Floats = np.convolve(padded, window / window.sum(), mode="valid")
    return averaged


def resample(points: Floats, *, closed: bool = False) -> Floats:
    """Return points at equal distances, as near to ``SPACING_M`` as a whole number of steps allows.

    Args:
        points: (N, 3) metres, close enough for straight lines between them.
        closed: whether the last point is followed by the first; the first is not repeated in the result.
    """
    if closed:
        points = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1)))])
    steps = max(int(round(along[-1] / SPACING_M)), 2)
    at = np.linspace(0.0, along[-1], steps + 1)
    if closed:
        at = at[:-1]
    return np.stack([np.interp(at, along, points[:, k]) for k in range(3)], axis=1)
