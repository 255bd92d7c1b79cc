"""The observation's floats, from a simulation state and the car's progress.

Every vector is in the car's frame, v_car = R^T v_world, so that the agent sees the same wherever the road leads.
What is remembered between decisions (the last actions, how long the gearbox has been busy) is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import LineError
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.racing.actions import ACTION_KEYS, FORWARD
from tmrl_ray.racing.observation_layout import MATERIAL_GROUPS, ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import ReferenceLine

Floats = NDArray[np.float32]

MATERIALS_OF_GROUP = {
    "asphalt": (0, 1, 16, 18, 19),  # concrete, pavement, asphalt, wet asphalt, wet pavement
    "grass": (2, 20),  # grass, wet grass
    "dirt": (5, 6, 8, 17),  # sand, dirt, dirt road, wet dirt road
    "turbo": (7, 26),  # turbo, turbo 2
}
"""The game's contact material ids in each group of grounds that behave alike."""

_NO_GROUP = 1 + max(max(ids) for ids in MATERIALS_OF_GROUP.values())


def _group_rows() -> Floats:
    rows = np.zeros((_NO_GROUP + 1, len(MATERIAL_GROUPS)), dtype=np.float32)
    for column, group in enumerate(MATERIAL_GROUPS):
        rows[list(MATERIALS_OF_GROUP[group]), column] = 1
    return rows


_GROUP_ROWS = _group_rows()  # one-hot row of each material id, the last one for all ids beyond


class Observer:
    """Writes the observation of one car, decision after decision.

    Args:
        line: the reference line that the car follows.
        layout: which floats there are.

    Raises:
        LineError: the line does not go on far enough after the finish for the way-points.
    """

    def __init__(self, line: ReferenceLine, layout: ObservationLayout) -> None:
        after = len(line.zones) - 1 - line.last_zone
        if after < layout.zones_ahead:
            raise LineError(
                f"the last way-point is {layout.zones_ahead} zones ahead, the line ends {after} zones after the finish",
                hint=f"Set zones_after_finish to at least {layout.zones_ahead}, or see fewer or nearer way-points.",
            )
        self.layout = layout
        settings = layout.settings
        self._zones = line.zones
        self._every = settings.way_point_zones
        self._reach = layout.zones_ahead + 1
        self._margin_m = settings.finish_margin_m
        self._world = np.zeros((3 + settings.way_points, 3))  # rows as in layout.car_frame_vectors
        self._world[2, 1] = 1.0  # up
        self._keys = np.zeros((settings.previous_actions, ACTION_KEYS.shape[1]), dtype=np.float32)
        self._gearbox_count = 0
        self.begin()

    def begin(self, previous_actions: Sequence[int] = (), gearbox_count: int = 0) -> None:
        """Forget the last race.

        Args:
            previous_actions: the decisions before this moment, oldest first, for a race that starts on the way;
                those from before the race are ``FORWARD``.
            gearbox_count: decisions, up to the last one before this moment, with a busy gearbox.
        """
        self._keys[:] = ACTION_KEYS[FORWARD]
        self._gearbox_count = gearbox_count
        for action in previous_actions:
            self.remember(action)

    def remember(self, action: int) -> None:
        """Take ``action`` as the newest of the previous actions."""
        if len(self._keys):
            self._keys[:-1] = self._keys[1:]
            self._keys[-1] = ACTION_KEYS[action]

    def observe(self, state: SimState, progress: Progress, out: Floats) -> None:
        """Write the floats of this decision into ``out`` (F,); to be called once for each decision."""
        at = self.layout
        gearbox_state = state.gearbox_state
        self._gearbox_count = self._gearbox_count + 1 if gearbox_state else 0
        out[at.clock] = 0
        out[at.previous_actions] = self._keys.ravel()
        out[at.wheel_sliding] = state.wheel_sliding
        out[at.wheel_contact] = state.wheel_contact
        out[at.wheel_absorb] = state.wheel_absorb
        out[at.gearbox_state] = gearbox_state
        out[at.gear] = state.gear
        out[at.rpm] = state.rpm
        out[at.gearbox_count] = self._gearbox_count
        out[at.wheel_materials] = _GROUP_ROWS[np.minimum(state.wheel_material, _NO_GROUP)].ravel()
        world = self._world
        world[0] = state.angular_velocity
        world[1] = state.velocity
        zone = progress.zone
        np.subtract(self._zones[zone : zone + self._reach : self._every], state.position, out=world[3:])
        out[at.car_frame_vectors] = (world @ state.rotation.astype(np.float64)).ravel()
        out[at.metres_left] = min(self._margin_m, progress.metres_left)
        out[at.freewheeling] = state.is_freewheeling
