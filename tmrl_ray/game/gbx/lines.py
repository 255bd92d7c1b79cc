"""From a ghost to a reference line, and from a map's gates to places on a line.

A line is points (N, 3) in metres along the way that is driven. What zones and rewards make of it is the business of
``tmrl_ray.racing.reference_line``; the simulator builds a road along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.controls import MAX_RACE_MS
from tmrl_ray.game.gbx.ghost import Ghost

Floats = NDArray[np.float64]

GATE_REACH_M: Final = 12.0
"""A line that goes through a gate passes its centre at less than this (ghosts: up to 11 m beside it)."""
BELOW_M: Final = 4.0
"""A line that is lower than this under a gate's centre is on a road beneath it (one storey of blocks is 8 m)."""
SEPARATE_PASSES_M: Final = 100.0
"""Two places on a line this far apart along it are two passes of a gate: laps, or a road that crosses itself."""
MAX_LINE_M: Final = 1_000_000.0
"""Two hours at 500 km/h."""
_DENSE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class GatePass:
    """One place at which a line goes through a gate."""

    gate: int
    """Which of the gates, by its place in the list that was given."""
    index: int
    """The point of the line that is nearest to the gate's centre."""
    distance_m: float
    """How near."""


def line_from_ghost(ghost: Ghost, *, spacing_m: float = 0.5, beyond_finish_m: float = 20.0) -> Floats:
    """Return the way of a ghost as evenly spaced points.

    The trace is joined by cubics through the samples, so that a fast corner is not cut by its chords. What was driven
    in vain before a respawn is left out. After the finish the line goes straight on.

    Args:
        ghost: a finished race with a trace.
        spacing_m: distance between two points.
        beyond_finish_m: how far the line goes on after the place where the race ended.

    Returns:
        Points (N, 3), metres, from the spawn.

    Raises:
        GbxError: the ghost carries no trace, did not finish, or did not move.
    """
    if ghost.race_time_ms is None:
        raise GbxError(f"the ghost of {ghost.login!r} did not finish: its way is no reference line")
    if ghost.race_time_ms > MAX_RACE_MS:
        raise GbxError(f"the ghost of {ghost.login!r} took {ghost.race_time_ms} ms: no race is that long")
    times_s, positions = _driven(ghost)
    if len(times_s) < 2:
        raise GbxError(f"the trace of {ghost.login!r} has {len(times_s)} samples before the finish, 2 are needed")
    dense_s = np.append(np.arange(times_s[0], times_s[-1], _DENSE_S), times_s[-1])
    points = _cubic(times_s, positions, dense_s)
    moved = np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6
    points = points[np.append(True, moved)]
    if len(points) < 2:
        raise GbxError(f"the ghost of {ghost.login!r} did not move")
    direction = (points[-1] - points[-2]) / np.linalg.norm(points[-1] - points[-2])
    last_mps = np.linalg.norm(positions[-1] - positions[-2]) / (times_s[-1] - times_s[-2])
    to_finish_m = last_mps * (ghost.race_time_ms / 1000 - times_s[-1])
    points = np.vstack((points, points[-1] + direction * (to_finish_m + beyond_finish_m)))
    along = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    if not along[-1] <= MAX_LINE_M:
        raise GbxError(f"the way of {ghost.login!r} is {along[-1]:.3g} m: no race is that long")
    wanted = np.arange(0.0, along[-1], spacing_m)
    return np.stack([np.interp(wanted, along, points[:, axis]) for axis in range(3)], axis=1)


def _driven(ghost: Ghost) -> tuple[Floats, Floats]:
    """Return the times and positions that lead to the finish: not what a respawn undid, nor what came after."""
    samples = ghost.samples
    times_ms, positions = np.rint(samples.times_s * 1000), samples.positions
    kept = times_ms <= (ghost.race_time_ms or 0)
    for respawn_ms in ghost.respawn_times_ms:
        after = int(np.searchsorted(times_ms, respawn_ms + samples.period_ms, side="right"))
        passed_ms = max((time for time in ghost.checkpoint_times_ms if time <= respawn_ms), default=0)
        before = max(int(np.searchsorted(times_ms, passed_ms + samples.period_ms, side="right")), 1)
        if after < len(positions):
            back = int(np.argmin(np.linalg.norm(positions[:before] - positions[after], axis=1)))
            kept[max(back, 1) : after] = False
    return samples.times_s[kept], positions[kept]


def _cubic(times: Floats, points: Floats, wanted: Floats) -> Floats:
    """Return the points (M, 3) at the times ``wanted`` on cubics through ``points`` (N, 3) at ``times`` (N,)."""
    slopes = np.gradient(points, times, axis=0)
    piece = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 2)
    length = (times[piece + 1] - times[piece])[:, None]
    u = (wanted - times[piece])[:, None] / length
    before, after = points[piece], points[piece + 1]
    bend_before = u * (1 - u) ** 2 * length * slopes[piece]
    bend_after = u * u * (u - 1) * length * slopes[piece + 1]
    return before + (after - before) * u * u * (3 - 2 * u) + bend_before + bend_after


def checkpoints_on_line(line: Floats, centres: Floats, *, reach_m: float = GATE_REACH_M) -> tuple[GatePass, ...]:
    """Find where a line goes through gates.

    Args:
        line: points (N, 3), metres.
        centres: the middles of the gates (G, 3), metres, y up, in any order (``Block.centre``).
        reach_m: how near the line has to come to a centre.

    Returns:
        Every pass, in the order of the line. A gate that is passed on several laps is in it several times; one that
        the line never comes near is not in it.
    """
    line = np.asarray(line, dtype=np.float64)
    along = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    passes: list[GatePass] = []
    for gate, centre in enumerate(np.asarray(centres, dtype=np.float64)):
        distances = np.linalg.norm(line - centre, axis=1)
        near = np.flatnonzero((distances <= reach_m) & (line[:, 1] >= centre[1] - BELOW_M))
        apart = np.flatnonzero(np.diff(along[near]) > SEPARATE_PASSES_M) + 1
        for visit in np.split(near, apart):
            if len(visit):
                nearest = int(visit[np.argmin(distances[visit])])
                passes.append(GatePass(gate, nearest, float(distances[nearest])))
    return tuple(sorted(passes, key=lambda one: one.index))
