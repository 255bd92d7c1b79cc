"""The reference line: a point every 0.5 m along the road, by which progress is told and the road ahead is seen.

Each point is a *zone*. Zones are added before the start and after the finish, in the direction of the line's ends,
so that the agent sees road there too. The rules and figures (spacing, smoothing, extension, 12 m around a real
checkpoint) are those of the public TMNF agents.

Shape letters: N points of the line as given, Z zones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.race import LineSettings
from tmrl_ray.errors import LineError
from tmrl_ray.game.gbx.challenge import Challenge
from tmrl_ray.game.gbx.lines import checkpoints_on_line
from tmrl_ray.simulator.track import Track

Floats = NDArray[np.float64]
Point = tuple[float, float, float]

DEFAULT_LINE = LineSettings()
SPACING_TOLERANCE = 0.1
"""A line's typical spacing may differ from the settings' by this share: recorded lines are rounded."""
LARGEST_GAP = 4.0
"""No two neighbours of a line are farther apart than this many spacings."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """A real checkpoint or finish of the map, which a car must really have passed."""

    position: Floats
    """(3,) metres: the middle of the gate."""
    radius_m: float
    """A car that comes this near has passed it."""
    forward: Floats | None = None
    """(3,) the direction in which it is passed; None: not known."""


@dataclass(frozen=True, eq=False)
class ReferenceLine:
    """The zones of a map and what is measured along them. Made by the functions of this module."""

    zones: Floats
    """(Z, 3) metres."""
    first_zone: int
    """The zone at the start line: zones before it were added."""
    last_zone: int
    """The last zone of the line as given, at the finish: zones after it were added."""
    checkpoints: Mapping[int, Checkpoint] = field(default_factory=dict)
    """The real checkpoint to which a zone is bound; such a zone is only left by a car that passed it."""
    settings: LineSettings = DEFAULT_LINE
    """With which the line was made, and by which progress along it is told."""

    @cached_property
    def transitions(self) -> Floats:
        """(Z-1, 3) the points between neighbouring zones: transition k is between the zones k and k + 1."""
        middles: Floats = (self.zones[1:] + self.zones[:-1]) / 2
        return middles

    @cached_property
    def segments_m(self) -> Floats:
        """(Z-2,) the length of zone k + 1: from transition k to transition k + 1."""
        lengths: Floats = np.linalg.norm(np.diff(self.transitions, axis=0), axis=1)
        return lengths

    @cached_property
    def tangents(self) -> Floats:
        """(Z-2, 3) the unit direction of zone k + 1."""
        directions: Floats = np.diff(self.transitions, axis=0) / self.segments_m[:, None]
        return directions

    @cached_property
    def transitions_m(self) -> Floats:
        """(Z-1,) metres along the line at each transition; 0 is at the centre of the first zone."""
        metres: Floats = np.concatenate(([0.0], np.cumsum(self.segments_m)))
        start = metres[self.first_zone - 1] + _distance(self.transitions[self.first_zone - 1], self.first_point)
        from_start: Floats = metres - start
        return from_start

    @property
    def first_point(self) -> Floats:
        """(3,) the line's first point, at the start."""
        point: Floats = self.zones[self.first_zone]
        return point

    @cached_property
    def length_m(self) -> float:
        """Metres along the line from its first point to its last, at the finish."""
        before = self.last_zone - 1
        return float(self.transitions_m[before] + _distance(self.transitions[before], self.zones[self.last_zone]))

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The zones as Python numbers: three of those are handled faster than an array of three."""
        return tuple(map(tuple, self.zones.tolist()))

    @cached_property
    def segments(self) -> tuple[tuple[Point, Point, float, float], ...]:
        """For each zone but the first and last, at index zone - 1: its first transition, tangent, length, metres."""
        starts, tangents = self.transitions[:-1].tolist(), self.tangents.tolist()
        rows = zip(starts, tangents, self.segments_m.tolist(), self.transitions_m.tolist(), strict=False)
        return tuple((tuple(start), tuple(tangent), length, metres) for start, tangent, length, metres in rows)

    def nearest_zone(self, position: Floats) -> int:
        """Return the zone nearest to ``position`` (3,), of those between start and finish."""
        zones = self.zones[self.first_zone : self.last_zone + 1]
        return self.first_zone + int(np.argmin(np.sum((zones - position) ** 2, axis=1)))


def _distance(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a - b))


def load_points(path: Path) -> Floats:
    """Read the points of a line from a ``.npy`` file.

    Returns:
        (N, 3) metres.

    Raises:
        LineError: there is no such file, or it does not hold (N, 3) finite numbers.
    """
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LineError(
            f"cannot read the reference line {path}: {error}",
            hint="A reference line is an .npy file of (N, 3) floats, in metres; "
            "'tmrl-ray game build REPLAY -o TRACK.yaml' makes one from a replay.",
        ) from error
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise LineError(f"{path} holds {points.dtype} of shape {points.shape}, a reference line is (N, 3) floats")
    return np.asarray(points, dtype=np.float64)


def save_points(path: Path, points: Floats) -> None:
    """Write the points (N, 3) of a line to a ``.npy`` file, rounded to a tenth of a millimetre."""
    np.save(path, np.round(points, 4))


def resample(positions: Floats, spacing_m: float) -> Floats:
    """Return points at equal distances along the polyline through ``positions``.

    The last point lies up to one spacing past the last position, so that a finish there is not past the line.

    Args:
        positions: (N, 3) metres, in driving order, at any distances; repeated ones count once.
        spacing_m: distance along the polyline between two points.

    Raises:
        LineError: the positions are not finite, or do not go anywhere.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if not np.isfinite(positions).all():
        raise LineError(f"{np.count_nonzero(~np.isfinite(positions).all(axis=1))} positions are not finite")
    moved = np.concatenate(([True], np.any(np.diff(positions, axis=0) != 0, axis=1)))
    positions = positions[moved]
    if len(positions) < 2:
        raise LineError("a line needs at least two different positions")
    last = positions[-1] - positions[-2]
    positions = np.vstack((positions, positions[-1] + last * (spacing_m / np.linalg.norm(last))))
    metres = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=1))))
    at = np.arange(0.0, metres[-1], spacing_m)
    return np.stack([np.interp(at, metres, positions[:, axis]) for axis in range(3)], axis=1)


def extend(points: Floats, *, before: int, after: int, spacing_m: float) -> Floats:
    """Return ``points`` (N, 3) with points added in the direction of its first and of its last step."""
    first = (points[0] - points[1]) / np.linalg.norm(points[0] - points[1])
    last = (points[-1] - points[-2]) / np.linalg.norm(points[-1] - points[-2])
    lead_in = points[0] + first * (spacing_m * np.arange(before, 0, -1))[:, None]
    lead_out = points[-1] + last * (spacing_m * np.arange(1, after + 1))[:, None]
    return np.vstack((lead_in, points, lead_out))


def smooth(points: Floats, reach: int) -> Floats:
    """Return ``points`` (N, 3) with each one moved to the middle between those ``reach`` before and after it."""
    smoothed = points.copy()
    if reach:
        smoothed[reach:-reach] = (points[: -2 * reach] + points[2 * reach :]) / 2
    return smoothed


def line_of_points(
    points: Floats, checkpoints: Sequence[Checkpoint] = (), settings: LineSettings = DEFAULT_LINE
) -> ReferenceLine:
    """Make a reference line of points that already have the right spacing.

    Args:
        points: (N, 3) metres, from the start to the finish.
        checkpoints: the real checkpoints of the map and its finish, in any order.
        settings: spacing, extension, smoothing; with ``checkpoint_radius_m`` null the checkpoints are left out.

    Raises:
        LineError: the points are too few, too far apart or not finite, or pass a checkpoint nowhere.
    """
    points = np.asarray(points, dtype=np.float64)
    _check_points(points, settings)
    before, after = settings.zones_before_start, settings.zones_after_finish
    zones = extend(points, before=before, after=after, spacing_m=settings.spacing_m)
    zones = smooth(zones, settings.smoothing_zones)
    last_zone = before + len(points) - 1
    bound = _bind(zones, before, last_zone, checkpoints if settings.checkpoint_radius_m is not None else ())
    return ReferenceLine(zones=zones, first_zone=before, last_zone=last_zone, checkpoints=bound, settings=settings)


def load_line(
    path: Path, checkpoints: Sequence[Checkpoint] = (), settings: LineSettings = DEFAULT_LINE
) -> ReferenceLine:
    """Make a reference line of a ``.npy`` file.

    Raises:
        LineError: the file cannot be read, or its points are no reference line.
    """
    try:
        return line_of_points(load_points(path), checkpoints, settings)
    except LineError as error:
        error.add_note(f"while reading {path}")
        raise


def line_of_track(track: Track, settings: LineSettings = DEFAULT_LINE) -> ReferenceLine:
    """Make a reference line of the centre line of a simulator's track, from the spawn to the finish of the last lap.

    Raises:
        LineError: the track's line is no reference line, or passes a gate nowhere.
    """
    gates = [
        Checkpoint(
            position=gate.centre,
            radius_m=max(settings.checkpoint_radius_m or 0.0, float(np.hypot(gate.half_width, gate.height))),
            forward=gate.rotation[:, 2],
        )
        for gate in track.gates
    ]
    return line_of_points(resample(_way_to_finish(track), settings.spacing_m), gates, settings)


def checkpoints_of_map(challenge: Challenge, settings: LineSettings = DEFAULT_LINE) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a real map, for the line of a race on it.

    The finish is not among them: the line ends there, and the game says when it was crossed.
    """
    radius = settings.checkpoint_radius_m
    if radius is None:
        return ()
    return tuple(
        Checkpoint(position=np.array(block.centre, dtype=np.float64), radius_m=radius)
        for block in challenge.checkpoints
    )


def _way_to_finish(track: Track) -> Floats:
    """The centre line, lap after lap, up to the first point past the finish of the last lap."""
    line, finish = track.line, track.gates[-1]
    past = (line - finish.centre) @ finish.rotation[:, 2]
    near = np.argsort(np.sum((line - finish.centre) ** 2, axis=1), kind="stable")[:2]
    at_finish = int(near[np.argmax(past[near])])
    gap = _distance(line[0], line[-1])
    is_closed = gap < 2 * _distance(line[0], line[1])
    if not is_closed:
        return line[: at_finish + 1]
    lap = line if gap > 0 else line[:-1]
    laps = (
        track.laps if at_finish < len(lap) // 2 else track.laps - 1
    )  # a start line just ahead of the spawn: once more
    way: Floats = np.vstack([lap] * laps + [lap[: at_finish + 1]])
    return way


def _check_points(points: Floats, settings: LineSettings) -> None:
    fewest = 2 * settings.smoothing_zones + 2
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < fewest:
        raise LineError(f"a reference line has at least {fewest} points of three numbers, this is {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise LineError(f"point {row} of the reference line is not finite: {points[row]}")
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if steps.min() == 0:
        raise LineError(f"the points {int(np.argmin(steps))} and {int(np.argmin(steps)) + 1} of the line are the same")
    hint = "Resample the line (tmrl_ray.racing.reference_line.resample), or set the spacing that it has."
    typical = float(np.median(steps))
    if abs(typical - settings.spacing_m) > SPACING_TOLERANCE * settings.spacing_m:
        raise LineError(f"the line's points are {typical:.3f} m apart, not {settings.spacing_m} m", hint=hint)
    widest = int(np.argmax(steps))
    if steps[widest] > LARGEST_GAP * settings.spacing_m:
        raise LineError(f"the line jumps {steps[widest]:.2f} m after its point {widest}", hint=hint)


def _bind(zones: Floats, first: int, last: int, checkpoints: Sequence[Checkpoint]) -> dict[int, Checkpoint]:
    """Bind each checkpoint to the nearest zone of each pass of the line."""
    line = zones[first : last + 1]
    directions = np.gradient(line, axis=0)
    bound: dict[int, Checkpoint] = {}
    for number, checkpoint in enumerate(checkpoints):
        passes = checkpoints_on_line(line, checkpoint.position[None], reach_m=checkpoint.radius_m)
        if checkpoint.forward is not None:
            passes = tuple(found for found in passes if directions[found.index] @ checkpoint.forward > 0)
        if not passes:
            nearest = float(np.linalg.norm(line - checkpoint.position, axis=1).min())
            raise LineError(
                f"the reference line does not pass checkpoint {number} at {np.round(checkpoint.position, 1)}"
                f" within {checkpoint.radius_m:.1f} m: it comes as near as {nearest:.1f} m",
                hint="Take a line of a race that passed every checkpoint, "
                "or set checkpoint_radius_m: null to tell progress without them.",
            )
        bound.update({first + found.index: checkpoint for found in passes})
    return bound
