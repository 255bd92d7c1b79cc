"""What keeps a car on a line: the steering that brings it back, and the speed that the plan allows.

The scripted drivers turn these wishes into keys. Only the simulation state is looked at, so that they drive the real
game too. The steering puts all three poles of the error (offset, heading, yaw rate) at the same place; Ref. for the
pole placement of a chain of integrators with a lag: any text on state feedback, e.g. Astrom and Murray, "Feedback
Systems" (2008), section 6.2.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.sim_state import SimState
from tmrl_ray.racing.car_limits import SPEEDS, STEP_MPS, CarLimits
from tmrl_ray.racing.driving_line import DrivingLine
from tmrl_ray.racing.speed_profile import SLIPPERY, SpeedProfile

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
_LEAST_LOCK: Final = 0.05
"""rad/s: a car that hardly moves hardly turns, and the wanted steering is a quotient."""
_LEAST_SHARE: Final = 0.2
"""On ice no steering holds; some is still tried."""
_LAST_MOMENT_M: Final = 25.0
_ROLLING_MPS: Final = 2.0
"""Slower than this, a car's heading is where it points, not where it moves."""
_STEEP: Final = 0.8
"""Upward part of the road's normal: less is a wall ride or a loop."""
_BEFORE_FLIGHT_M: Final = 60.0
_LANDING_M: Final = 40.0
"""Where a car should not turn: it flies as it left the ground, and lands as it flew."""


class Wish(NamedTuple):
    """What a driver would do if its keys were not keys."""

    steer: float
    """-1 right .. 1 left."""
    speed_mps: float
    """How fast the car is."""
    allowed_mps: float
    """How fast it may be."""
    grounded: bool
    """Whether a wheel touches the ground."""
    delicate: bool
    """Whether a coarse stroke of the wheel would be too much here: before a flight, on a slope, on a slippery road."""
    about_to_fly: bool
    """Whether the wheel is best left alone: a car that turns as it leaves the ground lands crooked."""


class LineFollower:
    """Finds out, from the simulation state, what keeps a car on a line.

    Args:
        line: where to drive.
        profile: how fast.
        limits: how the car turns.
    """

    def __init__(self, line: DrivingLine, profile: SpeedProfile, limits: CarLimits) -> None:
        self.line = line
        self._limits = limits
        self._allowed = profile.limit
        self._delicate = _delicate(line, profile, limits)
        self._about_to_fly = _before_flights(line, profile, _LAST_MOMENT_M, 0.0)
        self._window = max(4, round(SEARCH_M / max(float(np.median(line.spacing)), 0.1)))
        self.place = 0
        """The point of the line where the car will be when its keys act."""

    def begin(self, position: Floats) -> None:
        """Start anew with a car at ``position`` (3,)."""
        self.place = int(np.argmin(np.linalg.norm(self.line.points - position, axis=1)))

    def wish(self, state: SimState, lead_s: float = LEAD_S) -> Wish:
        """Return what the car should do, ``lead_s`` seconds after this state."""
        line, limits = self.line, self._limits
        velocity = state.velocity.astype(np.float64)
        position = state.position.astype(np.float64) + lead_s * velocity
        i = self.place = self._find(position)
        left, up = line.left[i], line.up[i]
        speed = float(np.linalg.norm(velocity))
        row = min(int(speed / STEP_MPS), len(SPEEDS) - 1)
        yaw_rate = float(np.dot(state.angular_velocity.astype(np.float64), up))
        course = velocity if speed > _ROLLING_MPS else state.rotation[:, 2].astype(np.float64)
        heading = float(np.arctan2(np.dot(course, left), np.dot(course, line.tangents[i]))) + lead_s * yaw_rate
        offset = float(np.dot(position - line.points[i], left))
        offset = min(max(offset, -FURTHEST_OFFSET_M), FURTHEST_OFFSET_M)
        lock, lag = max(float(limits.lock[row]), _LEAST_LOCK), limits.yaw_lag_s
        planned, growth = speed * float(line.bend[i]), speed * speed * float(line.bend_growth[i])
        fix = POLE**3 * offset / max(speed, 8.0) + 3 * POLE**2 * heading + (3 * POLE - 1 / lag) * (yaw_rate - planned)
        surface = limits.surfaces.get(int(line.materials[i]))
        most = 1.0 if surface is None else max(float(surface.turn[row]) / lock, _LEAST_SHARE)
        steer = (planned + lag * growth - lag * fix) / lock
        steer = min(max(steer, -most), most)
        return Wish(
            steer=steer,
            speed_mps=speed,
            allowed_mps=float(self._allowed[i]),
            grounded=bool(state.wheel_contact.any()),
            delicate=bool(self._delicate[i]),
            about_to_fly=bool(self._about_to_fly[i]),
        )

    def _find(self, position: Floats) -> int:
        """Return the point of the line nearest to ``position``, near the last one if possible."""
        points = self.line.points
        n = len(points)
        places = np.arange(self.place - self._window // 4, self.place + self._window)
        places = places % n if self.line.closed else places[(places >= 0) & (places < n)]
        distances = np.linalg.norm(points[places] - position, axis=1)
        best = int(np.argmin(distances))
        if distances[best] > LOST_M:
            distances, places = np.linalg.norm(points - position, axis=1), np.arange(n)
            best = int(np.argmin(distances))
        return int(places[best])


def _delicate(line: DrivingLine, profile: SpeedProfile, limits: CarLimits) -> NDArray[np.bool_]:
    delicate = line.up[:, 1] < _STEEP
    for material in np.unique(line.materials[line.on_road]):
        turn = np.interp(profile.speed, SPEEDS, limits.surfaces[int(material)].turn)
        lock = np.interp(profile.speed, SPEEDS, limits.lock)
        delicate |= (line.materials == material) & (turn < SLIPPERY * lock)
    return np.asarray(delicate | _before_flights(line, profile, _BEFORE_FLIGHT_M, _LANDING_M))


def _before_flights(line: DrivingLine, profile: SpeedProfile, before_m: float, after_m: float) -> NDArray[np.bool_]:
    """Tell which points lie up to ``before_m`` before or ``after_m`` after a point where the car flies."""
    near = np.zeros(len(line.points), dtype=np.bool_)
    for place in np.flatnonzero(profile.flying):
        ahead = line.along[place] - line.along
        near |= (ahead >= -after_m) & (ahead <= before_m)
    return near
