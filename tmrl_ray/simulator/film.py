"""A race once more, for people to look at: its recorded inputs are driven again, and pictures taken on the way.

The same inputs give the same race, to the byte, so a film needs no camera team while a race is driven: drivers decide
20 times a second without pictures, and the film shows what happened at any size and as smoothly as wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.interface import TICK_MS, Camera
from tmrl_ray.game.scripts import Timeline
from tmrl_ray.simulator.car_state import VELOCITY
from tmrl_ray.simulator.look import Look
from tmrl_ray.simulator.race import Race
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSettings:
    """How a race is filmed."""

    size: tuple[int, int] = (320, 240)
    """Width and height in pixels."""
    camera: Camera = 2
    """1 far, 2 near chase, 3 internal."""
    period_ms: int = 40
    """Race time between two pictures, a multiple of the 10 ms tick; 40 is 25 pictures a second."""
    look: Look | None = None
    """Colours and light; None: the standard look."""

    @property
    def fps(self) -> float:
        """Pictures a second of race time."""
        return 1000 / self.period_ms


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a film."""

    picture: NDArray[np.uint8]
    """(H, W, 4) BGRA."""
    race_time_ms: int
    speed_kmh: float

    @property
    def label(self) -> str:
        """What to write beside it."""
        return f"{self.race_time_ms / 1000:.2f} s  {self.speed_kmh:.0f} km/h"


def film(
    track: Track, script: Timeline, until_ms: int, settings: FilmSettings, tuning: CarTuning | None = None
) -> Iterator[Shot]:
    """Drive a race once more and yield pictures of it, from the start to the finish.

    Args:
        track: where it was driven.
        script: its inputs (``Race.input_log``).
        until_ms: race time at which the film ends if the race has not.
        settings: size, camera and how many pictures.
        tuning: the car that drove it; None: the one that ships.
    """
    race = Race(track, tuning)
    race.play_script(script)
    renderer = Renderer(track, *settings.size, settings.look)
    while race.race_time_ms < 0:
        race.advance(stop_ms=0)
    while True:
        yield _shoot(race, renderer, settings.camera)
        if race.finished or race.race_time_ms >= until_ms:
            return
        for _ in range(settings.period_ms // TICK_MS):
            if not race.finished:
                race.tick()


def _shoot(race: Race, renderer: Renderer, camera: Camera) -> Shot:
    speed_mps = float(np.linalg.norm(race.car[VELOCITY : VELOCITY + 3]))
    return Shot(renderer.bgra(race.car, camera), race.race_time_ms, 3.6 * speed_mps)
