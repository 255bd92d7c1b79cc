"""A toy game for tests: a point that is steered over a plane, with gates at given places of a line.

It is no simulator: the speed and the heading follow the keys, and that is all.
"""

from __future__ import annotations

import math

import numpy as np

from tmrl_ray.config.race import LineSettings
from tmrl_ray.errors import GameGoneError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings, Moment
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_points

SPEED_UP_MPS2 = 20.0
TURN_RAD_S = 1.0


def straight_line(
    length_m: float = 60.0, heading: float = 0.0, start: tuple[float, ...] = (100.0, 10.0, 200.0)
) -> np.ndarray:
    """Points (N, 3) every 0.5 m; heading 0 goes along +z, positive to the left (+x)."""
    along = np.arange(0.0, length_m + 0.25, 0.5)[:, None]
    return np.array(start) + along * np.array([math.sin(heading), 0.0, math.cos(heading)])


def line_from(points: np.ndarray, **settings: float) -> ReferenceLine:
    """A reference line without smoothing, whose zones are the points."""
    return line_of_points(points, settings=LineSettings(smoothing_zones=0, **settings))


class FakeGame:
    """Implements ``Game``. The car starts at the line's first point; the finish is its last point's plane."""

    def __init__(self, line: ReferenceLine, *, lost_at_ms: int | None = None) -> None:
        self.settings = GameSettings(frame_size=(7, 5))
        self.line = line
        self.lost_at_ms = lost_at_ms
        self.started = 0
        self.closed = False
        self._finish = line.zones[line.last_zone]
        self._forward = line.tangents[line.last_zone - 1]
        self._state = SimState.blank(1, 1)

    def load_map(self, name: str) -> None:
        """Any map is this one."""

    def start_race(self, state: bytes | None = None) -> Moment:
        """Stand at the first point along the first tangent."""
        self.started += 1
        if state is not None:
            self._state = SimState(state)
            return self._moment()
        self._state = car = SimState.blank(1, 1)
        car.position[:] = self.line.first_point
        tangent = self.line.tangents[self.line.first_zone - 1]
        self._turn(car, math.atan2(tangent[0], tangent[2]))
        car.gear, car.gearbox_state, car.rpm = 1, 2, 1000.0
        car.wheel_contact = [True] * 4
        car.wheel_absorb[:] = [0.011, 0.012, 0.013, 0.014]
        return self._moment()

    def step(self, inputs: Inputs) -> Moment:
        """Go on for five ticks, or to the finish."""
        car = self._state.copy()
        if self.lost_at_ms is not None and car.race_time >= self.lost_at_ms:
            raise GameGoneError("the toy game was told to die")
        for _ in range(5):
            self._tick(car, inputs)
            if car.race_finished:
                break
        self._state = car
        return self._moment()

    def close(self) -> None:
        """Remember that it was called."""
        self.closed = True

    def _tick(self, car: SimState, inputs: Inputs) -> None:
        heading = math.atan2(car.rotation[0, 2], car.rotation[2, 2])
        speed = float(np.linalg.norm(car.velocity))
        speed = max(0.0, speed + 0.01 * SPEED_UP_MPS2 * (inputs.accelerate - 2 * inputs.brake))
        heading += 0.01 * TURN_RAD_S * (inputs.left - inputs.right)
        self._turn(car, heading)
        car.velocity[:] = speed * car.rotation[:, 2]
        car.angular_velocity[:] = [0.0, TURN_RAD_S * (inputs.left - inputs.right), 0.0]
        car.gearbox_state = 2 if speed < 2 else 0
        before = float((car.position - self._finish) @ self._forward)
        car.position += 0.01 * car.velocity
        car.race_time += 10
        if before < 0 <= float((car.position - self._finish) @ self._forward):
            car.race_finished = True
            car.cp_times[0] = car.race_time

    @staticmethod
    def _turn(car: SimState, heading: float) -> None:
        sin, cos = math.sin(heading), math.cos(heading)
        car.rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])

    def _moment(self) -> Moment:
        car = self._state
        frame = np.full((5, 7), car.race_time // 50 % 256, dtype=np.uint8)
        return Moment(
            race_time_ms=car.race_time,
            state=car.copy(),
            frame=frame,
            checkpoints_passed=int(car.race_finished),
            checkpoints_total=1,
            finished=car.race_finished,
        )
