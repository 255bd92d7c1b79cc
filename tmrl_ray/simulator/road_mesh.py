"""Triangles of a ribbon: the road in rows that are dense where it bends, and beside it shoulders, walls and tunnels.

Going once round the cross-section (right edge, road, left edge, left side down, underside, right side up) every strip
runs from its right rail to its left rail, seen from outside; so all triangles face outwards. Neighbouring strips share
their vertices.

Shape letters: N samples of the ribbon, K rows of vertices.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.mesh import Mesh, Surface
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.track import Floats, Indices, Material, Paint

LONGEST_STEP_M = 8.0
TURN_PER_STEP_RAD = 0.09
"""In a flat bend of radius 40 m: rows 3.6 m apart, 4 cm between chord and arc at the edges."""
KINK_PER_STEP_RAD = 0.012
"""Change of slope from row to row: at 60 m/s it moves a wheel by 0.7 m/s, which the suspension absorbs."""
TWIST_PER_STEP_RAD = 0.012
LANE_KINK = 0.02
"""Difference of the slopes at the two edges of a lane: where the road twists, lanes are narrower."""
NARROWEST_TURN_STEP_M = 1.0

WALL_THICKNESS_M = 0.4
SLAB_M = 0.6
"""Thickness of a road high above the ground."""
EMBANKMENT_M = 4.0
"""Up to this height above the ground a road stands on an embankment, above it on pillars."""
TUNNEL_HEIGHT_M = 6.0
TUNNEL_ROOF_M = 0.5

ROAD_MATERIALS = {Material.ASPHALT: Paint.ROAD, Material.TURBO: Paint.TURBO_PAD, Material.TURBO2: Paint.TURBO_PAD}
"""Materials with a paint of their own; the others are bare."""

Across = float | Floats
"""A texture coordinate across the road: one for a whole rail, or (K,)."""

WALL = Surface(Material.CONCRETE, Paint.WALL)
TUNNEL = Surface(Material.CONCRETE, Paint.TUNNEL)
SLAB = Surface(Material.CONCRETE, Paint.SUPPORT)
BANK = Surface(Material.GRASS, Paint.BARE)


def paint_of(material: int) -> Paint:
    """Return what a road of this material looks like."""
    return ROAD_MATERIALS.get(Material(material), Paint.BARE)


class Rows(NamedTuple):
    """The rows of a ribbon: K samples of it that carry vertices across the road."""

    sample: Indices
    """(K,) which sample of the ribbon."""
    lanes: Indices
    """(K,) into how many parts the row is divided: 2, 4 or 8."""
    left_edge: Indices
    """(K,) vertex at the left edge of the road."""
    right_edge: Indices
    """(K,) vertex at the right edge."""


def add_road(mesh: Mesh, ribbon: Ribbon, ground_y: float) -> None:
    """Add everything of a ribbon to a mesh: surface, shoulders, walls, tunnel, sides, underside and end faces."""
    rows = _add_surface(mesh, ribbon)
    for first, last in _sections(ribbon, rows):
        section = _Section(mesh, ribbon, rows, slice(first, last + 1), ground_y)
        section.build()


def _add_surface(mesh: Mesh, ribbon: Ribbon) -> Rows:
    sample = _row_samples(ribbon)
    lanes = _lanes(ribbon, sample)
    start = np.concatenate([[0], np.cumsum(lanes + 1)])
    row = np.repeat(np.arange(len(sample)), lanes + 1)
    fraction = (np.arange(start[-1]) - start[row]) / lanes[row]
    at = sample[row]
    lateral = ribbon.left_m[at] - (ribbon.left_m[at] + ribbon.right_m[at]) * fraction
    index = mesh.add_vertices(ribbon.points[at] + lateral[:, None] * ribbon.left[at])
    middle = (ribbon.left_m - ribbon.right_m)[at] / 2
    uv = np.stack([lateral - middle, ribbon.distance[at]], axis=1)

    kinds = np.stack([lanes[:-1], lanes[1:], ribbon.material[sample[:-1]]], axis=1)
    for here, there, material in np.unique(kinds, axis=0):
        stretches = np.flatnonzero((kinds == (here, there, material)).all(axis=1))
        which, along = _row_pattern(int(here), int(there))
        first, second = start[stretches, None, None], start[stretches + 1, None, None]
        corners = (np.where(which == 0, first, second) + along).reshape(-1, 3)
        surface = Surface(Material(int(material)), paint_of(int(material)))
        mesh.add_triangles(index[corners], uv[corners], surface)
    return Rows(sample, lanes, index[start[:-1]], index[start[1:] - 1])


def _row_samples(ribbon: Ribbon) -> Indices:
    """Choose the samples that get a row: both ends, every change of a stretch's properties, more where it bends."""
    step = _wanted_step(ribbon)
    edges = np.flatnonzero(_changes(ribbon)) + 1
    bounds = np.unique(np.concatenate([[0], edges, [len(ribbon) - 1]]))
    rows_before = np.concatenate([[0.0], np.cumsum(SPACING_M / step[:-1])])
    chosen = [bounds]
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        need = rows_before[last] - rows_before[first]
        count = int(np.ceil(need - 1e-9))
        targets = rows_before[first] + need * np.arange(1, count) / count
        chosen.append(np.searchsorted(rows_before, targets - 1e-9))
    return np.unique(np.concatenate(chosen))


def _wanted_step(ribbon: Ribbon) -> Floats:
    """Return how far apart rows may be at each sample, metres."""
    turn = np.gradient(ribbon.forward, SPACING_M, axis=0)
    bend = np.sqrt((turn**2).sum(axis=1) - (turn * ribbon.up).sum(axis=1) ** 2 + 1e-18)
    kink = np.abs((turn * ribbon.up).sum(axis=1))
    widening = np.abs(np.gradient(ribbon.left_m, SPACING_M)) + np.abs(np.gradient(ribbon.right_m, SPACING_M))
    step = np.full(len(ribbon), LONGEST_STEP_M)
    step = np.minimum(step, np.maximum(TURN_PER_STEP_RAD / np.maximum(bend, 1e-9), NARROWEST_TURN_STEP_M))
    step = np.minimum(step, KINK_PER_STEP_RAD / np.maximum(kink, 1e-9))
    step = np.minimum(step, TWIST_PER_STEP_RAD / np.maximum(_twist(ribbon), 1e-9))
    step = np.minimum(step, np.where(widening > 1e-3, LONGEST_STEP_M / 2, LONGEST_STEP_M))
    return np.maximum(step, SPACING_M)


def _twist(ribbon: Ribbon) -> Floats:
    """Return the rate at which the surface turns about its own tangent, rad/m (N,)."""
    turn = np.gradient(ribbon.left, SPACING_M, axis=0)
    return np.abs((turn * ribbon.up).sum(axis=1))


def _changes(ribbon: Ribbon) -> NDArray[np.bool_]:
    """Tell for each pair of neighbouring samples whether their stretches differ in kind (N - 1,)."""
    kinds = np.stack(
        [
            ribbon.material,
            ribbon.wall_left_m,
            ribbon.wall_right_m,
            ribbon.shoulder_m > 0,
            ribbon.shoulder_material,
            ribbon.tunnel,
        ],
        axis=1,
    )
    changes: NDArray[np.bool_] = (kinds[1:-1] != kinds[:-2]).any(axis=1)
    return changes


def _lanes(ribbon: Ribbon, sample: Indices) -> Indices:
    twist = _twist(ribbon)
    worst = np.maximum.reduceat(twist, sample)  # between a row and the next
    worst[1:] = np.maximum(worst[1:], worst[:-1].copy())
    wanted = (ribbon.left_m + ribbon.right_m)[sample] * worst / LANE_KINK
    lanes: Indices = np.select([wanted <= 2, wanted <= 4], [2, 4], 8)
    return lanes


@cache
def _row_pattern(here: int, there: int) -> tuple[Indices, Indices]:
    """Return the triangles between a row of ``here`` lanes and the next one of ``there`` lanes.

    Of each corner: which row it is in (0 or 1), and which vertex of that row, counted from the left. The diagonals are
    mirrored about the middle of the road, so that a mirrored track has mirrored triangles.
    """
    which: list[tuple[int, int, int]] = []
    along: list[tuple[int, int, int]] = []
    i = j = 0
    while i < here or j < there:
        next_here, next_there = (i + 1) * there, (j + 1) * here  # as fractions of the width, times here * there
        tie_goes_here = 2 * i < here
        if next_here < next_there or (next_here == next_there and tie_goes_here):
            which.append((0, 1, 0))
            along.append((i + 1, j, i))
            i += 1
        else:
            which.append((0, 1, 1))
            along.append((i, j + 1, j))
            j += 1
    return np.array(which), np.array(along)


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


class _Section:
    """The sides and the underside of the road between two rows. ``side`` is +1 on the left and -1 on the right."""

    def __init__(self, mesh: Mesh, ribbon: Ribbon, rows: Rows, part: slice, ground_y: float) -> None:
        self.mesh = mesh
        self.ribbon = ribbon
        self.at = rows.sample[part]
        self.edges = {1: rows.left_edge[part], -1: rows.right_edge[part]}
        self.up = ribbon.up[self.at]
        self.left = ribbon.left[self.at]
        self.distance = ribbon.distance[self.at]
        self.ground_y = ground_y
        self.is_start = part.start == 0 and ribbon.start_face
        self.is_end = part.stop == len(rows.sample) and ribbon.end_face

    def build(self) -> None:
        """Add the strips of both sides, the underside and the end faces."""
        first = self.at[0]
        walls = {1: float(self.ribbon.wall_left_m[first]), -1: float(self.ribbon.wall_right_m[first])}
        feet: dict[int, tuple[Indices, Floats]] = {}
        brim: dict[int, Floats] = {}
        for side in (1, -1):
            rail, points = self.edges[side], self._edge_points(side)
            if self.ribbon.shoulder_m[first] > 0:
                rail, points = self._shoulder(side, rail, points)
            brim[side] = points
            if self.ribbon.tunnel[first]:
                rail, points = self._tunnel_side(side, rail, points)
            elif walls[side] > 0:
                rail, points = self._wall(side, rail, points, walls[side])
            feet[side] = self._flank(side, rail, points)
        if self.ribbon.tunnel[first]:
            self._ceiling(brim)
        self._underside(feet)
        for row, is_open in ((0, self.is_start), (-1, self.is_end)):
            if is_open:
                self._end_face(row, brim, feet)

    def _edge_points(self, side: int) -> Floats:
        reach = self.ribbon.left_m[self.at] if side > 0 else -self.ribbon.right_m[self.at]
        return self.ribbon.points[self.at] + reach[:, None] * self.left

    def _uv(self, u: float | Floats) -> Floats:
        return np.stack([np.broadcast_to(u, self.distance.shape), self.distance], axis=1)

    def _strip(
        self, side: int, inner: Indices, outer: Indices, u: tuple[float | Floats, float | Floats], surface: Surface
    ) -> None:
        """Add a strip from the rail nearer to the road to the next one outwards."""
        if side > 0:
            self.mesh.add_strip(inner, outer, self._uv(u[0]), self._uv(u[1]), surface)
        else:
            self.mesh.add_strip(outer, inner, self._uv(u[1]), self._uv(u[0]), surface)

    def _shoulder(self, side: int, rail: Indices, points: Floats) -> tuple[Indices, Floats]:
        width, rise = self.ribbon.shoulder_m[self.at], self.ribbon.shoulder_rise_m[self.at]
        outer_points = points + side * width[:, None] * self.left + rise[:, None] * self.up
        outer = self.mesh.add_vertices(outer_points)
        material = Material(int(self.ribbon.shoulder_material[self.at[0]]))
        reach = (self.ribbon.left_m if side > 0 else self.ribbon.right_m)[self.at]
        self._strip(side, rail, outer, (side * reach, side * (reach + width)), Surface(material, Paint.BARE))
        return outer, outer_points

    def _wall(self, side: int, rail: Indices, points: Floats, height: float) -> tuple[Indices, Floats]:
        outward = side * WALL_THICKNESS_M * self.left
        top = points + height * self.up
        inner_top, outer_top = self.mesh.add_vertices(top), self.mesh.add_vertices(top + outward)
        base_points = points + outward
        base = self.mesh.add_vertices(base_points)
        self._strip(side, rail, inner_top, (0.0, height), WALL)
        self._strip(side, inner_top, outer_top, (height, height + WALL_THICKNESS_M), WALL)
        self._strip(side, outer_top, base, (height, 0.0), WALL)
        for row, forwards in ((0, False), (-1, True)):
            corners = np.stack([points[row], base_points[row], top[row] + outward[row], top[row]])
            self.mesh.add_quad(corners if (side > 0) == forwards else corners[::-1], WALL)
        return base, base_points

    def _tunnel_side(self, side: int, rail: Indices, points: Floats) -> tuple[Indices, Floats]:
        outward = side * TUNNEL_ROOF_M * self.left
        top = points + TUNNEL_HEIGHT_M * self.up
        roof = points + outward + (TUNNEL_HEIGHT_M + TUNNEL_ROOF_M) * self.up
        inner_top, outer_top = self.mesh.add_vertices(top), self.mesh.add_vertices(roof)
        base_points = points + outward
        base = self.mesh.add_vertices(base_points)
        self._strip(side, rail, inner_top, (0.0, TUNNEL_HEIGHT_M), TUNNEL)
        self._strip(side, outer_top, base, (TUNNEL_HEIGHT_M, 0.0), TUNNEL)
        for row, forwards in ((0, False), (-1, True)):
            corners = np.stack([points[row], base_points[row], roof[row], top[row]])
            self.mesh.add_quad(corners if (side > 0) == forwards else corners[::-1], TUNNEL)
        return base, base_points

    def _ceiling(self, brim: dict[int, Floats]) -> None:
        """Close a tunnel: the ceiling, the roof, and the front of both."""
        under = {side: points + TUNNEL_HEIGHT_M * self.up for side, points in brim.items()}
        over = {
            side: points + side * TUNNEL_ROOF_M * self.left + (TUNNEL_HEIGHT_M + TUNNEL_ROOF_M) * self.up
            for side, points in brim.items()
        }
        for right, left in ((under[1], under[-1]), (over[-1], over[1])):
            rails = self.mesh.add_vertices(right), self.mesh.add_vertices(left)
            self.mesh.add_strip(*rails, self._uv(0.0), self._uv(TUNNEL_HEIGHT_M), TUNNEL)
        for row, forwards in ((0, False), (-1, True)):
            corners = np.stack([under[1][row], under[-1][row], over[-1][row], over[1][row]])
            self.mesh.add_quad(corners[::-1] if forwards else corners, TUNNEL)

    def _flank(self, side: int, rail: Indices, points: Floats) -> tuple[Indices, Floats]:
        """Add an embankment down to the ground or, high above it, the side of the slab."""
        height = points[:, 1] - self.ground_y
        level = np.clip((self.up[:, 1] - 0.5) / 0.3, 0.0, 1.0)  # none where the road stands on its side
        low = level * np.clip((EMBANKMENT_M + 2.0 - height) / 2.0, 0.0, 1.0)  # 1: embankment, 0: slab
        run = 2.0 * np.minimum(height, 1.5) * np.clip((EMBANKMENT_M - height) / 2.0, 0.0, 1.0) * level
        outward = side * self.left * np.array([1.0, 0.0, 1.0])
        foot = points - low[:, None] * (height + 0.1)[:, None] * np.array([0.0, 1.0, 0.0])
        foot += run[:, None] * outward - ((1.0 - low) * SLAB_M)[:, None] * self.up
        index = self.mesh.add_vertices(foot)
        self._strip(side, rail, index, (0.0, height), BANK if run.max() > 0.5 else SLAB)
        return index, foot

    def _underside(self, feet: dict[int, tuple[Indices, Floats]]) -> None:
        lifted = np.minimum(feet[1][1][:, 1], feet[-1][1][:, 1]) > self.ground_y
        (runs,) = np.nonzero(lifted[1:] | lifted[:-1])
        if len(runs):
            part = slice(runs[0], runs[-1] + 2)
            uv = self._uv(0.0)[part]
            self.mesh.add_strip(feet[1][0][part], feet[-1][0][part], uv, uv + np.array([8.0, 0.0]), SLAB)

    def _end_face(self, row: int, brim: dict[int, Floats], feet: dict[int, tuple[Indices, Floats]]) -> None:
        corners = np.stack([feet[1][1][row], feet[-1][1][row], brim[-1][row], brim[1][row]])
        self.mesh.add_quad(corners[::-1] if row == -1 else corners, SLAB)
