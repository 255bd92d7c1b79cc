"""Where each quantity stands in the observation's floats: the only place that knows.

184 floats with the default settings, in the order of the public TMNF agents. Everybody else asks a layout for a slice:
``floats[..., layout.velocity]``. Car axes are left, up, forward; wheels are front left, front right, rear right,
rear left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tmrl_ray.config.race import MOST_PREVIOUS_ACTIONS, ObservationSettings
from tmrl_ray.racing.actions import KEY_NAMES

AXES = ("left", "up", "forward")
WHEELS = ("front_left", "front_right", "rear_right", "rear_left")
MATERIAL_GROUPS = ("asphalt", "grass", "dirt", "turbo")
"""How the ground behaves; a wheel on anything else (ice, metal, wood, ...) has a zero in each of them."""

DEFAULT_OBSERVATION = ObservationSettings()


class ObservationLayout:
    """The slices of the observation's floats, and the name of each float.

    Args:
        settings: how many previous actions and way-points there are.
    """

    def __init__(self, settings: ObservationSettings = DEFAULT_OBSERVATION) -> None:
        self.settings = settings
        self._names: list[str] = []
        self.clock = self._add("clock")
        """(1,) decisions since the mini-race began; filled in when a batch is drawn, 0 while driving."""
        self.previous_actions = self._add(
            f"action_{age}_ago.{key}" for age in range(settings.previous_actions, 0, -1) for key in KEY_NAMES
        )
        """(actions * 4,) 0 or 1: the keys of the last decisions, oldest first."""
        self.wheel_sliding = self._add(f"sliding.{wheel}" for wheel in WHEELS)
        """(4,) 0 or 1."""
        self.wheel_contact = self._add(f"contact.{wheel}" for wheel in WHEELS)
        """(4,) 0 or 1: the wheel touches the ground."""
        self.wheel_absorb = self._add(f"absorb.{wheel}" for wheel in WHEELS)
        """(4,) metres of suspension travel."""
        self.gearbox_state = self._add("gearbox_state")
        """(1,) 0 normal, 1 shifting, 2 standing start."""
        self.gear = self._add("gear")
        """(1,) 0 reverse, 1 to 5."""
        self.rpm = self._add("rpm")
        """(1,) revolutions per minute."""
        self.gearbox_count = self._add("gearbox_count")
        """(1,) decisions for which the gearbox state has not been 0."""
        self.wheel_materials = self._add(f"{group}.{wheel}" for wheel in WHEELS for group in MATERIAL_GROUPS)
        """(16,) one-hot of the ground's group for each wheel."""
        self.angular_velocity = self._add(f"angular_velocity.{axis}" for axis in AXES)
        """(3,) rad/s, car frame."""
        self.velocity = self._add(f"velocity.{axis}" for axis in AXES)
        """(3,) m/s, car frame."""
        self.up = self._add(f"up.{axis}" for axis in AXES)
        """(3,) the world's up direction, car frame."""
        self.way_points = self._add(
            f"way_point_{number * settings.way_point_zones}_zones.{axis}"
            for number in range(settings.way_points)
            for axis in AXES
        )
        """(way-points * 3,) metres, car frame: the car's own zone first, then the zones ahead."""
        self.metres_left = self._add("metres_left")
        """(1,) metres to the finish, at most ``finish_margin_m``."""
        self.freewheeling = self._add("freewheeling")
        """(1,) 0 or 1: the engine is off."""

    def _add(self, names: str | Iterable[str]) -> slice:
        start = len(self._names)
        self._names.extend([names] if isinstance(names, str) else names)
        return slice(start, len(self._names))

    @property
    def size(self) -> int:
        """How many floats there are."""
        return len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each float."""
        return tuple(self._names)

    @property
    def car_frame_vectors(self) -> slice:
        """All vectors in the car frame, which stand in a row: angular velocity, velocity, up, way-points."""
        return slice(self.angular_velocity.start, self.way_points.stop)

    def way_point(self, number: int) -> slice:
        """Return where way-point ``number`` stands, (3,)."""
        start = self.way_points.start + 3 * number
        return slice(start, start + 3)

    @property
    def zones_ahead(self) -> int:
        """Zones that a line must have after its finish, for the last way-point to be seen there."""
        return (self.settings.way_points - 1) * self.settings.way_point_zones

    @property
    def hash(self) -> str:
        """SHA-256 over all that the floats mean: equal for vectors that may be mixed, and only for those."""
        scales = f"finish_margin_m={self.settings.finish_margin_m!r}"
        return hashlib.sha256("\n".join((*self._names, scales)).encode()).hexdigest()

    def differs_in_history_only(self, other_hash: str) -> bool:
        """Return whether a hash is that of this layout, or of one with another number of previous actions."""
        if other_hash == self.hash:
            return True
        counts = range(MOST_PREVIOUS_ACTIONS + 1)
        return any(
            other_hash == ObservationLayout(self.settings.replace(previous_actions=count)).hash for count in counts
        )
