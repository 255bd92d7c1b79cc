"""A street for tests of pictures: straight along +z on flat ground, with one thing of each kind beside or above it."""

from __future__ import annotations

import numpy as np

from tests.simulator.flat_track import gate
from tmrl_ray.simulator.mesh import Mesh, Surface
from tmrl_ray.simulator.track import Material, Paint, Pose, Track

HALF_WIDTH_M = 8.0
LENGTH_M = 400.0
WALL_HEIGHT_M = 1.5

ROAD = Surface(Material.ASPHALT, Paint.ROAD)
GROUND = Surface(Material.GRASS, Paint.GROUND)
GROUND_Y = -0.5


def street(*, order: np.random.Generator | None = None) -> Track:
    """The street. Its left wall stands at z = 30 to 90, an arch at z = 60, a turbo pad at z = 100 to 110.

    Args:
        order: shuffles the triangles.
    """
    mesh = Mesh()
    _lay(mesh, (-LENGTH_M, LENGTH_M), (-100.0, LENGTH_M + 100), GROUND_Y, GROUND)
    for start in np.arange(-20.0, LENGTH_M, 20.0):
        _lay(mesh, (-HALF_WIDTH_M, HALF_WIDTH_M), (start, start + 20), 0.0, ROAD)
    _lay(mesh, (-3, 3), (100, 110), 0.02, Surface(Material.TURBO, Paint.TURBO_PAD))
    _lay(mesh, (-HALF_WIDTH_M, HALF_WIDTH_M), (150, 180), 0.02, Surface(Material.DIRT, Paint.BARE))
    wall = np.array([[8, 0, 30], [8, 0, 90], [8, WALL_HEIGHT_M, 90], [8, WALL_HEIGHT_M, 30]], dtype=float)
    mesh.add_quad(wall, Surface(Material.CONCRETE, Paint.WALL))
    arch = np.array([[8, 6, 60], [-8, 6, 60], [-8, 7.5, 60], [8, 7.5, 60]], dtype=float)
    mesh.add_quad(arch, Surface(Material.CONCRETE, Paint.CHECKPOINT, solid=False))
    arrays = mesh.arrays()
    pick = np.arange(len(arrays.triangles)) if order is None else order.permutation(len(arrays.triangles))
    line_z = np.arange(0.0, LENGTH_M - 20, 0.5)
    zeros = np.zeros_like(line_z)
    return Track(
        name="street",
        vertices=arrays.vertices,
        triangles=arrays.triangles[pick],
        materials=arrays.materials[pick],
        paints=arrays.paints[pick],
        uv=arrays.uv[pick],
        solid=arrays.solid[pick],
        gates=(gate(60.0), gate(300.0)),
        spawn=Pose(np.array([0.0, 0.1, 0.0]), np.eye(3)),
        line=np.stack([zeros, zeros, line_z], axis=1),
        line_up=np.stack([zeros, zeros + 1, zeros], axis=1),
        half_width=zeros + HALF_WIDTH_M,
    )


def _lay(mesh: Mesh, x: tuple[float, float], z: tuple[float, float], y: float, surface: Surface) -> None:
    """Lay a flat rectangle, seen from above; u is x and v is z."""
    rails = [np.array([[side, y, z[0]], [side, y, z[1]]], dtype=float) for side in x]
    right, left = (mesh.add_vertices(rail) for rail in rails)
    mesh.add_strip(right, left, rails[0][:, [0, 2]], rails[1][:, [0, 2]], surface)
