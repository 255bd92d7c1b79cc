"""Triangles under construction: vertices, and what each triangle is made of and looks like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.track import Floats, Indices, Material, Paint

QUANTUM_M = 2.0**-13
"""Vertices lie on a grid of 0.12 mm, so that the last bits of sin and cos, which differ between CPUs, do not count."""


class Surface(NamedTuple):
    """What a strip of triangles is."""

    material: Material
    paint: Paint
    solid: bool = True


class MeshArrays(NamedTuple):
    """The arrays of a finished mesh, in the form that ``Track`` has them."""

    vertices: Floats
    triangles: NDArray[np.int32]
    materials: NDArray[np.uint8]
    paints: NDArray[np.uint8]
    uv: NDArray[np.float32]
    solid: NDArray[np.bool_]


class Mesh:
    """Collects vertices and triangles."""

    def __init__(self) -> None:
        self._vertices: list[Floats] = []
        self._count = 0
        self._triangles: list[Indices] = []
        self._materials: list[NDArray[np.uint8]] = []
        self._paints: list[NDArray[np.uint8]] = []
        self._uv: list[NDArray[np.float32]] = []
        self._solid: list[NDArray[np.bool_]] = []

    def add_vertices(self, points: Floats) -> Indices:
        """Add points (..., 3) and return their indices (...)."""
        flat = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        indices = self._count + np.arange(len(flat))
        self._vertices.append(np.round(flat / QUANTUM_M) * QUANTUM_M)
        self._count += len(flat)
        return indices.reshape(np.asarray(points).shape[:-1])

    def add_triangles(self, triangles: Indices, uv: Floats, surface: Surface) -> None:
        """Add triangles (F, 3) of one surface, with texture coordinates (F, 3, 2)."""
        count = len(triangles)
        self._triangles.append(triangles)
        self._uv.append(uv.astype(np.float32))
        self._materials.append(np.full(count, surface.material, np.uint8))
        self._paints.append(np.full(count, surface.paint, np.uint8))
        self._solid.append(np.full(count, surface.solid))

    def add_strip(self, right: Indices, left: Indices, uv_right: Floats, uv_left: Floats, surface: Surface) -> None:
        """Add the quads between two rails of vertices (K,), seen from the side on which they run forwards.

        Args:
            right: vertex indices of the right-hand rail; ``uv_right`` (K, 2) its texture coordinates.
            left: vertex indices of the left-hand rail; ``uv_left`` (K, 2) its texture coordinates.
            surface: what the strip is.
        """
        corners = [(right[:-1], uv_right[:-1]), (right[1:], uv_right[1:]), (left[1:], uv_left[1:])]
        corners += [corners[0], corners[2], (left[:-1], uv_left[:-1])]
        triangles = np.stack([index for index, _ in corners], axis=1).reshape(-1, 3)
        coordinates = np.stack([uv for _, uv in corners], axis=1).reshape(-1, 3, 2)
        self.add_triangles(triangles, coordinates, surface)

    def add_quad(self, corners: Floats, surface: Surface) -> None:
        """Add one quad, corners (4, 3) counter-clockwise seen from its front; its texture starts at the first."""
        index = self.add_vertices(corners)
        width = float(np.linalg.norm(corners[1] - corners[0]))
        height = float(np.linalg.norm(corners[3] - corners[0]))
        uv = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
        pick = np.array([[0, 1, 2], [0, 2, 3]])
        self.add_triangles(index[pick], uv[pick], surface)

    def arrays(self) -> MeshArrays:
        """Return everything that was added, without triangles that have no area."""
        vertices = np.concatenate(self._vertices)
        triangles = np.concatenate(self._triangles)
        corners = vertices[triangles]
        area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        keep = (area**2).sum(axis=1) > MIN_AREA_M2**2
        return MeshArrays(
            vertices,
            triangles[keep].astype(np.int32),
            np.concatenate(self._materials)[keep],
            np.concatenate(self._paints)[keep],
            np.concatenate(self._uv)[keep],
            np.concatenate(self._solid)[keep],
        )


MIN_AREA_M2 = 1e-5
"""Twice the area below which a triangle is dropped: strips that narrow to nothing end in such."""
