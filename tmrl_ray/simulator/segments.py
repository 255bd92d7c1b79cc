"""Roads from segments: the list in a track file becomes stretches of half a metre, which are eased and followed.

What a segment asks for is constant along it. Averaging with a window (``ribbon.smooth``) turns the steps between
segments into eased transitions that are centred on the joints and keep every angle and height.

Shape letters: S stretches of ``SPACING_M``, N = S + 1 nodes between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon, smooth, unit
from tmrl_ray.simulator.track import Floats, Material
from tmrl_ray.simulator.track_file import Curve, Easing, Gap, Loop, Road, Segment, Straight, Stretch


@dataclass(frozen=True, eq=False, kw_only=True)
class Stretches:
    """What the segments ask for, stretch by stretch; every array is (S,)."""

    curvature: Floats
    """rad/m, to the left."""
    loop_rate: Floats
    """rad/m, upwards."""
    aside: Floats
    """Sine of the angle at which a loop drifts to the left."""
    pitch: Floats
    """rad, upwards, loops not counted."""
    bank: Floats
    """rad, positive lowers the left edge."""
    left_m: Floats
    right_m: Floats
    material: NDArray[np.uint8]
    wall_left_m: Floats
    wall_right_m: Floats
    shoulder_m: Floats
    shoulder_rise_m: Floats
    shoulder_material: NDArray[np.uint8]
    tunnel: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.curvature)


@dataclass
class Expansion:
    """A list of segments, expanded into parts between jumps."""

    parts: list[Stretches]
    """The road between jumps, in order."""
    gaps: list[Gap]
    """The jumps between the parts: one fewer than parts."""
    marks: list[tuple[str, int, int]]
    """(marker, part, node of the part) in order."""
    labels: dict[str, tuple[int, int, int]]
    """label -> (part, first node, last node)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Way:
    """A followed part: nodes and frames, before it is cut into ribbons. Arrays are (N,) or (N, 3)."""

    points: Floats
    forward: Floats
    up: Floats
    heading: Floats
    """rad from +z to the left."""
    pitch: Floats
    """rad, upwards."""
    bank: Floats
    """rad."""
    wanted: Stretches
    """What was asked for."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a way starts, and how it lies there."""

    point: Floats
    """(3,) metres."""
    heading: float = 0.0
    """rad from +z to the left."""


def expand(segments: Iterable[Segment], road: Road) -> Expansion:
    """Expand segments into stretches; the first and the last of them are road."""
    expansion = Expansion([], [], [], {})
    pieces: list[Stretches] = []
    count = 0
    for segment in segments:
        if isinstance(segment, str):
            expansion.marks.append((segment, len(expansion.parts), count))
        elif isinstance(segment, Gap):
            expansion.parts.append(_joined(pieces))
            expansion.gaps.append(segment)
            pieces, count = [], 0
        else:
            piece = _stretches(segment, road)
            pieces.append(piece)
            if isinstance(segment, Stretch) and segment.label is not None:
                expansion.labels[segment.label] = (len(expansion.parts), count, count + len(piece))
            count += len(piece)
    expansion.parts.append(_joined(pieces))
    return expansion


def _joined(pieces: list[Stretches]) -> Stretches:
    return Stretches(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Stretches)})


def _stretches(segment: Straight | Curve | Loop, road: Road) -> Stretches:
    """Return the stretches of one segment of road."""
    curvature = loop_rate = pitch = 0.0
    if isinstance(segment, Straight):
        count = max(round(segment.straight / SPACING_M), 1)
    elif isinstance(segment, Curve):
        angle = np.radians(segment.angle) * (1 if segment.curve == "left" else -1)
        count = max(round(abs(angle) * segment.radius / SPACING_M), 1)
        curvature = angle / (count * SPACING_M)
    else:
        count = round(2 * np.pi * segment.loop / SPACING_M)
        loop_rate = 2 * np.pi / (count * SPACING_M)
    length = count * SPACING_M
    aside = np.zeros(count)
    if isinstance(segment, Loop):
        aside = segment.shift / length * (1 - np.cos(2 * np.pi * (np.arange(count) + 0.5) / count))
        options = Stretch(width=segment.width)
    else:
        options = segment
    if options.slope is not None:
        pitch = float(np.arctan(options.slope / 100))
    elif options.climb is not None:
        pitch = float(np.arcsin(np.clip(options.climb / length, -0.7, 0.7)))
    side = -1 if isinstance(segment, Curve) and segment.curve == "right" else 1
    walls = options.walls or road.walls
    wall_m = options.wall_height or road.wall_height
    verge = options.shoulder if "shoulder" in options.model_fields_set else road.shoulder
    half = (options.width or road.width) / 2
    values = {
        "curvature": curvature,
        "loop_rate": loop_rate,
        "pitch": pitch,
        "bank": float(np.radians(options.bank)) * side,
        "left_m": options.left or half,
        "right_m": options.right or half,
        "wall_left_m": wall_m if walls in ("left", "both") else 0.0,
        "wall_right_m": wall_m if walls in ("right", "both") else 0.0,
        "shoulder_m": verge.width if verge else 0.0,
        "shoulder_rise_m": verge.rise if verge else 0.0,
    }
    material = material_of(options.material or road.material)
    return Stretches(
        **{name: np.full(count, value, dtype=np.float64) for name, value in values.items()},
        aside=aside,
        material=np.full(count, material, dtype=np.uint8),
        shoulder_material=np.full(count, material_of(verge.material) if verge else 0, dtype=np.uint8),
        tunnel=np.full(count, options.tunnel),
    )


def material_of(name: str) -> Material:
    """Return the material that a track file calls ``name``."""
    return Material[name.upper()]


def follow(wanted: Stretches, begin: Begin, easing: Easing, *, closed: bool = False) -> Way:
    """Follow stretches from a place on.

    Args:
        wanted: what the segments ask for.
        begin: the place.
        easing: over which lengths it is eased.
        closed: whether the end leads into the beginning.
    """
    beyond, nothing = ("wrap", "wrap") if closed else ("edge", "constant")
    curvature = smooth(wanted.curvature, easing.curve, mode=nothing)
    loop_rate = smooth(wanted.loop_rate, easing.curve, mode=nothing)
    slope = smooth(wanted.pitch, easing.slope, mode=beyond)
    heading = begin.heading + _sums(curvature) * SPACING_M
    middle = (heading[1:] + heading[:-1]) / 2
    looped = _sums(loop_rate) * SPACING_M
    pitch = slope + (looped[1:] + looped[:-1]) / 2

    sine, cosine = np.sin(middle), np.cos(middle)
    ahead = np.stack([np.cos(pitch) * sine, np.sin(pitch), np.cos(pitch) * cosine], axis=1)
    aside = np.stack([cosine, np.zeros_like(sine), -sine], axis=1)
    steps = np.sqrt(1 - wanted.aside**2)[:, None] * ahead + wanted.aside[:, None] * aside
    points = begin.point + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)]) * SPACING_M
    forward = unit(at_nodes(steps, closed=closed))

    pitch_here = at_nodes(pitch, closed=closed)
    flat_up = np.stack(
        [-np.sin(pitch_here) * np.sin(heading), np.cos(pitch_here), -np.sin(pitch_here) * np.cos(heading)], axis=1
    )
    level_up = unit(flat_up - (flat_up * forward).sum(axis=1, keepdims=True) * forward)
    bank = at_nodes(smooth(wanted.bank, easing.bank, mode=beyond), closed=closed)
    up = level_up * np.cos(bank)[:, None] + np.cross(level_up, forward) * np.sin(bank)[:, None]
    return Way(points=points, forward=forward, up=up, heading=heading, pitch=pitch_here, bank=bank, wanted=wanted)


def _sums(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def at_nodes(values: Floats, *, closed: bool = False) -> Floats:
    """Return the means of neighbouring stretches (S, ...) at the nodes (S + 1, ...) between them."""
    padded = np.concatenate([values[-1:], values, values[:1]] if closed else [values[:1], values, values[-1:]])
    means: Floats = (padded[1:] + padded[:-1]) / 2
    return means


def shifted(way: Way, offsets: Floats) -> Way:
    """Return a way whose points are moved by offsets (N, 3), with the frames that follow from that."""
    points = way.points + offsets
    turn = np.gradient(offsets, SPACING_M, axis=0)
    forward = unit(way.forward + turn)
    up = unit(way.up - (way.up * forward).sum(axis=1, keepdims=True) * forward)
    return Way(
        points=points,
        forward=forward,
        up=up,
        heading=way.heading,
        pitch=way.pitch,
        bank=way.bank,
        wanted=way.wanted,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Widths:
    """Half widths of a way at its nodes, (N,)."""

    left_m: Floats
    right_m: Floats
    shoulder_m: Floats
    shoulder_rise_m: Floats


def widths(wanted: Stretches, easing: Easing, cuts: list[int], *, closed: bool = False) -> list[Widths]:
    """Return the eased widths of each piece of a way that is cut at nodes ``cuts``: there, widths may jump."""
    pieces = []
    for first, last in pieces_between(cuts, len(wanted)):
        eased = {
            f.name: at_nodes(
                smooth(getattr(wanted, f.name)[first:last], easing.width, mode="wrap" if closed else "edge"),
                closed=closed,
            )
            for f in fields(Widths)
        }
        pieces.append(Widths(**eased))
    return pieces


def pieces_between(cuts: list[int], count: int) -> list[tuple[int, int]]:
    """Return the ranges of stretches between cuts."""
    bounds = [0, *cuts, count]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@dataclass(frozen=True, slots=True)
class Ends:
    """Whether a piece of road begins and ends in the open."""

    start: bool = True
    end: bool = True


def ribbon_of(way: Way, first: int, last: int, width: Widths, *, distance_m: float, ends: Ends) -> Ribbon:
    """Return the piece of a way between two of its nodes as a ribbon."""
    nodes = slice(first, last + 1)
    wanted = way.wanted

    def per_stretch(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([values[first:last], values[last - 1 : last]])

    return Ribbon(
        points=way.points[nodes],
        forward=way.forward[nodes],
        up=way.up[nodes],
        distance=distance_m + SPACING_M * np.arange(last - first + 1, dtype=np.float64),
        left_m=width.left_m,
        right_m=width.right_m,
        material=per_stretch(wanted.material),  # type: ignore[arg-type]
        wall_left_m=per_stretch(wanted.wall_left_m),  # type: ignore[arg-type]
        wall_right_m=per_stretch(wanted.wall_right_m),  # type: ignore[arg-type]
        shoulder_m=width.shoulder_m,
        shoulder_rise_m=width.shoulder_rise_m,
        shoulder_material=per_stretch(wanted.shoulder_material),  # type: ignore[arg-type]
        tunnel=per_stretch(wanted.tunnel),  # type: ignore[arg-type]
        start_face=ends.start,
        end_face=ends.end,
    )


@dataclass
class LineNodes:
    """The line of a track as it grows: nodes of its ways, and of the flights between them."""

    points: list[Floats] = field(default_factory=list)
    forward: list[Floats] = field(default_factory=list)
    up: list[Floats] = field(default_factory=list)
    left_m: list[Floats] = field(default_factory=list)
    right_m: list[Floats] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """The last node before and the first node after each flight."""
    count: int = 0

    def fly(self, before: Way, after: Way) -> None:
        """Append the line of a jump."""
        points, forward = flight((before.points[-1], before.forward[-1]), (after.points[0], after.forward[0]))
        share = np.linspace(0.0, 1.0, len(points) + 2)[1:-1, None]
        up = (1 - share) * before.up[-1] + share * after.up[0]
        up = unit(up - (up * forward).sum(axis=1, keepdims=True) * forward)
        half = np.full(len(points), float(self.left_m[-1][-1]))
        self.gaps.append((self.count - 1, self.count + len(points)))
        self.add(points, forward, up, half, half)

    def add(self, points: Floats, forward: Floats, up: Floats, left_m: Floats, right_m: Floats) -> None:
        """Append nodes."""
        self.points.append(points)
        self.forward.append(forward)
        self.up.append(up)
        self.left_m.append(left_m)
        self.right_m.append(right_m)
        self.count += len(points)


def flight(start: tuple[Floats, Floats], end: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return the line through a jump: points and tangents (M, 3), without the lip and the landing.

    A cubic from lip to landing, each given as (point, tangent): a stand-in for the arc of a car, which depends on
    its speed.
    """
    (p, d), (q, e) = start, end
    chord = float(np.linalg.norm(q - p))
    t = np.linspace(0.0, 1.0, 1024)[:, None]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p
        + (t**3 - 2 * t**2 + t) * chord * d
        + (3 * t**2 - 2 * t**3) * q
        + (t**3 - t**2) * chord * e
    )
    lengths = _sums(np.sqrt((np.diff(curve, axis=0) ** 2).sum(axis=1)))
    steps = max(round(lengths[-1] / SPACING_M), 2)
    at = np.linspace(0.0, lengths[-1], steps + 1)
    points = np.stack([np.interp(at, lengths, curve[:, k]) for k in range(3)], axis=1)
    return points[1:-1], unit(np.gradient(points, axis=0))[1:-1]
