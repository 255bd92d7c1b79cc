"""A race once more, for people to look at: its recorded inputs are driven again, and pictures taken on the way.

The same inputs give the same race, to the byte, so a film needs no camera team while a race is driven: drivers decide
20 times a second without pictures, and the film shows what happened at any size and as smoothly as wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.interface import TICK_MS, Camera
from tmrl_ray.game.scripts import Timeline
from tmrl_ray.simulator.car_state import VELOCITY
from tmrl_ray.simulator.look import Look
from tmrl_ray.simulator.media import SHEET, VIDEO, check_writable, write_sheet, write_video
from tmrl_ray.simulator.race import Race
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning

SHEET_PICTURES = 12
SHEET_COLUMNS = 4


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


def duration_ms(track: Track, script: Timeline, longest_ms: int, tuning: CarTuning | None = None) -> int:
    """Drive a race once more and return its finish time, or ``longest_ms`` if it is not finished by then."""
    race = Race(track, tuning)
    race.play_script(script)
    while not race.finished and race.race_time_ms < longest_ms:
        race.advance(period_ms=longest_ms, stop_ms=longest_ms)
    return race.race_time_ms


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


def check_film(sheet: Path | None, video: Path | None) -> None:
    """Raise an error if the files of a film cannot be written; see :func:`write_film`.

    Raises:
        InvalidInputError: one has another ending or may not be written.
    """
    if sheet is not None:
        check_writable(sheet, SHEET)
    if video is not None:
        check_writable(video, VIDEO)


def write_film(
    shots: Iterator[Shot],
    duration_ms: int,
    *,
    fps: float,
    sheet: Path | None = None,
    video: Path | None = None,
    on_shot: Callable[[Shot], None] = lambda shot: None,
) -> None:
    """Write a film as a video, and pictures from it, evenly spread over its time, side by side on a sheet.

    Args:
        shots: see :func:`film`; read one at a time.
        duration_ms: race time of the last of them.
        fps: pictures a second of the video.
        sheet: where to write the sheet (.png); None: nowhere.
        video: where to write the video (.mp4); None: nowhere.
        on_shot: told of each shot as it is taken.

    Raises:
        InvalidInputError: a file cannot be written as asked; nothing was filmed then.
    """
    check_film(sheet, video)
    wanted_ms = iter(np.linspace(0, duration_ms, SHEET_PICTURES).tolist())
    due_ms = next(wanted_ms)
    chosen: list[Shot] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        nonlocal due_ms
        for shot in shots:
            if shot.race_time_ms >= due_ms:
                chosen.append(shot)
                due_ms = next(wanted_ms, float("inf"))
            on_shot(shot)
            yield shot.picture

    if video is not None:
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, pictures(), fps)
    else:
        for _ in pictures():
            pass
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        write_sheet(sheet, [shot.picture for shot in chosen], [shot.label for shot in chosen], SHEET_COLUMNS)


def _shoot(race: Race, renderer: Renderer, camera: Camera) -> Shot:
    speed_mps = float(np.linalg.norm(race.car[VELOCITY : VELOCITY + 3]))
    return Shot(renderer.bgra(race.car, camera), race.race_time_ms, 3.6 * speed_mps)
