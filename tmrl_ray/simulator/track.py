"""The one internal form of a track: triangles with materials, gates in order, a spawn, a centre line.

Every source of tracks (segments, a reference line, the generator) ends here, and everything that uses a track
(contacts, race, renderer, drivers) starts here. World axes are the game's: y up, metres. A pose's rotation is a
matrix whose columns are the car's axes in the world: left, up, forward.

Shape letters: V vertices, F triangles, G gates, N points of the centre line, C cells of the grid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Material(IntEnum):
    """The game's contact materials that our tracks use, by the game's own ids."""

    CONCRETE = 0
    PAVEMENT = 1
    GRASS = 2
    ICE = 3
    METAL = 4
    SAND = 5
    DIRT = 6
    TURBO = 7
    DIRT_ROAD = 8
    RUBBER = 9
    WOOD = 14
    ASPHALT = 16
    TURBO2 = 26
    FREE_WHEELING = 29


class Paint(IntEnum):
    """What a triangle looks like; the renderer draws each kind from its uv coordinates."""

    ROAD = 0
    """Grey with edge lines and a dashed centre line; u is the lateral offset, v the distance along the road."""
    BARE = 1
    """The material's own tone (dirt, grass, ice, concrete), without road lines."""
    TURBO_PAD = 2
    """Chevrons that point along +v."""
    WALL = 3
    """Striped side walls; u is the height above the road, v the distance along."""
    TUNNEL = 4
    """Dark ceiling and walls."""
    GROUND = 5
    """The flat ground around the track."""
    SUPPORT = 6
    """Pillars and the underside of raised road: drawn, rarely touched."""
    CHECKPOINT = 7
    """A checkpoint arch."""
    START = 8
    FINISH = 9
    """The finish arch: a checker pattern."""


@dataclass(frozen=True, eq=False, slots=True)
class Pose:
    """A place and an attitude."""

    position: Floats
    """(3,) metres."""
    rotation: Floats
    """(3, 3), columns left, up, forward."""


@dataclass(frozen=True, eq=False, slots=True)
class Gate:
    """A rectangle across the road; a car passes it when its nose crosses the rectangle forwards."""

    centre: Floats
    """(3,) the middle of its lower edge, on the road."""
    rotation: Floats
    """(3, 3), columns left, up, forward: the gate spans left and up, and is crossed along forward."""
    half_width: float
    """Metres from the centre to each side."""
    height: float
    """Metres above the centre."""
    respawn: Pose
    """Where a car is put that respawns after passing this gate."""


@dataclass(frozen=True, eq=False, slots=True)
class BranchLine:
    """Another way than the line, from one of its points to a later one."""

    name: str
    """As the track file calls it."""
    line: Floats
    """(M, 3) its centre line, a point about every 0.5 m; begins and ends beside the main line, on the same road."""
    line_up: Floats
    """(M, 3) unit normals of the road."""
    half_width: Floats
    """(M,) metres from the line to each edge of the road."""
    leaves: int
    """The point of ``Track.line`` beside which it begins."""
    joins: int
    """The point of ``Track.line`` beside which it ends."""


CELL_M = 4.0
"""Size of a grid cell. Half the game's usual 8 m: a road then has some ten triangles a cell instead of some twenty."""
CELL_MARGIN_M = 0.5
"""Each cell also holds the triangles this near to it: a sphere of at most this radius needs only its centre's cell."""


class ContactArrays(NamedTuple):
    """The solid triangles in a grid of square cells over x and z, for the kernels."""

    corners: Floats
    """(F, 3, 3) the three corners of each solid triangle, counter-clockwise seen from its front."""
    normals: Floats
    """(F, 3) unit normals, out of the front."""
    planes: Floats
    """(F, 4, 4) planes a, b, c, d with a unit normal (a, b, c): that of the triangle, then those that stand upright on
    its edges and face inwards. ``a x + b y + c z - d`` is the height above, or the distance inside the edge."""
    boxes: Floats
    """(F, 6) bounding box: lowest x, y, z, then highest."""
    materials: NDArray[np.uint8]
    """(F,) contact material ids."""
    cell_start: NDArray[np.int32]
    """(C + 1,) where the triangles of a cell begin in ``cell_triangles``; cell = ix * size_z + iz."""
    cell_triangles: NDArray[np.int32]
    """Rising indices of the triangles that, seen from above, come within ``CELL_MARGIN_M`` of each cell."""
    origin: Floats
    """(3,) x and z of the grid's corner, and the size of a cell in metres."""
    size: NDArray[np.int64]
    """(2,) cells along x and along z."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Track:
    """A track, ready to be driven and drawn. Arrays are read-only by convention."""

    name: str
    vertices: Floats
    """(V, 3) metres."""
    triangles: NDArray[np.int32]
    """(F, 3) vertex indices, counter-clockwise seen from the front; both sides are drawn, only the front is driven."""
    materials: NDArray[np.uint8]
    """(F,) :class:`Material`."""
    paints: NDArray[np.uint8]
    """(F,) :class:`Paint`."""
    uv: NDArray[np.float32]
    """(F, 3, 2) metres on the surface at each corner: u across (left is positive, on the road 0 is its
    middle), v along (on the road from the spawn)."""
    solid: NDArray[np.bool_]
    """(F,) false for what is only drawn: arches, banners."""
    gates: tuple[Gate, ...]
    """In driving order, the finish last. On a lap track the finish is also the start line."""
    spawn: Pose
    line: Floats
    """(N, 3) centre line on the road's surface, a point every 0.5 m, from the spawn to at least 20 m past the finish
    (on a lap track: one lap, closed)."""
    line_up: Floats
    """(N, 3) unit normals of the road at the points of the line."""
    half_width: Floats
    """(N,) metres from the line to each edge of the road."""
    laps: int = 1
    branches: tuple[BranchLine, ...] = ()
    """Other ways."""

    @cached_property
    def contacts(self) -> ContactArrays:
        """The solid triangles, sorted into cells."""
        solid = np.flatnonzero(self.solid)
        return build_contacts(self.vertices[self.triangles[solid]], self.materials[solid])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the physics and the race read; two tracks with the same one drive alike."""
        digest = hashlib.sha256()
        for array in (self.vertices, self.triangles, self.materials, self.solid, self.spawn.position):
            digest.update(np.ascontiguousarray(array).tobytes())
        for gate in self.gates:
            digest.update(gate.centre.tobytes() + gate.rotation.tobytes())
            digest.update(np.array([gate.half_width, gate.height]).tobytes())
        digest.update(str(self.laps).encode())
        return digest.hexdigest()


def build_contacts(corners: Floats, materials: NDArray[np.uint8]) -> ContactArrays:
    """Sort triangles, corners (F, 3, 3), into the cells of a grid that encloses them all."""
    flat = np.ascontiguousarray(corners[:, :, [0, 2]])
    low, high = flat.min(axis=1), flat.max(axis=1)  # (F, 2)
    corner = np.floor(low.min(axis=0) / CELL_M - 1) * CELL_M
    size = np.ceil((high.max(axis=0) - corner) / CELL_M).astype(np.int64) + 1
    first = np.floor((low - CELL_MARGIN_M - corner) / CELL_M).astype(np.int64)
    last = np.floor((high + CELL_MARGIN_M - corner) / CELL_M).astype(np.int64)
    triangle, ix, iz = _candidate_cells(first, last - first + 1)
    x, z = corner[0] + (ix + 0.5) * CELL_M, corner[1] + (iz + 0.5) * CELL_M
    keep = _touches(flat, triangle, x, z)
    cell = (ix * size[1] + iz)[keep]
    order = np.argsort(cell, kind="stable")  # candidates come by rising triangle, and stay so within a cell
    counts = np.bincount(cell, minlength=int(size[0] * size[1]))
    normals = triangle_normals(corners)
    return ContactArrays(
        corners=np.ascontiguousarray(corners),
        normals=normals,
        planes=_bounding_planes(corners, normals),
        boxes=np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1),
        materials=np.ascontiguousarray(materials),
        cell_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        cell_triangles=triangle[keep][order].astype(np.int32),
        origin=np.array([corner[0], corner[1], CELL_M]),
        size=size,
    )


def _bounding_planes(corners: Floats, normals: Floats) -> Floats:
    """Return the planes (F, 4, 4) of triangles (F, 3, 3) and of their edges; elementwise arithmetic only."""
    planes = np.empty((len(corners), 4, 4))
    planes[:, 0, :3] = normals
    for k in range(3):
        edge = corners[:, (k + 1) % 3] - corners[:, k]
        inward = np.stack(
            [normals[:, i - 2] * edge[:, i - 1] - normals[:, i - 1] * edge[:, i - 2] for i in range(3)], 1
        )
        length = np.sqrt(inward[:, 0] ** 2 + inward[:, 1] ** 2 + inward[:, 2] ** 2)
        planes[:, k + 1, :3] = inward / length[:, None]
    for k, corner in enumerate((0, 0, 1, 2)):
        a, p = planes[:, k, :3], corners[:, corner]
        planes[:, k, 3] = a[:, 0] * p[:, 0] + a[:, 1] * p[:, 1] + a[:, 2] * p[:, 2]
    return planes


def triangle_normals(corners: Floats) -> Floats:
    """Return the unit normals (F, 3) of triangles (F, 3, 3); elementwise arithmetic only, so that all CPUs agree."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        axis=1,
    )
    length = np.sqrt(normal[:, 0] ** 2 + normal[:, 1] ** 2 + normal[:, 2] ** 2)
    unit: Floats = normal / length[:, None]
    return unit


def _candidate_cells(first: Indices, span: Indices) -> tuple[Indices, Indices, Indices]:
    """Return every pair of a triangle and a cell whose bounding boxes meet: (P,) triangles, cells along x, along z."""
    counts = span[:, 0] * span[:, 1]
    triangle = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
    depth = span[triangle, 1]
    return triangle, first[triangle, 0] + within // depth, first[triangle, 1] + within % depth


def _touches(flat: Floats, triangle: Indices, x: Floats, z: Floats) -> NDArray[np.bool_]:
    """Tell for pairs of a triangle, seen from above, and a cell centre whether they are as near as a cell reaches.

    Separating axes: those of the cell were tested with the bounding boxes, so only the triangle's edges are left.

    Args:
        flat: (F, 3, 2) corners of all triangles, x and z.
        triangle: (P,) which of them.
        x, z: (P,) the centre of the cell.
    """
    half = CELL_M / 2 + CELL_MARGIN_M
    touches = np.ones(len(triangle), dtype=np.bool_)
    for k in range(3):
        edge = flat[:, (k + 1) % 3] - flat[:, k]
        axis_x, axis_z = -edge[:, 1], edge[:, 0]
        extent = flat[:, :, 0] * axis_x[:, None] + flat[:, :, 1] * axis_z[:, None]  # (F, 3)
        spread = half * (np.abs(axis_x) + np.abs(axis_z))
        place = axis_x[triangle] * x + axis_z[triangle] * z
        touches &= place >= (extent.min(axis=1) - spread)[triangle]
        touches &= place <= (extent.max(axis=1) + spread)[triangle]
    return touches
