"""What is beside and below the surface of a road: shoulders, walls, tunnels, embankments, the slab, its end faces.

Going once round the cross-section (right edge, road, left edge, left side down, underside, right side up) every strip
runs from its right rail to its left rail, seen from outside; so all triangles face outwards. Neighbouring strips share
their vertices.

Shape letters: K rows of vertices along the road.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tmrl_ray.simulator.mesh import Mesh, Surface
from tmrl_ray.simulator.ribbon import Ribbon
from tmrl_ray.simulator.track import Floats, Indices, Material, Paint

WALL_THICKNESS_M = 0.4
SLAB_M = 0.6
"""Thickness of a road high above the ground."""
EMBANKMENT_M = 4.0
"""Up to this height above the ground a road stands on an embankment, above it on pillars."""
EMBANKMENT_SLOPE = 2.0
"""Metres outwards for a metre down: a car can drive up it again."""
EMBANKMENT_RUN_M = 3.0
"""Farthest that an embankment reaches beside the road."""
UNDERGROUND_M = 0.1
"""How far embankments go on below the ground, so that no slit opens between the two."""
TUNNEL_HEIGHT_M = 6.0
TUNNEL_ROOF_M = 0.5
SAME_PLACE_M = 1e-3

WALL = Surface(Material.CONCRETE, Paint.WALL)
TUNNEL = Surface(Material.CONCRETE, Paint.TUNNEL)
SLAB = Surface(Material.CONCRETE, Paint.SUPPORT)
BANK = Surface(Material.GRASS, Paint.BARE)

UP = np.array([0.0, 1.0, 0.0])
LEVEL = np.array([1.0, 0.0, 1.0])

Across = float | Floats
"""A texture coordinate across the road: one for a whole rail, or (K,)."""


class Rows(NamedTuple):
    """The rows of a ribbon: K samples of it that carry vertices across the road."""

    sample: Indices
    """(K,) which sample of the ribbon."""
    lanes: Indices
    """(K,) into how many parts the row is divided: 2, 4 or 8."""
    left_edge: Indices
    """(K,) vertex at the left edge of the road; the row's other vertices follow it."""
    right_edge: Indices
    """(K,) vertex at the right edge."""


class Rail(NamedTuple):
    """A line of vertices along the road."""

    vertices: Indices
    """(K,) vertices of the mesh."""
    points: Floats
    """(K, 3) where they are."""


Outline = dict[int, list[Rail]]
"""For the left (1) and the right side (-1) the rails from the edge of the road outwards and down to its foot."""


def add_sides(mesh: Mesh, ribbon: Ribbon, rows: Rows, ground_y: float) -> None:
    """Add everything but the surface of a road to a mesh.

    Args:
        mesh: has the surface already.
        ribbon: the road.
        rows: where its vertices are.
        ground_y: height of the ground, metres.
    """
    outlines = []
    for first, last in _sections(ribbon, rows):
        section = _Section(mesh, ribbon, rows, slice(first, last + 1), ground_y)
        outlines.append(section.build())
        if len(outlines) > 1:
            _close_joint(mesh, outlines[-2], outlines[-1])
    if ribbon.start_face:
        _add_end_face(mesh, rows, outlines[0], 0)
    if ribbon.end_face:
        _add_end_face(mesh, rows, outlines[-1], -1)


def _sections(ribbon: Ribbon, rows: Rows) -> list[tuple[int, int]]:
    """Return the ranges of rows (first, last) over which the sides of the road are of one kind."""
    kinds = np.stack(
        [
            ribbon.wall_left_m,
            ribbon.wall_right_m,
            ribbon.shoulder_m > 0,
            ribbon.shoulder_material,
            ribbon.tunnel,
        ],
        axis=1,
    )[rows.sample[:-1]]
    cuts = np.flatnonzero((kinds[1:] != kinds[:-1]).any(axis=1)) + 1
    bounds = [0, *cuts.tolist(), len(rows.sample) - 1]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _close_joint(mesh: Mesh, before: Outline, after: Outline) -> None:
    """Close the side of a road where it gets wider or narrower at once, as where a wall begins."""
    for side in (1, -1):
        (top, foot), (next_top, next_foot) = before[side][-2:], after[side][-2:]
        corners = np.stack([top.points[-1], foot.points[-1], next_foot.points[0], next_top.points[0]])
        outward = side * np.cross(UP, top.points[-1] - top.points[-2])
        step = float((next_top.points[0] - top.points[-1]) @ outward)
        if np.abs(corners[[0, 1]] - corners[[3, 2]]).max() > SAME_PLACE_M:
            mesh.add_quad(corners if (step > 0) == (side > 0) else corners[::-1], SLAB)


def _add_end_face(mesh: Mesh, rows: Rows, outline: Outline, row: int) -> None:
    """Close the cross-section of a road that ends in the open: a fan from its left foot."""
    left = [(rail.vertices[row], rail.points[row]) for rail in outline[1]]
    right = [(rail.vertices[row], rail.points[row]) for rail in outline[-1]]
    between = np.arange(rows.left_edge[row] + 1, rows.right_edge[row])
    share = np.arange(1, len(between) + 1)[:, None] / (len(between) + 1)
    inner = list(zip(between, left[0][1] + share * (right[0][1] - left[0][1]), strict=True))
    ring = [*left[::-1], *inner, *right]
    index = np.array([i for i, _ in ring])
    points = np.stack([p for _, p in ring])
    across = points[0] - points[-1]
    uv = np.stack([points @ across / np.sqrt(across @ across), points[:, 1]], axis=1)
    spokes = np.arange(1, len(ring) - 1)
    fan = np.stack([np.zeros_like(spokes), spokes, spokes + 1], axis=1)
    fan = fan if row == -1 else fan[:, ::-1]
    mesh.add_triangles(index[fan], uv[fan], SLAB)


class _Section:
    """The sides and the underside of the road between two rows. ``side`` is 1 on the left and -1 on the right."""

    def __init__(self, mesh: Mesh, ribbon: Ribbon, rows: Rows, part: slice, ground_y: float) -> None:
        self.mesh = mesh
        self.ribbon = ribbon
        self.at = rows.sample[part]
        self.edges = {1: rows.left_edge[part], -1: rows.right_edge[part]}
        self.up = ribbon.up[self.at]
        self.left = ribbon.left[self.at]
        self.distance = ribbon.distance[self.at]
        self.ground_y = ground_y

    def build(self) -> Outline:
        """Add the strips of both sides and the underside; return where the sides are."""
        first = self.at[0]
        walls = {1: float(self.ribbon.wall_left_m[first]), -1: float(self.ribbon.wall_right_m[first])}
        is_tunnel = bool(self.ribbon.tunnel[first])
        outline: Outline = {}
        brim: dict[int, Rail] = {}
        for side in (1, -1):
            rails = [self._edge(side)]
            if self.ribbon.shoulder_m[first] > 0:
                rails.append(self._shoulder(side, rails[-1]))
            brim[side] = rails[-1]
            if is_tunnel:
                rails.append(self._tunnel_side(side, rails[-1]))
            elif walls[side] > 0:
                rails.append(self._wall(side, rails[-1], walls[side]))
            rails.append(self._flank(side, rails[-1]))
            outline[side] = rails
        if is_tunnel:
            self._ceiling(brim)
        self._underside(outline[1][-1], outline[-1][-1])
        return outline

    def _edge(self, side: int) -> Rail:
        reach = self.ribbon.left_m[self.at] if side > 0 else -self.ribbon.right_m[self.at]
        return Rail(self.edges[side], self.ribbon.points[self.at] + reach[:, None] * self.left)

    def _rail(self, points: Floats) -> Rail:
        return Rail(self.mesh.add_vertices(points), points)

    def _uv(self, u: Across) -> Floats:
        return np.stack([np.broadcast_to(u, self.distance.shape), self.distance], axis=1)

    def _strip(
        self,
        side: int,
        inner: Rail,
        outer: Rail,
        u: tuple[Across, Across],
        surface: Surface,
        part: slice = slice(None),
    ) -> None:
        """Add a strip, or the rows ``part`` of it, from the rail nearer to the road to the next one outwards."""
        rails = [(inner.vertices[part], self._uv(u[0])[part]), (outer.vertices[part], self._uv(u[1])[part])]
        (right, uv_right), (left, uv_left) = rails if side > 0 else rails[::-1]
        self.mesh.add_strip(right, left, uv_right, uv_left, surface)

    def _caps(self, side: int, ring: list[Floats], surface: Surface) -> None:
        """Close both ends of a wall, whose cross-section is four rails, from the road's side round its foot."""
        for row, forwards in ((0, False), (-1, True)):
            corners = np.stack([points[row] for points in ring])
            self.mesh.add_quad(corners if (side > 0) == forwards else corners[::-1], surface)

    def _shoulder(self, side: int, edge: Rail) -> Rail:
        width, rise = self.ribbon.shoulder_m[self.at], self.ribbon.shoulder_rise_m[self.at]
        outer = self._rail(edge.points + side * width[:, None] * self.left + rise[:, None] * self.up)
        material = Material(int(self.ribbon.shoulder_material[self.at[0]]))
        reach = (self.ribbon.left_m if side > 0 else self.ribbon.right_m)[self.at]
        self._strip(side, edge, outer, (side * reach, side * (reach + width)), Surface(material, Paint.BARE))
        return outer

    def _wall(self, side: int, foot: Rail, height: float) -> Rail:
        outward = side * WALL_THICKNESS_M * self.left
        inner_top = self._rail(foot.points + height * self.up)
        outer_top = self._rail(inner_top.points + outward)
        base = self._rail(foot.points + outward)
        self._strip(side, foot, inner_top, (0.0, height), WALL)
        self._strip(side, inner_top, outer_top, (height, height + WALL_THICKNESS_M), WALL)
        self._strip(side, outer_top, base, (height, 0.0), WALL)
        self._caps(side, [foot.points, base.points, outer_top.points, inner_top.points], WALL)
        return base

    def _tunnel_side(self, side: int, foot: Rail) -> Rail:
        outward = side * TUNNEL_ROOF_M * self.left
        inner_top = self._rail(foot.points + TUNNEL_HEIGHT_M * self.up)
        outer_top = self._rail(inner_top.points + outward + TUNNEL_ROOF_M * self.up)
        base = self._rail(foot.points + outward)
        self._strip(side, foot, inner_top, (0.0, TUNNEL_HEIGHT_M), TUNNEL)
        self._strip(side, outer_top, base, (TUNNEL_HEIGHT_M, 0.0), TUNNEL)
        self._caps(side, [foot.points, base.points, outer_top.points, inner_top.points], TUNNEL)
        return base

    def _ceiling(self, brim: dict[int, Rail]) -> None:
        """Close a tunnel above: the ceiling, the roof, and the front of both."""
        under = {side: rail.points + TUNNEL_HEIGHT_M * self.up for side, rail in brim.items()}
        over = {side: p + TUNNEL_ROOF_M * (side * self.left + self.up) for side, p in under.items()}
        for right, left in ((under[1], under[-1]), (over[-1], over[1])):
            rails = self.mesh.add_vertices(right), self.mesh.add_vertices(left)
            self.mesh.add_strip(*rails, self._uv(0.0), self._uv(TUNNEL_HEIGHT_M), TUNNEL)
        for row, forwards in ((0, False), (-1, True)):
            corners = np.stack([under[1][row], under[-1][row], over[-1][row], over[1][row]])
            self.mesh.add_quad(corners[::-1] if forwards else corners, TUNNEL)

    def _flank(self, side: int, brim: Rail) -> Rail:
        """Add an embankment down to the ground or, high above it, the side of the slab."""
        height = brim.points[:, 1] - self.ground_y
        level = np.clip((self.up[:, 1] - 0.5) / 0.3, 0.0, 1.0)  # 0 where the road stands on its side
        low = level * np.clip((EMBANKMENT_M + 2.0 - height) / 2.0, 0.0, 1.0)  # 1: embankment, 0: slab
        run = level * np.clip((EMBANKMENT_M - height) / 2.0, 0.0, 1.0)
        run *= np.minimum(EMBANKMENT_SLOPE * np.maximum(height, 0.0), EMBANKMENT_RUN_M)
        down = low * (np.maximum(height, 0.0) + UNDERGROUND_M)
        foot = brim.points - down[:, None] * UP + (side * run)[:, None] * self.left * LEVEL
        foot -= ((1.0 - low) * SLAB_M)[:, None] * self.up
        rail = self._rail(foot)
        is_bank = np.maximum(run[1:], run[:-1]) > 0
        for cut in np.split(np.arange(len(is_bank)), np.flatnonzero(np.diff(is_bank)) + 1):
            part = slice(cut[0], cut[-1] + 2)
            surface = BANK if is_bank[cut[0]] else SLAB
            self._strip(side, brim, rail, (0.0, height), surface, part)
        return rail

    def _underside(self, left: Rail, right: Rail) -> None:
        lifted = np.minimum(left.points[:, 1], right.points[:, 1]) > self.ground_y
        (runs,) = np.nonzero(lifted[1:] | lifted[:-1])
        if len(runs):
            part = slice(runs[0], runs[-1] + 2)
            uv = self._uv(0.0)[part]
            self.mesh.add_strip(left.vertices[part], right.vertices[part], uv, uv + np.array([8.0, 0.0]), SLAB)
