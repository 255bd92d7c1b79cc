"""Tracks for tests: a flat plane with gates across it, so small that everything about them is known by heart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.track import Gate, Material, Paint, Pose, Track

HALF_WIDTH_M = 20.0
GATE_HEIGHT_M = 8.0


def flat_track(
    gates_at: Sequence[float] = (50.0, 90.0, 130.0), *, laps: int = 1, name: str = "flat", length_m: float = 700.0
) -> Track:
    """A plane at y = 0 along +z. The car starts at z = 0 and faces +z; a gate stands at each z, the finish last."""
    vertices = np.array([[-60.0, 0, -60], [-60, 0, length_m], [60, 0, length_m], [60, 0, -60]])
    line_z = np.arange(0.0, length_m - 20, 0.5)
    zeros = np.zeros_like(line_z)
    return Track(
        name=name,
        vertices=vertices,
        triangles=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        materials=np.array([Material.ASPHALT] * 2, np.uint8),
        paints=np.array([Paint.ROAD] * 2, np.uint8),
        uv=vertices[[[0, 1, 2], [0, 2, 3]]][:, :, [0, 2]].astype(np.float32),
        solid=np.array([True, True]),
        gates=tuple(gate(z) for z in gates_at),
        spawn=Pose(np.array([0.0, 0.2, 0.0]), np.eye(3)),
        line=np.stack([zeros, zeros, line_z], axis=1),
        line_up=np.stack([zeros, zeros + 1, zeros], axis=1),
        half_width=zeros + HALF_WIDTH_M,
        laps=laps,
    )


def gate(z: float) -> Gate:
    """A gate across the plane that is passed towards +z; the car respawns 2 m behind it."""
    return Gate(
        centre=np.array([0.0, 0.0, z]),
        rotation=np.eye(3),
        half_width=HALF_WIDTH_M,
        height=GATE_HEIGHT_M,
        respawn=Pose(np.array([1.0, 0.2, z + 2]), np.eye(3)),
    )


TRACKS = {"flat": flat_track(), "Two Laps": flat_track((40.0, 80.0), laps=2, name="Two Laps")}


def find_track(name: str) -> Track:
    """As ``library.load_track``, for these tracks."""
    if name not in TRACKS:
        raise TrackError(f"there is no track {name!r}")
    return TRACKS[name]
