"""Schedules: pure functions of a step, given as points (step, value) between which they interpolate.

Before the first point a schedule has the first value, after the last one the last value. Between two points,
``linear`` draws a straight line, ``log_linear`` one in the logarithm of the value (so that all values must be above
0), and ``steps`` keeps the value of the point before. At a point, each has exactly the point's value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

Point = tuple[float, float]


def linear(points: Sequence[Point], step: float) -> float:
    """Return the value at ``step`` on straight lines between ``points``, at least one, whose steps rise."""
    return _between(points, step, lambda first, last, share: first + (last - first) * share)


def log_linear(points: Sequence[Point], step: float) -> float:
    """Return the value at ``step`` on lines that are straight in the logarithm of the value; all values above 0."""
    return _between(points, step, lambda first, last, share: first * (last / first) ** share)


def steps(points: Sequence[Point], step: float) -> float:
    """Return the value of the last point at or before ``step``."""
    return _between(points, step, lambda first, _last, _share: first)


def stretched(points: Sequence[Point], factor: float) -> tuple[Point, ...]:
    """Return ``points`` with every step multiplied by ``factor``: larger means slower."""
    return tuple((step * factor, value) for step, value in points)


def _between(points: Sequence[Point], step: float, mix: Callable[[float, float, float], float]) -> float:
    position = bisect_right(points, step, key=lambda point: point[0])
    if position == 0:
        return points[0][1]
    if position == len(points):
        return points[-1][1]
    (start, first), (end, last) = points[position - 1], points[position]
    return mix(first, last, (step - start) / (end - start))
