"""Checks on a finished track: everything that would make it undrivable, all found faults at once.

Rays are cast on the track's own triangles, so these checks see what a car would.

Shape letters: R rays, P pairs of a ray and a triangle that it might meet.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.mesh import MIN_AREA_M2
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.track import ContactArrays, Floats, Track
from tmrl_ray.simulator.track_builder import Layout

CLEARANCE_M = 4.0
"""Free height over the road: the near chase camera is 3 m up."""
SURFACE_M = 0.15
"""How far the triangles may be from the line: the chord of a row over a crest."""
STEP_M = 0.02
"""A second surface farther from the first than this, and nearer than ``LEDGE_M``, is a step that wheels catch on."""
LEDGE_M = 0.3
CLEARANCE_EVERY = 4
"""Samples from one check of the free height to the next: 2 m."""
ACROSS = {-0.8: "near its right edge", 0.0: "in its middle", 0.8: "near its left edge"}
"""Where across the road rays are cast, in half widths from the centre line."""
SPAWN_FREE_M = 4.0
"""Road that must be under a spawn or a respawn, ahead and behind."""
MAX_SHOWN = 20


def validate(track: Track, layout: Layout) -> None:
    """Check a track against the layout that it was built from.

    Raises:
        TrackError: naming every fault that was found.
    """
    faults = list(_number_faults(track))
    if not faults:
        faults = [*_fold_faults(layout), *_gate_faults(layout), *_line_faults(track, layout)]
        faults += [*_road_faults(track, layout.roads), *_spawn_faults(track)]
    if faults:
        shown = faults[:MAX_SHOWN]
        if len(faults) > MAX_SHOWN:
            shown.append(f"and {len(faults) - MAX_SHOWN} more")
        raise TrackError(f"track {track.name!r} cannot be driven:\n" + "\n".join(f"  {fault}" for fault in shown))


def _number_faults(track: Track) -> Iterator[str]:
    for what, values in (("vertices", track.vertices), ("line", track.line), ("line_up", track.line_up)):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            yield f"{what}: {len(bad)} rows are not finite, the first is {bad[0]}"
            return
    corners = track.vertices[track.triangles]
    spanned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    thin = np.flatnonzero((spanned**2).sum(axis=1) <= MIN_AREA_M2**2)
    if len(thin):
        yield f"triangles: {len(thin)} have no area, the first is {thin[0]}"


def _fold_faults(layout: Layout) -> Iterator[str]:
    """Find bends so tight that the inner edge of the road runs backwards."""
    for road in layout.roads:
        for side, reach in (("left", road.left_m + road.shoulder_m), ("right", -road.right_m - road.shoulder_m)):
            edge = road.points + reach[:, None] * road.left
            ahead = (np.diff(edge, axis=0) * road.forward[:-1]).sum(axis=1)
            for first, last in _runs(ahead < 0.05 * SPACING_M):
                yield (
                    f"road folds over itself on its {side} side from {_at(road, first)} to {_at(road, last)}: "
                    "the bend is tighter than the road is wide"
                )


def _at(road: Ribbon, sample: int) -> str:
    return f"{road.distance[sample]:.1f} m"


def _gate_faults(layout: Layout) -> Iterator[str]:
    places = [layout.spawn, *layout.checkpoints, layout.finish]
    names = ["the spawn", *(f"checkpoint {k}" for k in range(len(layout.checkpoints))), "the finish"]
    for k in range(1, len(places)):
        if places[k] <= places[k - 1]:
            yield f"{names[k]} is not after {names[k - 1]}"
    if places[-1] >= len(layout.points) and not layout.closed:
        yield "the finish is beyond the end of the line"
    for name, place in zip(names, places, strict=True):
        for first, last in layout.gaps:
            if first - SPAWN_FREE_M / SPACING_M < place < last + SPAWN_FREE_M / SPACING_M:
                yield f"{name} is in the gap at {_metres(layout, first)}, or too near to it"


def _metres(layout: Layout, sample: int) -> str:
    return f"{(sample - layout.spawn) * SPACING_M:.1f} m"


def _line_faults(track: Track, layout: Layout) -> Iterator[str]:
    """Find places where the line has no road under it other than the gaps that were asked for."""
    in_air = np.zeros(len(layout.points), dtype=np.bool_)
    for first, last in layout.gaps:
        in_air[first + 1 : last] = True
    samples = np.flatnonzero(~in_air)[1:-1]
    top, _ = _surfaces(track, layout.points[samples], layout.up[samples])
    for first, last in _runs(np.isnan(top)):
        yield f"no road under the line from {_metres(layout, samples[first])} to {_metres(layout, samples[last])}"


def _road_faults(track: Track, roads: list[Ribbon]) -> Iterator[str]:
    """Find holes, surfaces that face down, steps, and what hangs too low over a road."""
    for across, where in ACROSS.items():
        places = np.concatenate([_beside(road, across)[1:-1] for road in roads])
        up = np.concatenate([road.up[1:-1] for road in roads])
        distance = np.concatenate([road.distance[1:-1] for road in roads])
        top, lowest = _surfaces(track, places, up)
        stepped = ~np.isnan(top) & (lowest - top > STEP_M)
        some = slice(None, None, CLEARANCE_EVERY)
        ray, _, _ = cast(track.contacts, places[some] + LEDGE_M * up[some], up[some], CLEARANCE_M - LEDGE_M)
        blocked = np.zeros(len(places), dtype=np.bool_)
        blocked[some][ray] = True
        for bad, fault in (
            (np.isnan(top), "the road has a hole"),
            (stepped, "two roads lie on top of each other"),
            (blocked, f"less than {CLEARANCE_M:.0f} m of free height"),
        ):
            for first, last in _runs(bad, CLEARANCE_EVERY):
                yield f"{fault} {where}, from {distance[first]:.1f} m to {distance[last]:.1f} m"


def _beside(road: Ribbon, across: float) -> Floats:
    reach = across * (road.left_m if across > 0 else road.right_m)
    places: Floats = road.points + reach[:, None] * road.left
    return places


def _surfaces(track: Track, places: Floats, up: Floats) -> tuple[Floats, Floats]:
    """Return how far below a point over each place the highest and the lowest driven surface are; NaN: none is near."""
    ray, along, facing = cast(track.contacts, places + SURFACE_M * up, -up, 2 * SURFACE_M)
    driven = facing < -0.5
    top, lowest = np.full(len(places), np.inf), np.full(len(places), -np.inf)
    np.minimum.at(top, ray[driven], along[driven])
    np.maximum.at(lowest, ray[driven], along[driven])
    return np.where(np.isfinite(top), top, np.nan), lowest


def _runs(bad: NDArray[np.bool_], join: int = 1) -> Iterator[tuple[int, int]]:
    """Return the first and last index of each run of true values; ``join`` or fewer steps apart is one run."""
    found = np.flatnonzero(bad)
    if len(found):
        for run in np.split(found, np.flatnonzero(np.diff(found) > join) + 1):
            yield int(run[0]), int(run[-1])


def _spawn_faults(track: Track) -> Iterator[str]:
    """Find spawns and respawns that are not on solid road, and a spawn that does not face along the line."""
    poses = [("the spawn", track.spawn)]
    poses += [(f"the respawn after gate {k}", gate.respawn) for k, gate in enumerate(track.gates)]
    for name, pose in poses:
        places = pose.position + np.array([[-SPAWN_FREE_M], [0.0], [SPAWN_FREE_M]]) * pose.rotation[:, 2]
        down = np.broadcast_to(-pose.rotation[:, 1], places.shape)
        ray, _, facing = cast(track.contacts, places - 0.5 * down, down, 1.0)
        if len(np.unique(ray[facing < -0.5])) < len(places):
            yield f"{name} is not on solid road"
    ahead = track.line[4] - track.line[0]
    if pose_angle_cos(track.spawn.rotation[:, 2], ahead) < 0.95:
        yield "the spawn does not face along the line"


def pose_angle_cos(forward: Floats, ahead: Floats) -> float:
    """Return the cosine of the angle between a unit vector and another vector (3,)."""
    return float(forward @ ahead / np.sqrt((ahead**2).sum()))


def cast(
    contacts: ContactArrays, origins: Floats, directions: Floats, reach: float
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Find everything that rays meet, both sides of triangles counted.

    Args:
        contacts: what they may meet.
        origins: (R, 3) where they begin.
        directions: (R, 3) unit vectors.
        reach: their length, metres.

    Returns:
        (H,) which ray, (H,) how far along it, (H,) cosine between the triangle's normal and the ray.
    """
    pieces = max(int(np.ceil(reach)), 1)  # of at most 1 m: the cell of its middle knows all triangles that it meets
    hits = [_cast_piece(contacts, origins, directions, k * reach / pieces, reach / pieces) for k in range(pieces)]
    ray, along, facing = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    return ray, along, facing


def _cast_piece(
    contacts: ContactArrays, origins: Floats, directions: Floats, start: float, reach: float
) -> tuple[NDArray[np.intp], Floats, Floats]:
    middle = origins + (start + reach / 2) * directions
    cell_xz = np.floor((middle[:, [0, 2]] - contacts.origin[:2]) / contacts.origin[2]).astype(np.int64)
    inside = ((cell_xz >= 0) & (cell_xz < contacts.size)).all(axis=1)
    cell = np.where(inside, cell_xz[:, 0] * contacts.size[1] + cell_xz[:, 1], 0)
    first = contacts.cell_start[cell].astype(np.int64)
    counts = np.where(inside, contacts.cell_start[cell + 1] - first, 0)
    ray = np.repeat(np.arange(len(origins)), counts)
    within = np.arange(len(ray)) - np.repeat(np.cumsum(counts) - counts, counts)
    triangle = contacts.cell_triangles[first[ray] + within]

    normal, direction, origin = contacts.normals[triangle], directions[ray], origins[ray]
    facing = (normal * direction).sum(axis=1)
    offset = (normal * (contacts.corners[triangle, 0] - origin)).sum(axis=1)
    along = offset / np.where(np.abs(facing) > 1e-9, facing, np.inf)
    met = (np.abs(facing) > 1e-9) & (along >= start) & (along <= start + reach)
    ray, along, facing, triangle = ray[met], along[met], facing[met], triangle[met]
    point = origins[ray] + along[:, None] * directions[ray]
    corners, normal = contacts.corners[triangle], contacts.normals[triangle]
    for k in range(3):
        edge = corners[:, (k + 1) % 3] - corners[:, k]
        turn = (np.cross(edge, point - corners[:, k]) * normal).sum(axis=1)
        keep = turn >= -1e-4 * np.sqrt((edge**2).sum(axis=1))  # 0.1 mm outside of an edge is still on it
        ray, along, facing, point = ray[keep], along[keep], facing[keep], point[keep]
        corners, normal = corners[keep], normal[keep]
    return ray, along, facing
