"""The player's own car as the chase cameras show it: a few boxes in the pose of the body, with four wheels.

Dimensions follow the game's car: half width about 1.0 m, nose at +2.1 m, tail at -1.95 m, wheels of radius 0.364 m at
(0.863, 0.3525, 1.782) and (0.885, 0.3525, -1.2055). Axes: left, up, forward; the origin is on the ground.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BODY = -1
"""Part number of the body; 0 to 3 are the wheels: front left, front right, rear right, rear left, as in the game."""

WHEEL_PLACES = ((0.863, 0.3525, 1.782), (-0.863, 0.3525, 1.782), (-0.885, 0.3525, -1.2055), (0.885, 0.3525, -1.2055))
WHEEL_RADIUS_M = 0.364
WHEEL_HALF_WIDTH_M = 0.182
ABSORB_AT_REST_M = 0.016
"""Suspension travel that the game reports for a car on flat road; there the wheels are where the figures above say."""

RED, DARK, RUBBER, GLASS, LAMP = (206, 30, 26), (44, 46, 52), (24, 24, 26), (60, 84, 110), (120, 16, 12)


class CarMesh(NamedTuple):
    """Triangles in the car's frame; V vertices, F triangles."""

    vertices: NDArray[np.float64]
    """(V, 3) metres; a wheel's are relative to its centre."""
    parts: NDArray[np.int32]
    """(V,) the part that a vertex moves with."""
    triangles: NDArray[np.int32]
    """(F, 3) counter-clockwise seen from outside."""
    normals: NDArray[np.float64]
    """(F, 3) unit normals in the car's frame."""
    tones: NDArray[np.float64]
    """(F, 3) red, green, blue."""
    lamps: NDArray[np.bool_]
    """(F,) true for the lights that shine while the car brakes."""
    wheels: NDArray[np.float64]
    """(4, 3) centres of the wheels at rest."""


@cache
def car_mesh() -> CarMesh:
    """Return the car."""
    solids = [*_body(), *(_wheel(number) for number in range(4))]
    first = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    vertices = np.concatenate([solid.vertices for solid in solids])
    triangles = np.concatenate([solid.triangles + start for solid, start in zip(solids, first, strict=False)])
    tones = np.concatenate([np.tile(np.array(s.tone, dtype=np.float64), (len(s.triangles), 1)) for s in solids])
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return CarMesh(
        vertices=vertices,
        parts=np.concatenate([np.full(len(solid.vertices), solid.part, dtype=np.int32) for solid in solids]),
        triangles=triangles.astype(np.int32),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        tones=tones,
        lamps=(tones == LAMP).all(axis=1),
        wheels=np.array(WHEEL_PLACES),
    )


class _Solid(NamedTuple):
    part: int
    tone: tuple[int, int, int]
    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]


def _body() -> list[_Solid]:
    """Return the body: an end is (half width, bottom, top, z)."""
    return [
        _beam(RED, (0.62, 0.16, 0.56, -1.75), (0.50, 0.14, 0.48, 0.95)),
        _beam(RED, (0.46, 0.16, 0.48, 0.95), (0.20, 0.18, 0.30, 2.05)),
        _beam(DARK, (0.84, 0.13, 0.36, -0.95), (0.72, 0.13, 0.30, 1.05)),
        _beam(DARK, (0.92, 0.12, 0.19, 1.98), (0.86, 0.12, 0.17, 2.20)),
        _beam(RED, (0.36, 0.56, 0.86, -1.15), (0.34, 0.56, 0.82, -0.45), taper=0.6),
        _beam(GLASS, (0.34, 0.54, 0.82, -0.45), (0.30, 0.46, 0.50, 0.65), taper=0.7),
        _beam(RED, (0.90, 0.93, 0.99, -2.00), (0.90, 0.88, 0.93, -1.60)),
        _beam(DARK, (0.06, 0.50, 0.93, -1.85), (0.06, 0.50, 0.90, -1.60), x=0.42),
        _beam(DARK, (0.06, 0.50, 0.93, -1.85), (0.06, 0.50, 0.90, -1.60), x=-0.42),
        _beam(LAMP, (0.14, 0.34, 0.48, -1.79), (0.14, 0.34, 0.48, -1.70), x=0.44),
        _beam(LAMP, (0.14, 0.34, 0.48, -1.79), (0.14, 0.34, 0.48, -1.70), x=-0.44),
    ]


End = tuple[float, float, float, float]


def _beam(tone: tuple[int, int, int], rear: End, front: End, *, x: float = 0.0, taper: float = 0.92) -> _Solid:
    """Return a six-sided solid between two upright rectangles; its top is ``taper`` times as wide as its bottom."""
    corners = [
        (x + side * half * (taper if top else 1.0), high if top else low, z)
        for half, low, high, z in (rear, front)
        for top in (False, True)
        for side in (1.0, -1.0)
    ]
    # rear: 0 low left, 1 low right, 2 high left, 3 high right; front: 4 to 7 likewise
    faces = ((0, 2, 3, 1), (4, 5, 7, 6), (2, 6, 7, 3), (0, 1, 5, 4), (0, 4, 6, 2), (1, 3, 7, 5))
    triangles = [corner for a, b, c, d in faces for corner in ((a, b, c), (a, c, d))]
    return _Solid(BODY, tone, np.array(corners), np.array(triangles))


def _wheel(number: int) -> _Solid:
    """Return a wheel as a prism of eight sides around its axle, without the face that the body hides."""
    half_diagonal = np.sqrt(0.5)
    rim = np.array(
        [(1, 0), (half_diagonal,) * 2, (0, 1), (-half_diagonal, half_diagonal)]
        + [(-1, 0), (-half_diagonal,) * 2, (0, -1), (half_diagonal, -half_diagonal)]
    )  # (8, 2) up, forward
    outside = 1.0 if WHEEL_PLACES[number][0] > 0 else -1.0
    outer = np.column_stack([np.full(8, outside * WHEEL_HALF_WIDTH_M), rim * WHEEL_RADIUS_M])
    inner = outer * (-1.0, 1.0, 1.0)
    triangles = [(0, i, i + 1) for i in range(1, 7)]
    for i in range(8):
        j = (i + 1) % 8
        triangles += [(i, i + 8, j + 8), (i, j + 8, j)]
    faces = np.array(triangles)
    return _Solid(number, RUBBER, np.concatenate([outer, inner]), faces if outside > 0 else faces[:, ::-1])
