"""A track, cut into chunks for drawing: what the rasteriser reads of a :class:`~tmrl_ray.simulator.track.Track`.

Triangles are grouped by the square of the ground that they stand on, so that whole chunks outside the view are
skipped by one test of a sphere, and the vertices of a chunk lie together in memory and are transformed once.

Shape letters: F triangles, V vertices (one copy for each chunk that uses it), K chunks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.track import Paint, Track

CHUNK_M = 40.0
"""Side of a chunk: small enough that few triangles outside the view are touched, and a few hundred on a long track."""
LARGE_M = 80.0
"""A triangle wider than this (ground) is a chunk of its own, so that it does not blow up the sphere of others."""
SHEET_TURN = 0.1
"""Triangles whose normals differ by less, in each component, are shaded as one sheet where they meet."""
SAME_ROW_M = 0.01
"""Two neighbouring vertices whose v differ by less are in one row across the road."""


class Scene(NamedTuple):
    """The triangles of a track in drawing order."""

    vertices: NDArray[np.float64]
    """(V, 3) metres, grouped by chunk."""
    triangles: NDArray[np.int32]
    """(F, 3) indices into ``vertices``, grouped by chunk."""
    uv: NDArray[np.float64]
    """(F, 6) u and v of the three corners, metres."""
    edges: NDArray[np.float64]
    """(F, 4) u of the road's left edge at v = 0 and its change for a metre of v; the same of the right edge."""
    paints: NDArray[np.uint8]
    """(F,) :class:`~tmrl_ray.simulator.track.Paint`."""
    materials: NDArray[np.uint8]
    """(F,) :class:`~tmrl_ray.simulator.track.Material`."""
    normals: NDArray[np.float64]
    """(F, 3) unit normals, out of the front."""
    sheets: NDArray[np.int32]
    """(F,) the same number for triangles of one paint and material that face nearly the same way."""
    spheres: NDArray[np.float64]
    """(K, 4) centre and radius of each chunk, metres."""
    vertex_start: NDArray[np.int32]
    """(K + 1,) first vertex of each chunk."""
    triangle_start: NDArray[np.int32]
    """(K + 1,) first triangle of each chunk."""
    ground_y: float
    """Height of the flat ground, drawn as an endless plane instead of triangles; minus infinity: there is none."""


@lru_cache(maxsize=16)
def scene_of(track: Track) -> Scene:
    """Return the drawing form of ``track``; the renderers of one track share it."""
    ground_y = _flat_ground(track)
    drawn = np.flatnonzero((track.paints != Paint.GROUND) | (ground_y == -np.inf))
    triangles = track.triangles[drawn]
    corners = track.vertices[triangles]  # (F, 3, 3)
    chunk_of = _chunks(corners)
    order = np.argsort(chunk_of, kind="stable")
    chunk_of, triangles, corners, drawn = chunk_of[order], triangles[order], corners[order], drawn[order]
    n_chunks = int(chunk_of[-1]) + 1 if len(chunk_of) else 0

    used, index = np.unique(chunk_of[:, None] * len(track.vertices) + triangles, return_inverse=True)
    vertices = track.vertices[used % len(track.vertices)]
    vertex_start = np.searchsorted(used // len(track.vertices), np.arange(n_chunks + 1))
    triangle_start = np.searchsorted(chunk_of, np.arange(n_chunks + 1))

    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.sqrt((cross**2).sum(axis=1, keepdims=True))
    normals = cross / np.where(length > 0, length, 1.0)
    kinds = np.column_stack([track.paints[drawn], track.materials[drawn], np.round(normals / SHEET_TURN)])
    return Scene(
        vertices=np.ascontiguousarray(vertices, dtype=np.float64),
        triangles=index.reshape(-1, 3).astype(np.int32),
        uv=track.uv[drawn].reshape(-1, 6).astype(np.float64),
        edges=_road_edges(track)[drawn],
        paints=track.paints[drawn],
        materials=track.materials[drawn],
        normals=normals,
        sheets=np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32),
        spheres=_spheres(vertices, vertex_start),
        vertex_start=vertex_start.astype(np.int32),
        triangle_start=triangle_start.astype(np.int32),
        ground_y=ground_y,
    )


def _flat_ground(track: Track) -> float:
    """Return the height of the ground when all of it is flat, else minus infinity."""
    heights = track.vertices[track.triangles[track.paints == Paint.GROUND], 1]
    if heights.size == 0 or heights.min() != heights.max():
        return -np.inf
    return float(heights.min())


def _chunks(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the chunk (F,) of each triangle, numbered from 0 without gaps."""
    ground = corners[:, :, (0, 2)]
    cells = np.floor(ground.mean(axis=1) / CHUNK_M).astype(np.int64)
    cells -= cells.min(axis=0, initial=0)
    labels = cells[:, 0] * (cells[:, 1].max(initial=0) + 1) + cells[:, 1]
    large = np.flatnonzero(np.ptp(ground, axis=1).max(axis=1, initial=0) > LARGE_M)
    labels[large] = labels.max(initial=0) + 1 + np.arange(len(large))
    numbered: NDArray[np.int64] = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return numbered


def _spheres(vertices: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a bounding sphere (K, 4) of each chunk's vertices: around the middle of its box."""
    spheres = np.zeros((len(start) - 1, 4))
    for k, (first, end) in enumerate(zip(start[:-1], start[1:], strict=True)):
        points = vertices[first:end]
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        spheres[k, :3] = centre
        spheres[k, 3] = np.sqrt(((points - centre) ** 2).sum(axis=1).max())
    return spheres


def _road_edges(track: Track) -> NDArray[np.float64]:
    """Return where the edges of the road are, as lines over v: (F, 4) left at v = 0, slope, right at v = 0, slope.

    A road is made of rows of vertices with the same v. The outermost u of the two rows that a triangle lies between
    are its edges, whatever the number of lanes, and whichever of several roads it belongs to.
    """
    edges = np.zeros((len(track.triangles), 4))
    road = np.flatnonzero(track.paints == Paint.ROAD)
    corners = track.triangles[road]  # (R, 3) vertices
    u, v = track.uv[road, :, 0].astype(np.float64), track.uv[road, :, 1].astype(np.float64)
    row = np.arange(len(track.vertices))
    pairs = [(corners[:, k], corners[:, k - 1]) for k in range(3)]
    level = [np.abs(v[:, k] - v[:, k - 1]) < SAME_ROW_M for k in range(3)]
    here = np.concatenate([a[same] for (a, _), same in zip(pairs, level, strict=True)])
    there = np.concatenate([b[same] for (_, b), same in zip(pairs, level, strict=True)])
    while (row[here] != row[there]).any():  # as often as a row has lanes
        least = np.minimum(row[here], row[there])
        np.minimum.at(row, here, least)
        np.minimum.at(row, there, least)
    left = np.full(len(track.vertices), -np.inf)
    right = np.full(len(track.vertices), np.inf)
    np.maximum.at(left, row[corners], u)
    np.minimum.at(right, row[corners], u)
    pick = np.arange(len(road))
    low, high = v.argmin(axis=1), v.argmax(axis=1)
    length = np.maximum(v[pick, high] - v[pick, low], SAME_ROW_M)
    for column, side in ((0, left), (2, right)):
        at_low, at_high = side[row[corners[pick, low]]], side[row[corners[pick, high]]]
        slope = (at_high - at_low) / length
        edges[road, column] = at_low - slope * v[pick, low]
        edges[road, column + 1] = slope
    return edges
