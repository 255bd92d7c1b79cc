"""Tracks from a seed: any number of drivable roads of a given length and difficulty.

Segments are drawn one after the other; one that would come too near to the road so far is drawn again, and when
nothing fits, the last few segments are dropped. All lengths, radii and angles are whole numbers, so that a generated
track is an ordinary track file. numpy's PCG64 gives the same numbers everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.track_file import TrackSpec

LENGTHS_M = (200.0, 6000.0)
TRIES = 24
"""Segments drawn at one place before some road is taken back."""
TAKEN_BACK = 4
MAX_DRAWS = 20_000
"""Segments drawn for one track before giving up; a track of 1 km takes about 50."""
APART_M = 14.0
"""Room between the edges of two roads: for embankments, and for what easing moves the line."""
STEP_M = 4.0
"""Spacing of the points by which nearness is judged."""
CHECKPOINT_EVERY_M = 180.0
STRAIGHT_BEFORE_JUMP_M = 70
"""A car comes out of the tightest bend at 15 m/s and is beyond 25 m/s after this."""
TOP_M = 8.0
"""Beyond this height above or below the start, slopes lead back to it."""
JUMP_DIFFICULTY = 0.5
"""From this difficulty on there are jumps."""


@dataclass
class _Draft:
    """A track as it grows."""

    segments: list[dict[str, Any]] = field(default_factory=list)
    points: list[Floats] = field(default_factory=list)
    """(n, 2) x and z of each segment."""
    ends: list[tuple[float, float, float]] = field(default_factory=list)
    """x, z and heading behind each segment."""
    lengths: list[float] = field(default_factory=list)
    climbs: list[float] = field(default_factory=list)
    """Metres upwards of each segment."""

    @property
    def end(self) -> tuple[float, float, float]:
        return self.ends[-1] if self.ends else (0.0, 0.0, 0.0)

    def add(self, segment: dict[str, Any], points: Floats, end: tuple[float, float, float], length: float) -> None:
        self.segments.append(segment)
        self.points.append(points)
        self.ends.append(end)
        self.lengths.append(length)
        self.climbs.append(length * segment.get("slope", 0) / 100 - segment.get("drop", 0))

    def take_back(self, count: int) -> None:
        for values in (self.segments, self.points, self.ends, self.lengths, self.climbs):
            del values[max(len(values) - count, 0) :]


def generate(seed: int, length_m: float, difficulty: float, *, name: str | None = None) -> TrackSpec:
    """Return a track that the same arguments give on every machine.

    Args:
        seed: 0 or above.
        length_m: from the spawn to the finish, metres, about.
        difficulty: 0 (wide, gentle, flat) to 1 (narrow, tight, hilly, with dirt and small jumps).
        name: of the track; None: made of the arguments.

    Raises:
        TrackError: an argument is out of its range, or no track was found.
    """
    if seed < 0 or not LENGTHS_M[0] <= length_m <= LENGTHS_M[1] or not 0 <= difficulty <= 1:
        raise TrackError(
            f"cannot generate a track with seed {seed}, length {length_m} m and difficulty {difficulty}: seed must be "
            f"0 or above, length {LENGTHS_M[0]:.0f} to {LENGTHS_M[1]:.0f} m, difficulty 0 to 1"
        )
    name = name or f"generated-{seed}-{length_m:.0f}-{round(100 * difficulty)}"
    maker = _Maker(np.random.Generator(np.random.PCG64(seed)), length_m, difficulty)
    while True:
        spec = TrackSpec.model_validate({"name": name, **maker.draw()})
        if _keeps_apart(lay_segments(spec).points, spec.road.width):
            return spec


def _keeps_apart(points: Floats, width: float) -> bool:
    """Tell whether no two places of the line (N, 3) that are not neighbours are nearer than two roads need."""
    flat = points[:: round(STEP_M * 2), [0, 2]]
    apart = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(axis=2))
    between = np.abs(np.arange(len(flat))[:, None] - np.arange(len(flat))[None]) * STEP_M
    near = width + APART_M / 2
    return not ((apart < near) & (between > math.pi * near)).any()


class _Maker:
    """Draws segments of one difficulty."""

    def __init__(self, random: np.random.Generator, length_m: float, difficulty: float) -> None:
        self.random = random
        self.length_m = length_m
        self.difficulty = difficulty
        self.draws = 0
        self.width = round(self._between(20, 12) + float(random.uniform(-1, 1)))

    def _between(self, easy: float, hard: float) -> float:
        return easy + (hard - easy) * self.difficulty

    def _whole(self, low: float, high: float) -> int:
        return int(self.random.integers(round(low), round(high) + 1))

    def _chance(self, easy: float, hard: float) -> bool:
        return float(self.random.random()) < self._between(easy, hard)

    def draw(self) -> dict[str, Any]:
        """Return road and segments of a track."""
        draft = _Draft()
        self._try(draft, [{"straight": self._whole(60, 110)}])
        while sum(draft.lengths) < self.length_m - 60:
            if not any(self._try(draft, self._next(draft)) for _ in range(TRIES)):
                draft.take_back(TAKEN_BACK)
        self._try(draft, [{"straight": max(round(self.length_m - sum(draft.lengths)), 30)}], near_end=True)
        return {"road": self._road(), "segments": self._with_markers(draft)}

    def _road(self) -> dict[str, Any]:
        road: dict[str, Any] = {"width": self.width}
        if self._chance(0.7, 0.3):
            road["shoulder"] = {"width": 2, "rise": -0.1, "material": "grass"}
        return road

    def _next(self, draft: _Draft) -> list[dict[str, Any]]:
        """Draw what comes next: a bend, a straight, or the four segments of a jump."""
        self.draws += 1
        if self.draws > MAX_DRAWS:
            raise TrackError(f"no track of {self.length_m:.0f} m was found in {MAX_DRAWS} tries: take another seed")
        after_bend = bool(draft.segments) and "curve" in draft.segments[-1]
        if not after_bend or self._chance(0.25, 0.45):
            return [self._bend(draft)]
        if self.difficulty >= JUMP_DIFFICULTY and self._chance(0.0, 0.2):
            return self._jump()
        return [self._hilly(draft, {"straight": self._whole(self._between(40, 20), self._between(140, 90))})]

    def _bend(self, draft: _Draft) -> dict[str, Any]:
        radius = self._whole(self._between(45, self.width / 2 + 10), self._between(120, 80))
        angle = 5 * self._whole(5, self._between(20, 36))
        last = next((s for s in reversed(draft.segments) if "curve" in s), None)
        side = "left" if self.random.random() < 0.5 else "right"
        if last is not None and self.random.random() < 0.3:  # bends to alternating sides go somewhere
            side = "left" if last["curve"] == "right" else "right"
        bend: dict[str, Any] = {"curve": side, "radius": radius, "angle": angle}
        if self._chance(0.1, 0.4):
            bend["bank"] = self._whole(3, self._between(6, 14))
        if self._chance(0.0, 0.15):
            bend.update(material="dirt", radius=max(round(1.3 * radius), 45))
        elif self._chance(0.1, 0.25):
            bend["walls"] = "both" if self.random.random() < 0.4 else ("right" if side == "left" else "left")
        return self._hilly(draft, bend)

    def _hilly(self, draft: _Draft, segment: dict[str, Any]) -> dict[str, Any]:
        if self._chance(0.15, 0.45):
            height = sum(draft.climbs)
            up = self.random.random() < 0.5 if abs(height) < TOP_M else height < 0
            segment["slope"] = (1 if up else -1) * self._whole(2, self._between(4, 9))
        if "straight" in segment and "slope" not in segment:
            if self._chance(0.05, 0.12):
                segment.update(material="turbo", straight=12)
            elif self._chance(0.0, 0.12):
                segment["material"] = "dirt"
        return segment

    def _jump(self) -> list[dict[str, Any]]:
        """Draw a small jump: at 25 m/s a car flies 9 m from a ramp of 9 percent to a landing 1 m below."""
        return [
            {"straight": self._whole(STRAIGHT_BEFORE_JUMP_M, STRAIGHT_BEFORE_JUMP_M + 30)},
            {"straight": 30, "slope": 9},
            {"gap": self._whole(5, 8), "drop": 1},
            {"straight": self._whole(60, 80)},
        ]

    def _try(self, draft: _Draft, segments: list[dict[str, Any]], *, near_end: bool = False) -> bool:
        """Add segments if they keep away from the road so far, else none of them."""
        before = len(draft.segments)
        for segment in segments:
            points, end, length = _trace(segment, draft.end)
            if not near_end and not self._is_free(draft, points):
                draft.take_back(len(draft.segments) - before)
                return False
            draft.add(segment, points, end, length)
        return True

    def _is_free(self, draft: _Draft, points: Floats) -> bool:
        old = np.concatenate([np.zeros((0, 2)), *draft.points])
        near = self.width + APART_M
        old = old[: max(len(old) - math.ceil(math.pi * near / STEP_M), 0)]
        if not len(old):
            return True
        return bool((((old[:, None] - points[None]) ** 2).sum(axis=2) > near**2).all())

    def _with_markers(self, draft: _Draft) -> list[Any]:
        """Return the segments with checkpoints between them, never beside a jump, and the finish."""
        segments: list[Any] = []
        since = 0.0
        for k, (segment, length) in enumerate(zip(draft.segments, draft.lengths, strict=True)):
            beside_jump = "gap" in segment or (k > 0 and "gap" in draft.segments[k - 1])
            if since >= CHECKPOINT_EVERY_M and not beside_jump:
                segments.append("checkpoint")
                since = 0.0
            segments.append(segment)
            since += length
        return [*segments, "finish"]


def _trace(
    segment: dict[str, Any], start: tuple[float, float, float]
) -> tuple[Floats, tuple[float, float, float], float]:
    """Return points (n, 2) along a segment, where it ends, and its length; arcs, without easing."""
    x, z, heading = start
    turn = 0.0
    if "curve" in segment:
        turn = math.radians(segment["angle"]) * (1 if segment["curve"] == "left" else -1)
        length = abs(turn) * segment["radius"]
    else:
        length = float(segment.get("straight", segment.get("gap", 0.0)))
    count = max(round(length / STEP_M), 1)
    share = (np.arange(count) + 0.5) / count
    headings = heading + turn * share
    steps = length / count * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    points = np.array([x, z]) + np.cumsum(steps, axis=0)
    return points, (float(points[-1, 0]), float(points[-1, 1]), heading + turn), length
