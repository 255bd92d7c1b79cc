"""The mirror: what a race looks like when left and right are exchanged.

The physics knows no left and right, so a race driven in a mirror is a race too, and every transition is worth two.
Positions, velocities and directions change the sign of their left component; the angular velocity, which turns the
other way round, changes those of its up and forward components; wheels and steering keys change places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.actions import KEY_NAMES
from tmrl_ray.racing.observation_layout import MATERIAL_GROUPS, WHEELS, ObservationLayout

Floats = NDArray[np.float32]


def _exchanged(names: tuple[str, ...]) -> list[int]:
    """For each name the index of the one with left and right exchanged."""
    other = {"left": "right", "right": "left"}
    return [names.index("_".join(other.get(word, word) for word in name.split("_"))) for name in names]


_WHEELS = _exchanged(WHEELS)
_KEYS = _exchanged(KEY_NAMES)


class FloatsMirror:
    """Mirrors the floats of observations. Mirroring twice gives the same floats again.

    Args:
        layout: which floats there are.
    """

    def __init__(self, layout: ObservationLayout) -> None:
        index = np.arange(layout.size)
        for per_wheel in (layout.wheel_sliding, layout.wheel_contact, layout.wheel_absorb):
            index[per_wheel] = index[per_wheel][_WHEELS]
        materials = index[layout.wheel_materials].reshape(len(WHEELS), len(MATERIAL_GROUPS))
        index[layout.wheel_materials] = materials[_WHEELS].ravel()
        keys = index[layout.previous_actions].reshape(-1, len(KEY_NAMES))
        index[layout.previous_actions] = keys[:, _KEYS].ravel()
        sign = np.ones(layout.size, dtype=np.float32)
        for vectors in (layout.velocity, layout.up, layout.way_points):
            sign[vectors][::3] = -1
        sign[layout.angular_velocity][1:] = -1
        self.index: NDArray[np.int64] = index
        """(F,) from which float each mirrored float is taken."""
        self.sign: Floats = sign
        """(F,) 1 or -1, by which it is multiplied."""

    def __call__(self, floats: Floats) -> Floats:
        """Return the mirrored floats (..., F) as a new array."""
        mirrored: Floats = floats[..., self.index] * self.sign
        return mirrored


def mirror_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey pictures (..., H, W) with left and right exchanged, as a view."""
    return frames[..., ::-1]
