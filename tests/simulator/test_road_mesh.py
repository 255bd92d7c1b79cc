"""Roads as triangles: closed, facing outwards, on the surface that the ribbon describes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tmrl_ray.simulator.mesh import QUANTUM_M, Mesh, MeshArrays
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.road_mesh import add_road
from tmrl_ray.simulator.segments import Begin, Ends, expand, follow, ribbon_of, widths
from tmrl_ray.simulator.track import Material, Paint, triangle_normals
from tmrl_ray.simulator.track_file import TrackSpec

FAR_BELOW = -100.0
HILLS = [
    {"straight": 37},
    {"curve": "left", "radius": 41, "angle": 83, "bank": 13},
    {"straight": 29, "climb": 3, "width": 11},
    {"curve": "right", "radius": 31, "angle": 97, "material": "dirt"},
    {"straight": 23, "slope": -7, "material": "turbo"},
]
SHOULDER = {"width": 3, "rise": 0.1, "material": "concrete"}


def _ribbon(segments: list[dict], **road: object) -> Ribbon:
    spec = TrackSpec.model_validate({"name": "test", "road": road, "segments": segments})
    (wanted,) = expand(spec.segments, spec.road).parts
    way = follow(wanted, Begin(np.array([3.0, 5.0, 7.0]), 0.3), spec.easing)
    (width,) = widths(wanted, spec.easing, [])
    return ribbon_of(way, 0, len(wanted), width, distance_m=0.0, ends=Ends())


def _mesh(ribbon: Ribbon, ground_y: float = FAR_BELOW) -> MeshArrays:
    mesh = Mesh()
    add_road(mesh, ribbon, ground_y)
    return mesh.arrays()


def _open_edges(arrays: MeshArrays, which: np.ndarray) -> Counter:
    """Directed edges, by the places of their ends, that no neighbour runs along the other way."""
    places = np.round(arrays.vertices[arrays.triangles[which]] / QUANTUM_M).astype(np.int64)
    edges: Counter = Counter()
    for triangle in places:
        corners = [tuple(corner) for corner in triangle]
        edges.update((corners[k], corners[(k + 1) % 3]) for k in range(3))
    return Counter({edge: n for edge, n in edges.items() if edges[edge[::-1]] != n})


@pytest.mark.parametrize("road", [{}, {"shoulder": SHOULDER}, {"width": 29}], ids=["bare", "kerbs", "wide"])
def test_a_raised_road_is_closed_all_round(road: dict) -> None:
    arrays = _mesh(_ribbon(HILLS, **road))
    assert len(arrays.triangles) > 200
    assert not _open_edges(arrays, np.ones(len(arrays.triangles), bool))


def test_the_surface_is_open_at_its_rim_only() -> None:
    segments = [*HILLS, {"straight": 31, "walls": "both"}, {"straight": 17, "tunnel": True}, {"straight": 13}]
    ribbon = _ribbon(segments)
    arrays = _mesh(ribbon, 4.0)
    road = np.isin(arrays.paints, [Paint.ROAD, Paint.TURBO_PAD]) | (arrays.materials == Material.DIRT)
    rim = np.concatenate(
        [
            ribbon.points + ribbon.left_m[:, None] * ribbon.left,
            ribbon.points - ribbon.right_m[:, None] * ribbon.left,
            *(ribbon.points[[k]] + share * ribbon.left[[k]] * 8 for k in (0, -1) for share in (-0.5, 0.0, 0.5)),
        ]
    )
    for a, b in _open_edges(arrays, road):
        for corner in (np.array(a), np.array(b)):
            assert np.sqrt(((rim - corner * QUANTUM_M) ** 2).sum(axis=1)).min() < 0.01


def test_driven_triangles_face_up_and_lie_on_the_ribbon() -> None:
    ribbon = _ribbon(HILLS)
    arrays = _mesh(ribbon)
    road = arrays.paints != Paint.SUPPORT
    corners = arrays.vertices[arrays.triangles[road]]
    assert (triangle_normals(corners)[:, 1] > 0.9).all()
    middle = corners.mean(axis=1)
    nearest = ((middle[:, None] - ribbon.points[None]) ** 2).sum(axis=2).argmin(axis=1)
    height = ((middle - ribbon.points[nearest]) * ribbon.up[nearest]).sum(axis=1)
    assert np.abs(height).max() < 0.06
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    expected = ((ribbon.left_m + ribbon.right_m)[:-1] * SPACING_M).sum()
    assert np.sqrt((area**2).sum(axis=1)).sum() / 2 == pytest.approx(expected, rel=0.02)


def test_rows_are_dense_where_the_road_bends_and_sparse_where_it_is_straight() -> None:
    straight = _mesh(_ribbon([{"straight": 97}]))
    bend = _mesh(_ribbon([{"curve": "left", "radius": 20, "angle": 270}]))
    crest = _mesh(_ribbon([{"straight": 20, "slope": 12}, {"straight": 77, "slope": -12}]))
    assert len(straight.triangles) < len(bend.triangles) / 2
    assert len(straight.triangles) < len(crest.triangles) / 2


def test_slopes_change_little_from_one_triangle_to_the_next() -> None:
    arrays = _mesh(_ribbon([{"straight": 61, "slope": 8}, {"straight": 61, "slope": -8}]))
    normals = triangle_normals(arrays.vertices[arrays.triangles[arrays.paints == Paint.ROAD]])
    along = normals[np.argsort(arrays.uv[arrays.paints == Paint.ROAD, :, 1].mean(axis=1))]
    turn = np.arccos(np.clip((along[1:] * along[:-1]).sum(axis=1), -1, 1))
    assert turn.max() < 0.02


def test_a_mirrored_road_has_mirrored_triangles() -> None:
    mirrored = [segment | ({"curve": "right"} if segment.get("curve") == "left" else {}) for segment in HILLS[:3]]
    left = _mesh(_ribbon(HILLS[:3]))
    start = np.array([3.0, 5.0, 7.0])
    ahead = np.array([np.sin(0.3), 0.0, np.cos(0.3)])
    aside = np.array([ahead[2], 0.0, -ahead[0]])
    right = _mesh(_ribbon(mirrored))

    def middles(arrays: MeshArrays, side: int) -> np.ndarray:
        corners = arrays.vertices[arrays.triangles[arrays.paints == Paint.ROAD]] - start
        return np.stack([corners @ aside * side, corners[..., 1], corners @ ahead], axis=-1).mean(axis=1)

    one, other = middles(left, 1), middles(right, -1)
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    assert len(one) == len(other) > 100
    assert apart.min(axis=0).max() < 0.001
    assert apart.min(axis=1).max() < 0.001


def test_walls_and_tunnels_stand_on_the_road_and_face_it() -> None:
    ribbon = _ribbon([{"straight": 41, "walls": "left", "wall_height": 2}, {"straight": 43, "tunnel": True}])
    arrays = _mesh(ribbon)
    for paint, height in ((Paint.WALL, 2.0), (Paint.TUNNEL, 6.0)):
        corners = arrays.vertices[arrays.triangles[arrays.paints == paint]]
        assert corners[..., 1].min() == pytest.approx(5.0, abs=1e-3)
        inward = [
            (n, c) for n, c in zip(triangle_normals(corners), corners.mean(axis=1), strict=True) if abs(n[1]) < 0.1
        ]
        near = [
            n
            for n, c in inward
            if abs((c - ribbon.points[0]) @ ribbon.left[0]) < 8.01 and abs(n @ ribbon.forward[0]) < 0.1
        ]
        assert near
        for n, c in inward:
            across = (c - ribbon.points[0]) @ ribbon.left[0]
            if abs(across) < 8.01 and abs(n @ ribbon.forward[0]) < 0.1:
                assert n @ ribbon.left[0] * across < 0
        assert corners[..., 1].max() >= 5.0 + height - 1e-3


def test_low_roads_stand_on_grass_and_high_ones_on_a_slab() -> None:
    ribbon = _ribbon([{"straight": 53}])
    low, high = _mesh(ribbon, 4.0), _mesh(ribbon, -20.0)
    assert low.vertices[:, 1].min() == pytest.approx(3.9, abs=1e-3)
    assert high.vertices[:, 1].min() == pytest.approx(5 - 0.6, abs=1e-3)
    assert (low.materials == Material.GRASS).any()
    assert not (high.materials == Material.GRASS).any()


def test_joined_pieces_of_road_have_no_end_faces() -> None:
    ribbon = _ribbon([{"straight": 19}])
    whole, joined = _mesh(ribbon), _mesh(replace(ribbon, start_face=False, end_face=False))
    assert len(whole.triangles) - len(joined.triangles) == 2 * 3  # two lanes: a fan of three at each end
