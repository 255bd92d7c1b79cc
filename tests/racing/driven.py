"""Drives one race with a scripted driver in the simulator, for the tests of drivers and plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings, Moment
from tmrl_ray.racing.driving_line import DrivingLine
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.track import Track


class Chooser(Protocol):
    def choose(self, moment: Moment) -> Inputs: ...


@dataclass(frozen=True, kw_only=True)
class Race:
    finished: bool
    time_s: float
    positions: NDArray[np.float64]
    """(T, 3) at each decision."""
    speeds: NDArray[np.float64]
    """(T,) m/s."""
    keys: tuple[Inputs, ...]

    def beyond_edge(self, line: DrivingLine) -> float:
        """Return how far the car's middle was beyond the road's edge at worst, metres; negative: it never was."""
        nearest = np.linalg.norm(self.positions[:, None] - line.points[None], axis=2).argmin(axis=1)
        offsets = np.einsum("ni,ni->n", self.positions - line.points[nearest], line.left[nearest])
        return float((np.abs(offsets) - line.half_width[nearest]).max())


def drive(track: Track, driver: Chooser, *, until_s: float = 150.0) -> Race:
    game = EmbeddedGame(GameSettings(frame_size=None), find_track=lambda _: track)
    game.load_map(track.name)
    moment = game.start_race()
    positions, speeds, keys = [], [], []
    while not moment.finished and moment.race_time_ms < 1000 * until_s:
        positions.append(moment.state.position.astype(np.float64))
        speeds.append(float(np.linalg.norm(moment.state.velocity)))
        keys.append(driver.choose(moment))
        moment = game.step(keys[-1])
    return Race(
        finished=moment.finished,
        time_s=moment.race_time_ms / 1000,
        positions=np.array(positions),
        speeds=np.array(speeds),
        keys=tuple(keys),
    )
