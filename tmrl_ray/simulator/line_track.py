"""Roads along a line of positions: a line that somebody drove, jumps and all, becomes the middle of a road.

The positions are averaged lightly (driven lines are rounded to decimetres), lowered by the height at which a car's
origin rides, and resampled to half a metre; road is added before the first and after the last of them. Where the
driver flew, the road follows the arc.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.yaml_text import dump_yaml
from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon, frames_along, resample, smooth
from tmrl_ray.simulator.segments import material_of
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.track_builder import LEAD_IN_M, RUN_OUT_M, Layout, build_track
from tmrl_ray.simulator.track_file import CheckpointAt, Line, TrackSpec
from tmrl_ray.simulator.track_source import format_track, parse_track
from tmrl_ray.simulator.validate import validate

SHORTEST_LINE_M = 50.0
LARGEST_HOLE_M = 20.0
"""Neighbouring positions farther apart than this are not one line."""
STEEPEST = 0.8
"""Sine of the steepest slope that a line may have: frames are level across, so it cannot go round a loop."""
CHECKPOINT_REACH_M = 32.0
"""How near the line must come to a checkpoint that is given by its position: a block of the game is that wide."""
FULL_BANK_CURVATURE = 1 / 60
"""A bend of this curvature, per metre, has the full bank."""
CHECKPOINT_EVERY_M = 400.0
"""Spacing of the checkpoints that a new track file gets when nobody says where they are."""


def read_line(path: Path) -> Floats:
    """Read positions (N, 3) from a .npy file.

    Raises:
        TrackError: no such file, not an array of positions, not finite, or with holes.
    """
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TrackError(f"{path}: cannot be read as a .npy file of positions: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise TrackError(f"{path}: holds {points.dtype} {points.shape}, a line must be numbers (N, 3)")
    points = np.asarray(points, dtype=np.float64)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise TrackError(f"{path}: position {row} is not finite: {points[row].tolist()}")
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    if steps.sum() < SHORTEST_LINE_M:
        raise TrackError(f"{path}: the line is {steps.sum():.1f} m long, at least {SHORTEST_LINE_M:.0f} m are needed")
    if steps.max() > LARGEST_HOLE_M:
        row = int(steps.argmax())
        raise TrackError(
            f"{path}: positions {row} and {row + 1} are {steps[row]:.1f} m apart, at most {LARGEST_HOLE_M:.0f} m are "
            "allowed",
            hint="Cut the line where its driver was put back to a checkpoint.",
        )
    return points


def write_track_yaml(points: Floats, destination: Path, *, name: str | None = None, line: Line | None = None) -> None:
    """Write a track file and, beside it, the line that it follows.

    Args:
        points: (N, 3) positions in driving order, metres.
        destination: the track file; its line gets the same name with the ending .npy.
        name: of the track; None: the file's own.
        line: what else the file says; its ``file`` is replaced. None: a checkpoint every 400 m.

    Raises:
        TrackError: the line cannot become a track.
    """
    data = destination.with_suffix(".npy")
    if line is None:
        line = Line(file=data.name, checkpoints=evenly_spaced_checkpoints(points))
    said = line.model_dump(by_alias=True, exclude_unset=True) | {"file": data.name}
    spec = parse_track(dump_yaml({"name": name or destination.stem, "line": said}), str(destination))
    layout = lay_line(spec, points)
    validate(build_track(layout), layout)
    destination.parent.mkdir(parents=True, exist_ok=True)
    np.save(data, points)
    destination.write_text(format_track(spec), encoding="utf-8")


def evenly_spaced_checkpoints(points: Floats) -> tuple[CheckpointAt, ...]:
    """Return a checkpoint every 400 m of a line (N, 3), none near its end."""
    length = float(np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1)).sum())
    places = np.arange(CHECKPOINT_EVERY_M, length - CHECKPOINT_EVERY_M / 2, CHECKPOINT_EVERY_M)
    return tuple(CheckpointAt(at=float(at)) for at in places)


def lay_line(spec: TrackSpec, positions: Floats) -> Layout:
    """Lay out a track that follows a line.

    Args:
        spec: a track file with ``line``.
        positions: (N, 3) metres, as in the line's file.

    Raises:
        TrackError: a range or a checkpoint is not on the line, or the line is too steep.
    """
    assert spec.line is not None
    line = spec.line
    points, spawn, finish = _centre_line(spec, line, positions)
    heading_rate = _curvature(points)
    bank = np.radians(line.bank) * np.clip(smooth(heading_rate, 24.0) / FULL_BANK_CURVATURE, -1.0, 1.0)
    forward, up = frames_along(points, smooth(bank, 16.0))
    steep = np.flatnonzero(np.abs(forward[:, 1]) > STEEPEST)
    if len(steep):
        raise TrackError(
            f"track {spec.name!r}: the line is too steep for a road, first at {(steep[0] - spawn) * SPACING_M:.0f} m",
            hint="Roads along a line stay level across, so they cannot follow it up a wall or round a loop: use a line"
            " without them, or the part of this one before.",
        )
    half = np.full(len(points), line.width / 2)
    road = _road(line, points, forward, up, spawn=spawn)
    gaps = [_samples(spec, "gaps", k, (gap.start, gap.end), spawn, finish) for k, gap in enumerate(line.gaps)]
    return Layout(
        name=spec.name,
        roads=_between_gaps(road, gaps),
        points=points,
        forward=forward,
        up=up,
        left_m=half,
        right_m=half,
        checkpoints=sorted(_checkpoints(spec, line, points, spawn, finish)),
        finish=finish,
        spawn=spawn,
        gaps=gaps,
        ground_y=spec.ground,
    )


def _centre_line(spec: TrackSpec, line: Line, positions: Floats) -> tuple[Floats, int, int]:
    """Return the points of the line with road before and after it, and the samples of its first and last position."""
    dense = resample(positions)
    eased = np.stack([smooth(dense[:, k], line.smooth) for k in range(3)], axis=1)
    middle = resample(eased - np.array([0.0, line.height, 0.0]))
    ahead, behind = middle[-1] - middle[-3], middle[0] - middle[2]
    before = np.arange(round(LEAD_IN_M / SPACING_M), 0, -1)[:, None] * SPACING_M
    after = np.arange(1, round(RUN_OUT_M / SPACING_M) + 1)[:, None] * SPACING_M
    points = np.concatenate([middle[0] + before * _level(behind), middle, middle[-1] + after * _level(ahead)])
    points[:, 1] = smooth(points[:, 1], 12.0)  # the added road is level, the line need not be where it begins and ends
    points = resample(points)
    spawn = len(before)
    finish = spawn + len(middle) - 1
    if line.finish is not None:
        finish = spawn + round(line.finish / SPACING_M)
        if finish > spawn + len(middle) - 1:
            raise TrackError(
                f"track {spec.name!r}: line.finish = {line.finish}: the line is only "
                f"{(len(middle) - 1) * SPACING_M:.1f} m long"
            )
    return points, spawn, finish


def _level(direction: Floats) -> Floats:
    flat = direction * np.array([1.0, 0.0, 1.0])
    scaled: Floats = flat / np.hypot(flat[0], flat[2])
    return scaled


def _curvature(points: Floats) -> Floats:
    """Return how fast the heading turns to the left, rad/m (N,)."""
    tangent = np.gradient(points, SPACING_M, axis=0)
    change = np.gradient(tangent, SPACING_M, axis=0)
    turn: Floats = (tangent[:, 2] * change[:, 0] - tangent[:, 0] * change[:, 2]) / (
        tangent[:, 0] ** 2 + tangent[:, 2] ** 2
    )
    return turn


def _samples(
    spec: TrackSpec, key: str, index: int, bounds: tuple[float, float], spawn: int, finish: int
) -> tuple[int, int]:
    first, last = (spawn + round(metres / SPACING_M) for metres in bounds)
    end = finish + round(RUN_OUT_M / SPACING_M)
    if not spawn <= first < last < end:
        raise TrackError(
            f"track {spec.name!r}: line.{key}.{index} = {bounds[0]:g} to {bounds[1]:g} m must be a range within "
            f"0 to {(end - spawn) * SPACING_M:.0f} m"
        )
    return first, last


def _road(line: Line, points: Floats, forward: Floats, up: Floats, *, spawn: int) -> Ribbon:
    count = len(points)
    distance: Floats = (np.arange(count, dtype=np.float64) - spawn) * SPACING_M
    material = np.full(count, material_of(line.material), dtype=np.uint8)
    for piece in line.materials:
        material[(distance >= piece.start) & (distance < piece.end)] = material_of(piece.material)
    walls: dict[str, Floats] = {"left": np.zeros(count), "right": np.zeros(count)}
    for wall in line.walls:
        for side, heights in walls.items():
            if wall.side in (side, "both"):
                heights[(distance >= wall.start) & (distance < wall.end)] = wall.height
    shoulder = line.shoulder
    return Ribbon(
        points=points,
        forward=forward,
        up=up,
        distance=distance,
        left_m=np.full(count, line.width / 2),
        right_m=np.full(count, line.width / 2),
        material=material,
        wall_left_m=walls["left"],
        wall_right_m=walls["right"],
        shoulder_m=np.full(count, shoulder.width if shoulder else 0.0),
        shoulder_rise_m=np.full(count, shoulder.rise if shoulder else 0.0),
        shoulder_material=np.full(count, material_of(shoulder.material) if shoulder else 0, dtype=np.uint8),
        tunnel=np.zeros(count, dtype=np.bool_),
    )


def _between_gaps(road: Ribbon, gaps: list[tuple[int, int]]) -> list[Ribbon]:
    bounds = [0, *(sample for gap in sorted(gaps) for sample in gap), len(road) - 1]
    return [road.part(first, last) for first, last in zip(bounds[::2], bounds[1::2], strict=True)]


def _checkpoints(spec: TrackSpec, line: Line, points: Floats, spawn: int, finish: int) -> list[int]:
    samples = []
    for k, place in enumerate(line.checkpoints):
        if isinstance(place, CheckpointAt):
            sample, given = spawn + round(place.at / SPACING_M), f"at {place.at:g} m"
        else:
            sample, given = _nearest(spec, k, np.array(place.near), points), f"near {list(place.near)}"
        if not spawn < sample < finish:
            raise TrackError(
                f"track {spec.name!r}: line.checkpoints.{k} ({given}) is at {(sample - spawn) * SPACING_M:.1f} m, it "
                f"must be between the start and the finish at {(finish - spawn) * SPACING_M:.1f} m"
            )
        samples.append(sample)
    return samples


def _nearest(spec: TrackSpec, index: int, place: Floats, points: Floats) -> int:
    distance: NDArray[np.float64] = np.sqrt(((points - place) ** 2).sum(axis=1))
    sample = int(distance.argmin())
    if distance[sample] > CHECKPOINT_REACH_M:
        raise TrackError(
            f"track {spec.name!r}: line.checkpoints.{index} (near {place.tolist()}): the line stays "
            f"{distance[sample]:.1f} m away, at most {CHECKPOINT_REACH_M:.0f} m are allowed"
        )
    return sample
