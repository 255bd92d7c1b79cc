"""The car against the real one: every measured figure, what the model gives for it, and a fit of the free constants.

``tmrl-ray game calibrate`` prints :func:`report` and, when asked, the constants that :func:`fit` finds. The defaults of
:class:`CarTuning` are what the fit gave, rounded. Measured values come from recorded races of the real game, by ghosts
(a state each 100 ms, one tick old) and by telemetry; the road of each manoeuvre is said in :mod:`manoeuvres`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmrl_ray.simulator import manoeuvres as drive
from tmrl_ray.simulator.track import Floats
from tmrl_ray.simulator.tuning import CarTuning, TuningArrays

LAUNCH_KMH = {
    300: 16.5,
    400: 22.2,
    500: 27.9,
    600: 33.5,
    700: 39.2,
    800: 45.0,
    1000: 57.6,
    1500: 88.8,
    1700: 100.1,
    1800: 102.4,
    1900: 102.4,
    2000: 102.4,
    2100: 105.2,
    2300: 113.1,
    2500: 120.9,
    2600: 124.8,
}
"""Speed by ghost time in ms at full gas from the start of B13; a ghost shows the car as it was a tick before."""

YAW_RAD_PER_S = {100: 1.76, 110: 1.75, 155: 1.33, 284: 0.94, 301: 0.89, 350: 0.863, 381: 0.843}
"""Steady yaw rate at full lock on asphalt, by km/h."""

FREE_CONSTANTS = ("engine_drag_per_mps", "brake_limit", "yaw_damping", "squat_arm_m", "lean_arm_m")
"""What :func:`fit` moves. Everything else is public or was measured directly."""


@dataclass(frozen=True)
class Figure:
    """One measured figure of the real car."""

    name: str
    unit: str
    measured: float
    tolerance: float
    """The largest difference that is accepted, in the figure's unit."""
    simulate: Callable[[TuningArrays], float]


@dataclass(frozen=True)
class Row:
    """A figure with what the model gives for it."""

    name: str
    unit: str
    measured: float
    simulated: float
    tolerance: float

    @property
    def residual(self) -> float:
        """Simulated less measured, in the figure's unit."""
        return self.simulated - self.measured

    @property
    def within(self) -> bool:
        """Whether the difference is accepted."""
        return abs(self.residual) <= self.tolerance


def launch_rmse_kmh(tuning: TuningArrays) -> float:
    """Return the root mean square difference to the measured launch, 0.3 to 2.6 s."""
    speeds = drive.launch_kmh(tuning, max(LAUNCH_KMH) // 10)
    differences = np.array([speeds[ms // 10 - 2] - kmh for ms, kmh in LAUNCH_KMH.items()])
    return float(np.sqrt((differences**2).mean()))


def _yaw_figure(speed_kmh: int, measured: float) -> Figure:
    name = f"yaw rate at full lock, {speed_kmh} km/h"
    return Figure(name, "rad/s", measured, 0.07 * measured, lambda tuning: drive.yaw_rate(tuning, speed_kmh))


def _push_figure(speed_kmh: int, measured: float) -> Figure:
    name = f"full gas from {speed_kmh} km/h"
    return Figure(name, "m/s2", measured, 0.03 * measured, lambda tuning: drive.accelerating_mps2(tuning, speed_kmh))


def _turbo_figure(speed_kmh: int, measured: float) -> Figure:
    name = f"turbo and full gas from {speed_kmh} km/h"
    return Figure(name, "m/s2", measured, 0.05 * measured, lambda tuning: drive.turbo_mps2(tuning, speed_kmh))


FIGURES: tuple[Figure, ...] = (
    Figure("launch from B13's start, 0.3 to 2.6 s, RMSE", "km/h", 0.0, 1.5, launch_rmse_kmh),
    _push_figure(50, 15.85),
    _push_figure(120, 10.9),
    _push_figure(307, 6.99),
    _push_figure(452, 5.35),
    Figure("speed while shifting from 1 to 2", "km/h", 102.4, 0.5, lambda tuning: drive.shift_plateau(tuning)[0]),
    Figure("duration of that shift", "s", 0.285, 0.015, lambda tuning: drive.shift_plateau(tuning)[1]),
    Figure("coasting at 345 km/h", "m/s2", -31.1, 0.06 * 31.1, lambda tuning: drive.coasting_mps2(tuning, 345.0)),
    Figure(
        "0.5 s of braking from 145.8 km/h",
        "km/h",
        74.1,
        0.05 * 74.1,
        lambda tuning: drive.braking_kmh(tuning, 145.8, 0.5),
    ),
    *(_yaw_figure(speed_kmh, measured) for speed_kmh, measured in YAW_RAD_PER_S.items()),
    Figure(
        "time constant of the yaw rate, 463 km/h",
        "s",
        0.15,
        0.02,
        lambda tuning: drive.yaw_time_constant_s(tuning, 463.0),
    ),
    _turbo_figure(125, 64.5),
    _turbo_figure(210, 41.7),
    _turbo_figure(410, 33.2),
    Figure("front wheel travel on B13's turbo pads", "m", 0.028, 0.008, drive.turbo_front_travel_m),
    Figure("inner wheel travel, half lock, 486 km/h", "m", 0.07, 0.016, drive.turning_inner_travel_m),
    Figure("fall in free flight", "m/s2", 24.65, 0.02 * 24.65, drive.falling_mps2),
)


def report(tuning: CarTuning | None = None, figures: Sequence[Figure] = FIGURES) -> list[Row]:
    """Return each figure with what a car of this tuning does; ``None``: the car as it ships."""
    arrays = (tuning or CarTuning()).arrays
    return [Row(f.name, f.unit, f.measured, f.simulate(arrays), f.tolerance) for f in figures]


def misfit(tuning: CarTuning, figures: Sequence[Figure] = FIGURES) -> float:
    """Return the mean square of the residuals, each in units of its tolerance."""
    residuals = np.array([row.residual / row.tolerance for row in report(tuning, figures)])
    return float((residuals**2).mean())


def fit(
    tuning: CarTuning | None = None,
    *,
    names: Sequence[str] = FREE_CONSTANTS,
    figures: Sequence[Figure] = FIGURES,
    evaluations: int = 200,
) -> CarTuning:
    """Return a tuning whose free constants bring the model nearest to the measured figures.

    Args:
        tuning: where to start; ``None``: the car as it ships.
        names: fields of :class:`CarTuning` that are single positive numbers.
        evaluations: how often the figures may be simulated.
    """
    start = tuning or CarTuning()
    factors = nelder_mead(
        lambda logs: misfit(_scaled(start, names, logs), figures),
        np.zeros(len(names)),
        step=0.05,
        evaluations=evaluations,
    )
    return _scaled(start, names, factors)


def _scaled(tuning: CarTuning, names: Sequence[str], logs: Floats) -> CarTuning:
    changes: dict[str, Any] = {
        name: float(getattr(tuning, name) * np.exp(log)) for name, log in zip(names, logs, strict=True)
    }
    return tuning.replace(**changes)


def nelder_mead(loss: Callable[[Floats], float], start: Floats, *, step: float, evaluations: int) -> Floats:
    """Return the lowest point that the downhill simplex of Nelder and Mead (1965) finds.

    Args:
        loss: what to make small.
        start: first corner (N,); the others are ``step`` away along each axis.
        evaluations: how often ``loss`` may be called, at least N + 1.
    """
    corners = [start] + [start + step * axis for axis in np.eye(len(start))]
    simplex = sorted(((loss(corner), corner) for corner in corners), key=_height)
    used = len(simplex)
    while used < evaluations:
        worst, centre = simplex[-1], np.mean([corner for _, corner in simplex[:-1]], axis=0)
        away = centre - worst[1]
        best = min(_tried(loss, centre + away), worst, key=_height)
        used += 1
        if best[0] < simplex[0][0]:
            best = min(best, _tried(loss, centre + 2.0 * away), key=_height)
            used += 1
        elif best[0] >= simplex[-2][0]:
            best = min(_tried(loss, centre + 0.5 * away), _tried(loss, centre - 0.5 * away), best, key=_height)
            used += 2
        if best is worst:
            low = simplex[0][1]
            simplex = [simplex[0]] + [_tried(loss, low + 0.5 * (corner - low)) for _, corner in simplex[1:]]
            used += len(simplex) - 1
        else:
            simplex[-1] = best
        simplex.sort(key=_height)
    return simplex[0][1]


def _tried(loss: Callable[[Floats], float], corner: Floats) -> tuple[float, Floats]:
    return loss(corner), corner


def _height(entry: tuple[float, Floats]) -> float:
    return entry[0]
