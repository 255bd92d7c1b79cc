"""The grid of contacts and the fingerprint of a track."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.track import CELL_M, CELL_MARGIN_M, ContactArrays, build_contacts, triangle_normals


def _random_triangles(seed: int, count: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centre = random.uniform(-40, 60, (count, 1, 3))
    return centre + random.uniform(-9, 9, (count, 3, 3))


def _triangles_in_cell(contacts: ContactArrays, x: float, z: float) -> set[int]:
    ix, iz = (int((place - low) // CELL_M) for place, low in zip((x, z), contacts.origin, strict=False))
    cell = ix * contacts.size[1] + iz
    found = contacts.cell_triangles[contacts.cell_start[cell] : contacts.cell_start[cell + 1]]
    assert (np.diff(found) > 0).all()
    return set(found.tolist())


def _flat_distance(triangle: np.ndarray, x: float, z: float) -> float:
    """Distance of (x, z) from a triangle seen from above, by brute force over its area."""
    a, b = np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 1, 61))
    inside = a + b <= 1
    a, b = a[inside][:, None], b[inside][:, None]
    flat = triangle[:, [0, 2]]
    points = flat[0] + a * (flat[1] - flat[0]) + b * (flat[2] - flat[0])
    return float(np.hypot(*(points - [x, z]).T).min())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-30, 50), st.floats(-30, 50))
def test_a_cell_knows_every_triangle_within_the_margin(seed: int, x: float, z: float) -> None:
    corners = _random_triangles(seed, 13)
    contacts = build_contacts(corners, np.zeros(13, np.uint8))
    ix, iz = (x - contacts.origin[0]) // CELL_M, (z - contacts.origin[1]) // CELL_M
    if not (0 <= ix < contacts.size[0] and 0 <= iz < contacts.size[1]):
        return
    near = {k for k in range(13) if _flat_distance(corners[k], x, z) <= CELL_MARGIN_M}
    assert near <= _triangles_in_cell(contacts, x, z)


def test_a_cell_leaves_out_what_only_its_bounding_box_touches() -> None:
    long_diagonal = np.array([[[0.0, 0.0, 0.0], [40.0, 0.0, 40.0], [41.0, 0.0, 40.0]]])
    contacts = build_contacts(long_diagonal, np.zeros(1, np.uint8))
    assert _triangles_in_cell(contacts, 20.0, 20.0) == {0}
    assert _triangles_in_cell(contacts, 35.0, 5.0) == set()


def test_only_solid_triangles_are_contacts() -> None:
    track = load_track("loop")
    assert not track.solid.all()
    assert len(track.contacts.corners) == track.solid.sum()
    assert track.contacts is track.contacts
    kept = track.vertices[track.triangles[track.solid]]
    np.testing.assert_array_equal(track.contacts.corners, kept)
    np.testing.assert_array_equal(track.contacts.materials, track.materials[track.solid])


def test_normals_have_length_one_and_follow_the_right_hand() -> None:
    corners = _random_triangles(7, 101)
    normals = triangle_normals(corners)
    np.testing.assert_allclose((normals**2).sum(axis=1), 1.0, atol=1e-12)
    flat = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    np.testing.assert_array_equal(triangle_normals(flat), [[0.0, 1.0, 0.0]])


@pytest.mark.parametrize("name", ["loop", "hairpin", "s_curves", "long"])
def test_roads_put_few_triangles_into_a_cell(name: str) -> None:
    track = load_track(name)
    contacts = track.contacts
    cell = ((track.line[:, [0, 2]] - contacts.origin[:2]) // CELL_M).astype(int)
    number = cell[:, 0] * contacts.size[1] + cell[:, 1]
    assert np.diff(contacts.cell_start)[number].mean() < 16


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = "from tmrl_ray.simulator.library import load_track; print(load_track('s_curves').fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_track("s_curves").fingerprint
    assert load_track("s_curves").fingerprint != load_track("loop").fingerprint
