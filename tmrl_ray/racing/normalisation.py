"""Means and deviations by which a network divides the floats of an observation: (floats - mean) / std.

The figures are those of the public TMNF agents. Their way-points end after 40; for any other number or distance a
table that was measured on our tracks stands in, so that far points do not enter at many deviations from their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmrl_ray.config.race import LineSettings
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.way_points import WayPointTable, shipped_table

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Normalisation:
    """How floats are scaled before a network sees them."""

    version: str
    """Names the figures; goes with the weights of a policy."""
    mean: Floats
    """(F,)."""
    std: Floats
    """(F,)."""

    def __call__(self, floats: Floats) -> Floats:
        """Return the scaled floats (..., F)."""
        scaled: Floats = (floats - self.mean) / self.std
        return scaled


def normalisation_of(
    layout: ObservationLayout,
    *,
    decision_period_ms: int = 50,
    spacing_m: float = LineSettings().spacing_m,
    table: WayPointTable | None = None,
) -> Normalisation:
    """Return the means and deviations for a layout.

    Args:
        layout: which floats there are.
        decision_period_ms: race time of a decision, the unit of the clock.
        spacing_m: of the reference line's zones.
        table: of what way-points look like; None: the reference's where it goes far enough, else the measured one.

    Raises:
        InvalidInputError: a way-point is farther away than the table goes.
    """
    settings = layout.settings
    distances = np.arange(settings.way_points) * (settings.way_point_zones * np.float64(spacing_m))
    if table is None:
        reference = shipped_table("reference")
        table = reference if distances.max() <= reference.reach_m else shipped_table("measured")
    points_mean, points_std = table.at(distances)
    half_clock = settings.mini_race_ms / decision_period_ms // 2
    figures: list[tuple[slice, ArrayLike, ArrayLike]] = [
        (layout.clock, half_clock, half_clock),
        (layout.previous_actions, [0.8, 0.2, 0.3, 0.3] * settings.previous_actions, 0.5),
        (layout.wheel_sliding, 0.1, 0.5),
        (layout.wheel_contact, 0.9, 0.5),
        (layout.wheel_absorb, 0.02, 0.5),
        (layout.gearbox_state, 0.3, 1.0),
        (layout.gear, 2.5, 2.0),
        (layout.rpm, 7000.0, 3000.0),
        (layout.gearbox_count, 0.1, 10.0),
        (layout.wheel_materials, 0.5, 0.5),
        (layout.angular_velocity, 0.0, [0.5, 1.0, 0.5]),
        (layout.velocity, [0.0, 0.0, 55.0], [5.0, 5.0, 20.0]),
        (layout.up, [0.0, 1.0, 0.0], 0.5),
        (layout.way_points, points_mean.ravel(), points_std.ravel()),
        (layout.metres_left, settings.finish_margin_m, settings.finish_margin_m / 2),
        (layout.freewheeling, 0.0, 1.0),
    ]
    mean, std = np.empty(layout.size, dtype=np.float32), np.empty(layout.size, dtype=np.float32)
    for part, part_mean, part_std in figures:
        mean[part] = np.asarray(part_mean)
        std[part] = np.asarray(part_std)
    return Normalisation(version=table.version, mean=mean, std=std)
