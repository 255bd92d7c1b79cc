"""What way-points look like on average: mean and deviation of the road ahead, by its distance.

Two tables ship with the package. ``reference`` has the constants of the public TMNF agents for their 40 points up to
390 m ahead. ``measured`` was made here, on our own tracks, for points up to 2 km ahead; this makes it again::

    python -c "from tmrl_ray.racing.way_points import measure_shipped; measure_shipped('way_points.json')"

A policy is trained with one table and keeps it: the table's version goes with its weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.race import LineSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_track

Floats = NDArray[np.float64]

FORMAT = 1
SPACING_M = 10.0
REACH_M = 2000.0
"""How far ahead the shipped table was measured."""
POSES_EVERY_M = 5.0
POSE_SEED = 20
OFFSETS_STD_M = (4.0, 1.0)  # to the side and up: a road is about 18 m wide, a jump a few metres high
TURNS_STD_RAD = (0.15, 0.1, 0.1)  # heading, pitch, roll: slides, and attitudes in the air
LEAST_STD_M = 1.0  # what hardly differs where it was measured may well do so elsewhere
STEEPEST = 0.95  # of a unit tangent's height: where the line climbs steeper, it does not tell which way is up


@dataclass(frozen=True, eq=False, slots=True)
class WayPointTable:
    """Mean and deviation of a way-point in the car's frame. To the left the mean is 0: roads know no side."""

    version: str
    source: str
    spacing_m: float
    """Distance along the line between two rows."""
    mean: Floats
    """(N, 3) metres: left, up, forward of the point 0, 1, 2, ... spacings ahead."""
    std: Floats
    """(N, 3) metres."""

    @property
    def reach_m(self) -> float:
        """Distance of the last row."""
        return self.spacing_m * (len(self.mean) - 1)

    def at(self, distances_m: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation, (M, 3) each, of points at ``distances_m`` (M,) ahead.

        Raises:
            InvalidInputError: a point is farther away than the table goes.
        """
        if distances_m.max() > self.reach_m:
            raise InvalidInputError(
                f"a way-point {distances_m.max():g} m ahead is past the table {self.version!r} of what way-points look"
                f" like, which goes up to {self.reach_m:g} m",
                hint="See fewer or nearer way-points, or measure a longer table: tmrl_ray.racing.way_points.measure.",
            )
        rows = np.arange(len(self.mean)) * self.spacing_m
        mean, std = (
            np.stack([np.interp(distances_m, rows, column) for column in table.T], axis=1)
            for table in (self.mean, self.std)
        )
        return mean, std


def load_table(path: Path) -> WayPointTable:
    """Read a table.

    Raises:
        InvalidInputError: the file is not one.
    """
    try:
        return _table(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"cannot read the table of way-points {path}: {error!r}") from error


@cache
def shipped_table(name: Literal["reference", "measured"]) -> WayPointTable:
    """Return one of the two tables that ship with the package."""
    return _table(json.loads((resources.files(__package__) / "data" / f"way_points_{name}.json").read_text()))


def _table(content: dict[str, Any]) -> WayPointTable:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}, known is {FORMAT}")
    mean, std = content["mean"], content["std"]
    return WayPointTable(
        version=content["version"],
        source=content["source"],
        spacing_m=float(content["spacing_m"]),
        mean=np.array([np.zeros(len(mean["up"])), mean["up"], mean["forward"]]).T,
        std=np.array([std["left"], std["up"], std["forward"]]).T,
    )


def save_table(table: WayPointTable, path: Path) -> None:
    """Write a table as JSON, a column a line, rounded to centimetres."""
    axes = ("left", "up", "forward")
    columns = [f'"{axis}": {np.round(values, 2).tolist()}' for axis, values in zip(axes, table.std.T, strict=True)]
    means = [f'"{axis}": {np.round(values, 2).tolist()}' for axis, values in zip(axes, table.mean.T, strict=True)]
    head = {"format": FORMAT, "version": table.version, "source": table.source, "spacing_m": table.spacing_m}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    lines += [f'"mean": {{\n    {_joined(means[1:], 4)}\n  }}', f'"std": {{\n    {_joined(columns, 4)}\n  }}']
    path.write_text(f"{{\n  {_joined(lines, 2)}\n}}\n")


def _joined(lines: list[str], indent: int) -> str:
    return (",\n" + " " * indent).join(lines)


def measure(
    lines: Iterable[ReferenceLine], *, version: str, source: str, spacing_m: float = SPACING_M, reach_m: float = REACH_M
) -> WayPointTable:
    """Measure what way-points look like to cars along ``lines``.

    A car stands every 5 m, somewhat beside and above the line and turned against it, as cars in a race are. Each pose
    counts with its mirror image. Every line weighs by its length.

    Args:
        lines: lines that go on far enough after their finish.
        version: name of the table, kept with policies.
        source: what was measured, for the reader.
        spacing_m: distance between two rows of the table.
        reach_m: distance of the last row.
    """
    rng = np.random.default_rng(POSE_SEED)
    count, total, squares = 0, 0.0, 0.0
    for line in lines:
        points = _seen(line, rng, spacing_m, reach_m)  # (P, N, 3)
        count += len(points)
        total = total + points.sum(axis=0)
        squares = squares + (points**2).sum(axis=0)
    if not count:
        raise InvalidInputError("there is no line to measure way-points on")
    mean: Floats = np.asarray(total) / count
    mean[:, 0] = 0.0  # a mirror image of each pose
    std = np.maximum(LEAST_STD_M, np.sqrt(np.asarray(squares) / count - mean**2))
    return WayPointTable(version=version, source=source, spacing_m=spacing_m, mean=mean, std=std)


def _seen(line: ReferenceLine, rng: np.random.Generator, spacing_m: float, reach_m: float) -> Floats:
    """The way-points (P, N, 3) that cars along the line see."""
    every = round(POSES_EVERY_M / line.settings.spacing_m)
    zones = np.arange(line.first_zone, line.last_zone, every)
    zones = zones[np.abs(line.tangents[zones - 1, 1]) < STEEPEST]
    forward = line.tangents[zones - 1]
    left = np.cross([0.0, 1.0, 0.0], forward)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    up = np.cross(forward, left)
    beside, above = rng.normal(0.0, OFFSETS_STD_M, (len(zones), 2)).T[:, :, None]
    position = line.zones[zones] + beside * left + above * up
    heading, pitch, roll = rng.normal(0.0, TURNS_STD_RAD, (len(zones), 3)).T[:, :, None]
    ahead, left = _turned(forward, left, heading)
    ahead, up = _turned(ahead, up, pitch)
    left, up = _turned(left, up, roll)
    axes = np.stack((left, up, ahead), axis=2)  # (P, 3, 3)
    rows = np.arange(0.0, reach_m + spacing_m / 2, spacing_m)
    steps = np.round(rows / line.settings.spacing_m).astype(int)
    points: Floats = (line.zones[zones[:, None] + steps] - position[:, None]) @ axes
    return points


def _turned(a: Floats, b: Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Two axes (P, 3) at right angles, turned in their plane by ``angle`` (P, 1), from the first to the second."""
    return np.cos(angle) * a + np.sin(angle) * b, np.cos(angle) * b - np.sin(angle) * a


def measure_shipped(path: str | Path) -> None:
    """Measure the shipped and the generated training tracks, and write the table to ``path``."""
    from tmrl_ray.simulator import library

    held_out = set(library.held_out_tracks())
    names = [name for name in library.track_names() if name not in held_out]
    settings = LineSettings(zones_after_finish=round(REACH_M / LineSettings().spacing_m))
    lines = (line_of_track(library.load_track(name), settings) for name in names)
    source = f"{len(names)} tracks: those that ship, and the generated ones for training"
    save_table(measure(lines, version="measured-1", source=source), Path(path))
