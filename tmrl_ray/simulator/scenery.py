"""What stands around a road: the ground, pillars under raised road, and the arches of the gates."""

from __future__ import annotations

import numpy as np

from tmrl_ray.simulator.mesh import Mesh, Surface
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.road_sides import EMBANKMENT_M, SLAB_M
from tmrl_ray.simulator.track import Floats, Gate, Material, Paint

GROUND_TILE_M = 64.0
GROUND_MARGIN_M = 160.0
"""Ground beyond the track on all sides; a car that goes farther falls, and its race was over long before."""

PILLAR_EVERY_M = 32.0
PILLAR_HALF_M = 0.8
PILLAR_CLEARANCE_M = 2.0

ARCH_POST_M = 0.8
ARCH_BEAM_M = 1.6
"""Height of the beam. Both sizes are chosen to be seen in a picture of 64x64 from 60 m away."""
ARCH_CLEARANCE_M = 6.0
"""Between the road and the beam."""

PILLAR = Surface(Material.CONCRETE, Paint.SUPPORT)
GROUND = Surface(Material.GRASS, Paint.GROUND)


def add_ground(mesh: Mesh, ribbons: list[Ribbon], ground_y: float) -> None:
    """Add a flat ground of coarse tiles that reaches well beyond the roads."""
    points = np.concatenate([ribbon.points[:, [0, 2]] for ribbon in ribbons])
    low = np.floor((points.min(axis=0) - GROUND_MARGIN_M) / GROUND_TILE_M) * GROUND_TILE_M
    tiles = np.ceil((points.max(axis=0) + GROUND_MARGIN_M - low) / GROUND_TILE_M).astype(int)
    x = low[0] + GROUND_TILE_M * np.arange(tiles[0] + 1)
    z = low[1] + GROUND_TILE_M * np.arange(tiles[1] + 1)
    grid = np.stack([*np.broadcast_arrays(x[:, None], ground_y, z[None, :])], axis=-1)
    index = mesh.add_vertices(grid)
    uv = grid[..., [0, 2]]
    for i in range(tiles[0]):  # towards +z with +x at the left: seen from above these strips run forwards
        mesh.add_strip(index[i], index[i + 1], uv[i], uv[i + 1], GROUND)


def add_pillars(mesh: Mesh, ribbons: list[Ribbon], ground_y: float) -> None:
    """Add pillars under raised, level road, save where they would stand on another road."""
    every = int(PILLAR_EVERY_M / SPACING_M)
    all_points = np.concatenate([ribbon.points for ribbon in ribbons])
    reach = np.concatenate([np.maximum(ribbon.left_m, ribbon.right_m) for ribbon in ribbons])
    for ribbon in ribbons:
        for i in range(every // 2, len(ribbon), every):
            top = ribbon.points[i] - SLAB_M * ribbon.up[i]
            if top[1] - ground_y < EMBANKMENT_M or ribbon.up[i, 1] < 0.8 or ribbon.tunnel[i]:
                continue
            apart = all_points - top
            near = np.hypot(apart[:, 0], apart[:, 2]) < reach + PILLAR_HALF_M + PILLAR_CLEARANCE_M
            if not (near & (apart[:, 1] < -EMBANKMENT_M / 2)).any():
                _add_pillar(mesh, top, ribbon.forward[i], ground_y)


def _add_pillar(mesh: Mesh, top: Floats, forward: Floats, ground_y: float) -> None:
    ahead = np.array([forward[0], 0.0, forward[2]]) / np.hypot(forward[0], forward[2]) * PILLAR_HALF_M
    aside = np.array([ahead[2], 0.0, -ahead[0]])  # to the left
    ring = top + np.stack([ahead + aside, ahead - aside, -ahead - aside, -ahead + aside])
    height = top[1] - ground_y
    down = np.array([0.0, height, 0.0])
    for k in range(4):
        near, far = ring[k], ring[(k + 1) % 4]
        mesh.add_quad(np.stack([near - down, near, far, far - down]), PILLAR)


def add_arch(mesh: Mesh, gate: Gate, paint: Paint) -> None:
    """Add the arch of a gate: two posts and a beam, drawn but not solid."""
    left, up = gate.rotation[:, 0], gate.rotation[:, 1]
    surface = Surface(Material.CONCRETE, paint, solid=False)
    inner, outer = gate.half_width, gate.half_width + ARCH_POST_M
    top = ARCH_CLEARANCE_M + ARCH_BEAM_M
    for right_m, left_m, low, high in (
        (inner, outer, 0.0, top),
        (-outer, -inner, 0.0, top),
        (-inner, inner, ARCH_CLEARANCE_M, top),
    ):
        corners = [(left_m, low), (right_m, low), (right_m, high), (left_m, high)]
        mesh.add_quad(np.stack([gate.centre + u * left + v * up for u, v in corners]), surface)
