"""Triangles of a ribbon: the surface of the road, in rows that are dense where it bends or twists.

``road_sides`` adds what is beside and below the surface, on the same rows and the same vertices.

Shape letters: N samples of the ribbon, K rows of vertices.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.mesh import Mesh, Surface
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.road_sides import Rows, add_sides
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

ROAD_MATERIALS = {Material.ASPHALT: Paint.ROAD, Material.TURBO: Paint.TURBO_PAD, Material.TURBO2: Paint.TURBO_PAD}
"""Materials with a paint of their own; the others are bare."""


def paint_of(material: int) -> Paint:
    """Return what a road of this material looks like."""
    return ROAD_MATERIALS.get(Material(material), Paint.BARE)


def add_road(mesh: Mesh, ribbon: Ribbon, ground_y: float) -> None:
    """Add everything of a ribbon to a mesh: surface, shoulders, walls, tunnel, sides, underside and end faces."""
    rows = _add_surface(mesh, ribbon)
    add_sides(mesh, ribbon, rows, ground_y)


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
    least: Floats = np.maximum(step, SPACING_M)
    return least


def _twist(ribbon: Ribbon) -> Floats:
    """Return the rate at which the surface turns about its own tangent, rad/m (N,)."""
    turn = np.gradient(ribbon.left, SPACING_M, axis=0)
    rate: Floats = np.abs((turn * ribbon.up).sum(axis=1))
    return rate


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
    while i < here // 2 or j < there // 2:
        if (i + 1) * there <= (j + 1) * here:
            which.append((0, 1, 0))
            along.append((i + 1, j, i))
            i += 1
        else:
            which.append((0, 1, 1))
            along.append((i, j + 1, j))
            j += 1
    left_which, left_along = np.array(which), np.array(along)
    right_which = left_which[:, ::-1]
    right_along = np.where(right_which == 0, here, there) - left_along[:, ::-1]
    return np.concatenate([left_which, right_which]), np.concatenate([left_along, right_along])
