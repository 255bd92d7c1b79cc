"""Scripted drivers: one that follows a line as fast as a plan allows, with the keys that the agent has.

``PursuitDriver`` sees only the simulation state, so it drives the simulator and the real game alike. Twenty times a
second it looks where the car will be when its keys act, and asks for the steering that brings it back to the line with
all three poles of the error (offset, heading, yaw rate) at the same place. The keys know only full lock or none, so
that it presses them for the share of decisions that the wanted steering needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import Moment
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.racing.actions import action_of
from tmrl_ray.racing.car_limits import SPEEDS, CarLimits
from tmrl_ray.racing.driving_line import DrivingLine
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.rollout import Decision
from tmrl_ray.racing.speed_profile import SpeedProfile

Floats = NDArray[np.float64]

LEAD_S: Final = 0.06
"""From a decision to the middle of its effect: half of its 50 ms, and the wheel's way to full lock."""
POLE: Final = 4.5
"""1/s: how fast errors are steered back. The keys act too coarsely for more."""
FURTHEST_OFFSET_M: Final = 4.0
"""A larger offset is steered back like this one, so that a lost car comes back at an angle and not across."""
SEARCH_M: Final = 60.0
"""How far along the line the car may have come since the last look."""
LOST_M: Final = 30.0
"""Farther from the line than this, the whole line is searched."""
BRAKE_ABOVE: Final = 1.03
"""Times the planned speed: from here on the brake is pressed; between, the gas is released."""
BRAKING_STEER: Final = 0.5
"""A car that needs more of its steering than this does not brake."""
STUCK_MPS: Final = 1.0
STUCK_S: Final = 1.0
BACK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a driver would do if its keys were not keys."""

    steer: float
    """-1 right .. 1 left."""
    speed_mps: float
    """How fast it is."""
    allowed_mps: float
    """How fast it should be."""
    grounded: bool


class LineFollower:
    """Finds out, from the simulation state, what keeps a car on a line.

    Args:
        line: where to drive.
        profile: how fast.
        limits: how the car turns.
    """

    def __init__(self, line: DrivingLine, profile: SpeedProfile, limits: CarLimits) -> None:
        self._line = line
        self._profile = profile
        self._limits = limits
        self._place = 0
        self._window = max(4, round(SEARCH_M / max(float(np.median(line.spacing)), 0.1)))

    def begin(self, position: Floats) -> None:
        """Start anew with a car at ``position`` (3,)."""
        self._place = int(np.argmin(np.linalg.norm(self._line.points - position, axis=1)))

    def wish(self, state: SimState) -> Wish:
        """Return what the car should do now."""
        line = self._line
        velocity = state.velocity.astype(np.float64)
        rotation = state.rotation.astype(np.float64)
        position = state.position.astype(np.float64) + LEAD_S * velocity
        i = self._find(position)
        forward, left, up = line.tangents[i], line.left[i], line.up[i]
        speed = float(np.linalg.norm(velocity))
        row = min(int(speed / 0.5), len(SPEEDS) - 1)
        offset = float(np.dot(position - line.points[i], left))
        yaw_rate = float(np.dot(state.angular_velocity.astype(np.float64), up))
        course = velocity if speed > 2.0 else rotation[:, 2]
        heading = float(np.arctan2(np.dot(course, left), np.dot(course, forward))) + LEAD_S * yaw_rate
        lock = max(float(self._limits.lock[row]), 0.05)
        lag = self._limits.yaw_lag_s
        planned = speed * float(line.bend[i])
        planned_growth = speed * speed * float(line.bend_growth[i])
        offset = min(max(offset, -FURTHEST_OFFSET_M), FURTHEST_OFFSET_M)
        fix = POLE**3 * offset / max(speed, 8.0) + 3 * POLE**2 * heading + (3 * POLE - 1 / lag) * (yaw_rate - planned)
        material = int(line.materials[i])
        held = float(self._limits.surfaces[material].turn[row]) if material in self._limits.surfaces else lock
        most = max(held / lock, 0.2)
        steer = min(max((planned + lag * planned_growth - lag * fix) / lock, -most), most)
        return Wish(steer, speed, float(self._profile.limit[i]), bool(state.wheel_contact.any()))

    def _find(self, position: Floats) -> int:
        """Return the point of the line nearest to ``position``, near the last one if possible."""
        points = self._line.points
        n = len(points)
        places = np.arange(self._place - self._window // 4, self._place + self._window)
        places = places % n if self._line.closed else places[(places >= 0) & (places < n)]
        distances = np.linalg.norm(points[places] - position, axis=1)
        best = int(np.argmin(distances))
        if distances[best] > LOST_M:
            distances, places = np.linalg.norm(points - position, axis=1), np.arange(n)
            best = int(np.argmin(distances))
        self._place = int(places[best])
        return self._place


class PursuitDriver:
    """Follows a line as fast as a speed profile allows.

    Args:
        line: where to drive.
        profile: how fast.
        limits: how the car turns.
        use_brakes: whether it may brake.
    """

    def __init__(self, line: DrivingLine, profile: SpeedProfile, limits: CarLimits, *, use_brakes: bool = True) -> None:
        self._follower = LineFollower(line, profile, limits)
        self._use_brakes = use_brakes
        self._last_ms: int | None = None
        self._owed = 0.0
        self._slow_since_ms = 0
        self._back_until_ms = 0

    def drive(self, moment: Moment, progress: Progress) -> Decision:
        """Choose an action; see :class:`~tmrl_ray.racing.rollout.Driver`."""
        return Decision(action_of(self.choose(moment)))

    def choose(self, moment: Moment) -> Inputs:
        """Choose the keys to hold until the next decision."""
        now_ms = moment.race_time_ms
        if self._last_ms is None or now_ms <= self._last_ms:
            self._follower.begin(moment.state.position.astype(np.float64))
            self._owed, self._slow_since_ms, self._back_until_ms = 0.0, now_ms, 0
        self._last_ms = now_ms
        wish = self._follower.wish(moment.state)
        if self._is_stuck(wish, now_ms):
            return Inputs(brake=True, left=wish.steer < 0, right=wish.steer > 0)
        key = self._key(wish)
        too_fast = wish.speed_mps > wish.allowed_mps
        brake = (
            self._use_brakes
            and wish.speed_mps > BRAKE_ABOVE * wish.allowed_mps
            and abs(wish.steer) < BRAKING_STEER
            and wish.grounded
        )
        return Inputs(left=key > 0, right=key < 0, accelerate=not too_fast, brake=brake)

    def _key(self, wish: Wish) -> int:
        """Return 1 to press left, -1 for right: full lock, as often as the wanted steering needs."""
        if not wish.grounded:
            self._owed = 0.0
            return 0
        self._owed += min(max(wish.steer, -1.0), 1.0)
        key = 1 if self._owed > 0.5 else -1 if self._owed < -0.5 else 0
        self._owed = min(max(self._owed - key, -0.5), 0.5)
        return key

    def _is_stuck(self, wish: Wish, now_ms: int) -> bool:
        """Tell whether to drive backwards: the car has not moved for a while."""
        if now_ms < self._back_until_ms:
            return True
        if wish.speed_mps > STUCK_MPS:
            self._slow_since_ms = now_ms
        elif now_ms - self._slow_since_ms > 1000 * STUCK_S:
            self._back_until_ms = now_ms + round(1000 * BACK_S)
            self._slow_since_ms = self._back_until_ms
            return True
        return False
