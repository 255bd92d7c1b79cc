"""Scripted drivers with the keys of the agent: one that follows a plan without errors, one that plays like a person.

Both look at the simulation state only, so that they drive the simulator and the real game alike, and both choose one
of the twelve actions at each decision.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import Moment
from tmrl_ray.racing.actions import action_of
from tmrl_ray.racing.car_limits import CarLimits
from tmrl_ray.racing.driving_line import DrivingLine
from tmrl_ray.racing.line_follower import LEAD_S, LineFollower, Wish
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.rollout import Decision
from tmrl_ray.racing.speed_profile import SpeedProfile, speed_profile
from tmrl_ray.racing.two_lines import TwoLines

BRAKE_ABOVE: Final = 1.03
"""Times the planned speed: from here on the brake is pressed; between, the gas is released."""
BRAKING_STEER: Final = 0.55
"""A car that needs more of its steering than this does not brake: its wheels would slide."""
STEER_BEFORE_FLIGHT: Final = 0.35
"""Less than this of the steering is not worth a crooked landing."""
STUCK_MPS: Final = 1.0
"""Slower than this for ``STUCK_MS``, a car backs up for ``BACK_MS``."""
STUCK_MS: Final = 1000
BACK_MS: Final = 1000
PURSUIT_TIMES: Final = Path(__file__).parent / "data" / "pursuit_times.yaml"


@cache
def pursuit_times_s() -> dict[str, float]:
    """Return the frozen times of the pursuit driver in seconds, by the names of the tracks that ship.

    Later drivers are measured against them, so that they change only when the tracks or the car do; a test drives them
    again.
    """
    times = yaml.safe_load(PURSUIT_TIMES.read_text(encoding="utf-8"))["times_s"]
    return {str(name): float(time_s) for name, time_s in times.items()}


class _Unsticker:
    """Notices a car that does not come on, and says when to drive backwards."""

    def __init__(self, now_ms: int) -> None:
        self._slow_since_ms = now_ms
        self._back_until_ms = now_ms

    def must_back_up(self, wish: Wish, now_ms: int) -> bool:
        if now_ms < self._back_until_ms:
            return True
        if wish.speed_mps > STUCK_MPS:
            self._slow_since_ms = now_ms
        elif now_ms - self._slow_since_ms > STUCK_MS:
            self._back_until_ms = self._slow_since_ms = now_ms + BACK_MS
            return True
        return False


class _Taps:
    """Turns a wanted steering into keys that know full lock or nothing.

    A key is pressed in as many decisions as the wanted steering needs, and what is left over is owed to the next one.
    """

    def __init__(self) -> None:
        self._owed = 0.0

    def key(self, wish: Wish) -> int:
        """Return 1 to press left, -1 for right, 0 for neither."""
        if not wish.grounded or (wish.about_to_fly and abs(wish.steer) < STEER_BEFORE_FLIGHT):
            self._owed = 0.0
            return 0
        self._owed += wish.steer
        key = 1 if self._owed > 0.5 else -1 if self._owed < -0.5 else 0
        self._owed = min(max(self._owed - key, -0.5), 0.5)
        return key


def _backwards(wish: Wish) -> Inputs:
    """Return the keys that back a car up and turn its nose to where it should go."""
    return Inputs(brake=True, left=wish.steer < 0, right=wish.steer > 0)


class PursuitDriver:
    """Follows a line as fast as a speed profile allows.

    Args:
        line: where to drive.
        profile: how fast.
        limits: how the car turns.
        use_brakes: whether it may brake.
    """

    def __init__(self, line: DrivingLine, profile: SpeedProfile, limits: CarLimits, *, use_brakes: bool = True) -> None:
        self.follower = LineFollower(line, profile, limits)
        self._use_brakes = use_brakes
        self._last_ms: int | None = None
        self._taps = _Taps()
        self._unsticker = _Unsticker(0)

    def drive(self, moment: Moment, progress: Progress) -> Decision:
        """Choose an action; see :class:`~tmrl_ray.racing.rollout.Driver`."""
        return Decision(action_of(self.choose(moment)))

    def choose(self, moment: Moment) -> Inputs:
        """Choose the keys to hold until the next decision. A clock that goes back starts a new race."""
        now_ms = moment.race_time_ms
        if self._last_ms is None or now_ms <= self._last_ms:
            self.follower.begin(moment.state.position.astype(np.float64))
            self._taps, self._unsticker = _Taps(), _Unsticker(now_ms)
        self._last_ms = now_ms
        wish = self.follower.wish(moment.state)
        if self._unsticker.must_back_up(wish, now_ms):
            return _backwards(wish)
        key = self._taps.key(wish)
        can_brake = self._use_brakes and wish.grounded and abs(wish.steer) < BRAKING_STEER
        return Inputs(
            left=key > 0,
            right=key < 0,
            accelerate=wish.speed_mps <= wish.allowed_mps,
            brake=can_brake and wish.speed_mps > BRAKE_ABOVE * wish.allowed_mps,
        )


HUMAN_MARGIN: Final = 0.72
"""Of the steering, what the human driver plans with."""
HUMAN_BRAKE_SHARE: Final = 0.5
"""Of the brakes, what it counts on: people brake early."""
TAP_MS: Final = 115.0
"""Median of the shortest strokes on a steering key. A stroke ends with a decision and goes on while it is needed, so
that the median of all is 150 ms. Public: 2483 recorded races of people, median 140 to 150 ms."""
TAP_SPREAD: Final = 0.3
"""Of the logarithm of a tap's length."""
REACTION_MS: Final = (0.0, 100.0)
"""What a person sees is so old."""
STEER_NOISE: Final = 0.08
"""Standard deviation of the wanted steering."""
SPEED_NOISE: Final = 0.02
"""Of how fast a person thinks that it may go, anew for each race."""
PRESS_ABOVE: Final = 0.3
"""A key is pressed when so much of the steering is wanted, and held while it is."""
HUMAN_BRAKE_ABOVE: Final = 1.04
"""Times the planned speed."""


class HumanDriver:
    """Plays like a person: whole key strokes, late, never twice alike, and each bend on one of two lines.

    Args:
        line: the middle of the road.
        limits: how the car turns.
        seed: the same seed drives the same races in the same order.
    """

    def __init__(self, line: DrivingLine, limits: CarLimits, *, seed: int = 0) -> None:
        self._limits = limits
        self._choices = TwoLines(line)
        self._rng = np.random.default_rng(seed)
        self._last_ms: int | None = None
        self._unsticker = _Unsticker(0)
        self._follower: LineFollower | None = None
        self._pace = 1.0
        self._taps = _Taps()
        self._key = 0
        self._key_until_ms = 0

    def drive(self, moment: Moment, progress: Progress) -> Decision:
        """Choose an action; see :class:`~tmrl_ray.racing.rollout.Driver`."""
        return Decision(action_of(self.choose(moment)))

    def choose(self, moment: Moment) -> Inputs:
        """Choose the keys to hold until the next decision. A clock that goes back starts a new race."""
        now_ms = moment.race_time_ms
        if self._follower is None or self._last_ms is None or now_ms <= self._last_ms:
            self._follower = self._begin(moment)
        self._last_ms = now_ms
        wish = self._follower.wish(moment.state, LEAD_S - self._rng.uniform(*REACTION_MS) / 1000)
        if self._unsticker.must_back_up(wish, now_ms):
            return _backwards(wish)
        key = self._steer(wish, now_ms)
        allowed_mps = self._pace * wish.allowed_mps
        can_brake = wish.grounded and abs(wish.steer) < BRAKING_STEER
        return Inputs(
            left=key > 0,
            right=key < 0,
            accelerate=wish.speed_mps <= allowed_mps,
            brake=can_brake and wish.speed_mps > HUMAN_BRAKE_ABOVE * allowed_mps,
        )

    def _begin(self, moment: Moment) -> LineFollower:
        line = self._choices.draw(self._rng)
        profile = speed_profile(line, self._limits, margin=HUMAN_MARGIN, brake_share=HUMAN_BRAKE_SHARE)
        follower = LineFollower(line, profile, self._limits)
        follower.begin(moment.state.position.astype(np.float64))
        self._unsticker = _Unsticker(moment.race_time_ms)
        self._pace = 1.0 + SPEED_NOISE * float(np.clip(self._rng.standard_normal(), -2.0, 2.0))
        self._taps, self._key, self._key_until_ms = _Taps(), 0, moment.race_time_ms
        return follower

    def _steer(self, wish: Wish, now_ms: int) -> int:
        """Return 1 to press left, -1 for right, 0 for neither: a stroke lasts at least as long as its tap."""
        if wish.delicate or not wish.grounded:
            self._key, self._key_until_ms = self._taps.key(wish), now_ms
            return self._key
        wanted = wish.steer + STEER_NOISE * float(self._rng.standard_normal())
        if now_ms < self._key_until_ms and wanted * self._key > -PRESS_ABOVE:
            return self._key
        key = 0 if abs(wanted) < PRESS_ABOVE else 1 if wanted > 0 else -1
        if key != self._key:
            length_ms = TAP_MS * float(np.exp(TAP_SPREAD * self._rng.standard_normal()))
            pause = 1.0 - min(abs(wish.steer), 1.0)
            self._key_until_ms = now_ms + round(length_ms if key else length_ms * pause)
            self._key = key
        return self._key
