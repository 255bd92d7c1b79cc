"""A faster line than the middle of the road: as straight as the road's width allows, then tuned by its planned time.

First the line of least curvature between the edges, a quadratic programme with bounds (solved by ADMM: Boyd et al.,
"Distributed optimization and statistical learning via ADMM", 2011, section 5.2). The slower the car is somewhere, the
more its bends there cost, so that the programme is solved again with weights from the plan. Then bumps of random place
and size, each kept if the plan gets faster. Ref. for least curvature as a start: Heilmeier et al., "Minimum curvature
trajectory planning and control for an autonomous race car" (2020).

Shape letter: N points of the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.car_limits import CarLimits
from tmrl_ray.racing.driving_line import SPACING_M, DrivingLine
from tmrl_ray.racing.speed_profile import SpeedProfile, speed_profile

Floats = NDArray[np.float64]

EDGE_M: Final = 2.0
"""The line keeps this far from the edges: half of the car, and what a driver with keys strays."""
_ROUNDS: Final = 6
_ADMM_STEPS: Final = 200
_ADMM_PENALTY: Final = 1e-4
"""Near the curvature's own weight for bends of 30 to 100 m: smaller is slow at the edges, larger slow in the bends."""
_FLIGHT_M: Final = 0.3
"""How far the line may leave the middle where the car flies: it lands where it was aimed at."""
_SHORTEST_BUMP_M: Final = 15.0
_LONGEST_BUMP_M: Final = 80.0
_LARGEST_BUMP_M: Final = 1.5


@dataclass(frozen=True, eq=False)
class RacingLine:
    """An optimised line and its plan."""

    line: DrivingLine
    profile: SpeedProfile
    offsets: Floats
    """(N,) metres to the left of the line that it was made from."""


def optimise_line(line: DrivingLine, limits: CarLimits, *, bumps: int = 300, seed: int = 0) -> RacingLine:
    """Return a line on the same road on which a plan is faster.

    Args:
        line: the middle of the road.
        limits: what the car can do.
        bumps: how many random changes are tried at the end.
        seed: of these changes.
    """
    best = tried = RacingLine(line, speed_profile(line, limits), np.zeros(len(line.points)))
    room = _room(line, best.profile)
    weights = np.ones(len(room))
    for _ in range(_ROUNDS):
        tried = _planned(line, limits, _least_curvature(line, tried, room, weights))
        best = _faster(best, tried)
        weights = 1.0 / np.maximum(tried.profile.speed, 5.0) ** 2
        weights /= weights.mean()
    return _with_bumps(best, line, limits, room, np.random.default_rng(seed), bumps)


def _room(line: DrivingLine, profile: SpeedProfile) -> Floats:
    """Return how far the line may leave the middle of the road at each point (N,), eased towards narrow places."""
    room = np.maximum(line.half_width - EDGE_M, 0.0)
    room[profile.flying] = np.minimum(room[profile.flying], _FLIGHT_M)
    if not line.closed:
        room[0] = 0.0
    slope = 0.1 * SPACING_M
    for i in range(1, len(room)):
        room[i] = min(room[i], room[i - 1] + slope)
    for i in range(len(room) - 2, -1, -1):
        room[i] = min(room[i], room[i + 1] + slope)
    return np.asarray(room)


def _planned(line: DrivingLine, limits: CarLimits, offsets: Floats) -> RacingLine:
    beside = line.beside(offsets)
    return RacingLine(beside, speed_profile(beside, limits), offsets)


def _faster(a: RacingLine, b: RacingLine) -> RacingLine:
    return b if b.profile.lap_s < a.profile.lap_s else a


def _least_curvature(line: DrivingLine, present: RacingLine, room: Floats, weights: Floats) -> Floats:
    """Return the offsets (N,) from ``line`` within ``room`` at which the weighted square of the curvature is least.

    The curvature is taken as linear in the change from the ``present`` line, which holds for small ones: hence rounds.
    """
    bend, change = _curvature_of_offsets(present.line)
    normal = change.T @ (weights[:, None] * change)
    pull = -change.T @ (weights * bend)
    inverse = np.linalg.inv(normal + _ADMM_PENALTY * np.eye(len(room)))
    lowest, highest = -room - present.offsets, room - present.offsets
    within, debt = np.zeros(len(room)), np.zeros(len(room))
    for _ in range(_ADMM_STEPS):
        free = inverse @ (pull + _ADMM_PENALTY * (within - debt))
        within = np.clip(free + debt, lowest, highest)
        debt += free - within
    moved = present.line.points + within[:, None] * present.line.left
    offsets = np.einsum("ni,ni->n", moved - line.points, line.left)
    return np.asarray(np.clip(offsets, -room, room))


def _curvature_of_offsets(line: DrivingLine) -> tuple[Floats, Floats]:
    """Return the bend (N,) of a line, and the matrix (N, N) from offsets to the change of the bend."""
    n = len(line.points)
    here, before, after = np.arange(n), np.roll(np.arange(n), 1), np.roll(np.arange(n), -1)
    square = np.maximum((line.spacing[before] + line.spacing) / 2, 0.1) ** 2
    change = np.zeros((n, n))
    change[here, before] = np.einsum("ni,ni->n", line.left, line.left[before]) / square
    change[here, after] = np.einsum("ni,ni->n", line.left, line.left[after]) / square
    change[here, here] = -2.0 / square
    if not line.closed:
        change[0] = change[-1] = 0.0
    return line.bend, change


def _with_bumps(
    best: RacingLine, line: DrivingLine, limits: CarLimits, room: Floats, rng: np.random.Generator, bumps: int
) -> RacingLine:
    """Try changes of random place, length and height, and keep those that make the plan faster."""
    along, length = line.along, line.length_m
    for _ in range(bumps):
        middle = rng.uniform(0.0, length)
        reach = rng.uniform(_SHORTEST_BUMP_M, _LONGEST_BUMP_M)
        apart = np.abs(along - middle)
        if line.closed:
            apart = np.minimum(apart, length - apart)
        bump = rng.uniform(-_LARGEST_BUMP_M, _LARGEST_BUMP_M) * np.exp(-0.5 * (apart / (reach / 2)) ** 2)
        best = _faster(best, _planned(line, limits, np.clip(best.offsets + bump, -room, room)))
    return best
