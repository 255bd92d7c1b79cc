"""Assembly of a track: ribbons, the line through them and the places of its gates become one ``Track``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tmrl_ray.simulator.mesh import QUANTUM_M, Mesh
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon, line_pose
from tmrl_ray.simulator.road_mesh import add_road
from tmrl_ray.simulator.scenery import add_arch, add_ground, add_pillars
from tmrl_ray.simulator.track import BranchLine, Floats, Gate, Paint, Pose, Track

LEAD_IN_M = 12.0
"""Road behind the spawn."""
START_ARCH_M = 4.8
"""From the spawn to the start arch, as in the game (spec/game.md 2.3)."""
RUN_OUT_M = 60.0
"""Road past the finish."""
GATE_HEIGHT_M = 10.0
RESPAWN_AFTER_M = 2.0
"""How far past its gate a car is put down again."""
GROUND_BELOW_M = 1.0
"""The ground lies this much below the lowest road when the file does not say where."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """A track before it is a mesh."""

    name: str
    roads: list[Ribbon]
    """All pieces of road."""
    points: Floats
    """(N, 3) the line from the start of the road to its end, across the gaps."""
    forward: Floats
    """(N, 3) its tangents."""
    up: Floats
    """(N, 3) normals of the road."""
    left_m: Floats
    """(N,) from the line to the left edge of the road."""
    right_m: Floats
    """(N,) from the line to the right edge."""
    checkpoints: list[int] = field(default_factory=list)
    """Samples of the line at which the checkpoints are, rising."""
    finish: int
    """Sample at which the finish is."""
    spawn: int
    """Sample at which the race starts; on a lap track this is 0."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of samples over which the line is in the air."""
    branches: list[BranchLine] = field(default_factory=list)
    """Other ways."""
    closed: bool = False
    laps: int = 1
    ground_y: float | None = None


def build_track(layout: Layout) -> Track:
    """Build the track of a layout; nothing is checked here (see ``validate``)."""
    ground_y = layout.ground_y
    if ground_y is None:
        ground_y = _lowest_edge(layout.roads) - GROUND_BELOW_M
    gates = [_gate(layout, sample) for sample in [*layout.checkpoints, layout.finish]]
    start = _gate(layout, layout.spawn + round(START_ARCH_M / SPACING_M))

    mesh = Mesh()
    add_ground(mesh, layout.roads, ground_y)
    for road in layout.roads:
        add_road(mesh, road, ground_y)
    add_pillars(mesh, layout.roads, ground_y)
    for gate in gates[:-1]:
        add_arch(mesh, gate, Paint.CHECKPOINT)
    add_arch(mesh, gates[-1], Paint.FINISH)
    if not layout.closed:
        add_arch(mesh, start, Paint.START)
    arrays = mesh.arrays()

    line = slice(layout.spawn, None)
    return Track(
        name=layout.name,
        vertices=arrays.vertices,
        triangles=arrays.triangles,
        materials=arrays.materials,
        paints=arrays.paints,
        uv=arrays.uv,
        solid=arrays.solid,
        gates=tuple(gates),
        spawn=_stable_pose(layout, layout.spawn),
        line=_quantised(layout.points[line]),
        line_up=np.round(layout.up[line], 9),
        half_width=np.minimum(layout.left_m, layout.right_m)[line],
        laps=layout.laps,
        branches=tuple(layout.branches),
    )


def _lowest_edge(roads: list[Ribbon]) -> float:
    lowest = np.inf
    for road in roads:
        for reach in (road.left_m + road.shoulder_m, -road.right_m - road.shoulder_m):
            edge = road.points[:, 1] + reach * road.left[:, 1] + np.minimum(road.shoulder_rise_m, 0.0)
            lowest = min(lowest, float(edge.min()))
    return lowest


def _quantised(points: Floats) -> Floats:
    return np.round(points / QUANTUM_M) * QUANTUM_M


def _stable_pose(layout: Layout, sample: int) -> Pose:
    """Return the pose of a car put down at a sample of the line, without the last bits of sin and cos."""
    sample = sample % len(layout.points) if layout.closed else sample
    pose = line_pose(layout.points[sample], layout.forward[sample], layout.up[sample])
    return Pose(_quantised(pose.position), np.round(pose.rotation, 9))


def _gate(layout: Layout, sample: int) -> Gate:
    sample = sample % len(layout.points) if layout.closed else sample
    up, forward = layout.up[sample], layout.forward[sample]
    left = np.cross(up, forward)
    left_m, right_m = float(layout.left_m[sample]), float(layout.right_m[sample])
    return Gate(
        centre=_quantised(layout.points[sample] + left * (left_m - right_m) / 2),
        rotation=np.round(np.stack([left, up, forward], axis=1), 9),
        half_width=(left_m + right_m) / 2,
        height=GATE_HEIGHT_M,
        respawn=_stable_pose(layout, sample + round(RESPAWN_AFTER_M / SPACING_M)),
    )
