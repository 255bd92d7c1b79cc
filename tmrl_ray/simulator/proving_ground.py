"""Places to measure a car at: flat ground, roads with a given profile, and the start of the map B13-Obstacle.

For :mod:`calibrate` and the tests of the car. A road runs along +z from its first station; the car starts at z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tmrl_ray.simulator.car_state import VELOCITY, CarState, at_rest
from tmrl_ray.simulator.track import ContactArrays, Floats, Material, build_contacts

SPAWN_HEIGHT_M = 0.21
"""A car is put so far above the road: its hanging wheels just touch. Public: a start line is at +2.0, a spawn +2.21."""


class Station(NamedTuple):
    """Where a stretch of road begins."""

    z: float
    """Metres along the road."""
    y: float
    """Height of the road, metres."""
    material: Material = Material.ASPHALT
    """Of the stretch from here to the next station."""
    x: float = 0.0
    """How far to the left the middle of the road is, metres."""


B13_START = (
    Station(-40.0, 0.0),
    Station(5.17, 0.0),
    Station(17.05, -0.646),
    Station(53.5, -0.646, Material.TURBO),
    Station(116.8, -0.646),
    Station(140.0, -0.646),
)
"""The first 140 m of B13-Obstacle, measured from two recorded races: level for 5.2 m, 0.65 m down over 11.9 m, level
again, and turbo pads from 53.5 to 116.8 m after the spawn."""


def road(stations: Sequence[Station], *, half_width_m: float = 16.0) -> ContactArrays:
    """Return a road through the stations, level across; stations may lead up, over and back, as in a loop."""
    corners, materials = [], []
    for a, b in zip(stations[:-1], stations[1:], strict=True):
        left_a, right_a = (a.x + half_width_m, a.y, a.z), (a.x - half_width_m, a.y, a.z)
        left_b, right_b = (b.x + half_width_m, b.y, b.z), (b.x - half_width_m, b.y, b.z)
        corners += [(right_a, left_b, left_a), (right_a, right_b, left_b)]
        materials += [a.material, a.material]
    return build_contacts(np.array(corners, dtype=np.float64), np.array(materials, dtype=np.uint8))


def plane(material: Material = Material.ASPHALT, *, half_size_m: float = 1200.0) -> ContactArrays:
    """Return flat ground at height 0."""
    ends = (Station(-half_size_m, 0.0, material), Station(half_size_m, 0.0, material))
    return road(ends, half_width_m=half_size_m)


def car_at(height_m: float = SPAWN_HEIGHT_M, *, speed_mps: float = 0.0, rotation: Floats | None = None) -> CarState:
    """Return a car over the origin that faces +z, or as ``rotation`` (3, 3) says, and rolls forwards."""
    attitude = np.eye(3) if rotation is None else rotation
    car = at_rest(np.array([0.0, height_m, 0.0]), attitude)
    car[VELOCITY : VELOCITY + 3] = attitude[:, 2] * speed_mps
    return car
