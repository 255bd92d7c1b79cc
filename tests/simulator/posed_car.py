"""Cars put down on a track by hand, for tests of pictures."""

from __future__ import annotations

import numpy as np

from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.ribbon import SPACING_M, SURFACE_TO_ORIGIN_M
from tmrl_ray.simulator.track import Track

SUSPENSION_AT_REST_M = 0.016


def car_on_road(
    track: Track, distance_m: float, *, lateral_m: float = 0.0, heading_rad: float = 0.0, speed_mps: float = 30.0
) -> cs.CarState:
    """A car that rolls along the centre line.

    Args:
        track: the track.
        distance_m: how far along its line.
        lateral_m: to the left of the line.
        heading_rad: turned to the left of the line.
        speed_mps: along the car's nose; the car turns as the line does.
    """
    i = min(max(round(distance_m / SPACING_M), 1), len(track.line) - 2)
    up = track.line_up[i]
    tangent = _level(track.line[i + 1] - track.line[i - 1], up)
    turning = np.cross(tangent, (track.line[i + 1] - 2 * track.line[i] + track.line[i - 1]) / SPACING_M**2)
    left = np.cross(up, tangent)
    forward = np.cos(heading_rad) * tangent + np.sin(heading_rad) * left
    rotation = np.stack([np.cross(up, forward), up, forward], axis=1)
    car = cs.at_rest(track.line[i] + lateral_m * left + SURFACE_TO_ORIGIN_M * up, rotation)
    car[cs.VELOCITY : cs.VELOCITY + 3] = speed_mps * forward
    car[cs.SPIN : cs.SPIN + 3] = speed_mps * turning
    car[cs.WHEEL_CONTACT : cs.WHEEL_CONTACT + 4] = 1
    car[cs.WHEEL_ABSORB : cs.WHEEL_ABSORB + 4] = SUSPENSION_AT_REST_M
    return car


def _level(vector: np.ndarray, up: np.ndarray) -> np.ndarray:
    level = vector - (vector @ up) * up
    return level / np.sqrt(level @ level)
