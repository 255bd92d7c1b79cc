"""A person at the wheel: a window, the keyboard, and the simulator in real time.

Arrow keys or WASD drive, R restarts, Enter goes back to the last checkpoint, C changes the camera, Esc ends it. The
race's ticks follow the clock on the wall, 100 a second, with a picture sixty times a second. What was driven can be
kept as an inputs script of TMInterface and as a video. Started by ``tmrl-ray game play``.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import TICK_MS, Camera
from tmrl_ray.game.scripts import format_script
from tmrl_ray.simulator.car_state import GEAR, VELOCITY
from tmrl_ray.simulator.look import Look
from tmrl_ray.simulator.media import VIDEO, check_writable, write_video
from tmrl_ray.simulator.race import Race
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning

PICTURES_PER_SECOND = 60
MOST_TICKS_A_PICTURE = 8
"""On a computer that is too slow for real time the race slows down instead of falling ever further behind."""
UNSEEN_DRIVERS = ("offscreen", "dummy")
"""What SDL falls back to where there is no display; whoever wants one of them names it in SDL_VIDEODRIVER."""
CAMERAS: tuple[Camera, ...] = (1, 2, 3)
INK, SHADE = (255, 255, 255), (20, 22, 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaySettings:
    """How a person plays."""

    size: tuple[int, int] = (640, 480)
    """Width and height of the picture in pixels; the window can be any size and scales it."""
    camera: Camera = 2
    """Camera at the start."""
    script: Path | None = None
    """Where to keep the inputs of the fastest race that was finished or, if none was, of the last race.

    Nothing is written if there are none.
    """
    video: Path | None = None
    """Where to keep the pictures (.mp4), without the instruments."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of playing."""

    finish_times_s: list[float]
    """Of the races that were finished."""
    written: list[Path]
    """The files that were kept; no script if nothing was pressed."""


def play(track: Track, settings: PlaySettings, *, tuning: CarTuning | None = None, look: Look | None = None) -> Played:
    """Let a person play until the window is closed.

    Raises:
        InvalidInputError: pygame is not installed, there is no display, or a file cannot be written as asked.
    """
    pygame = _pygame()
    if settings.script is not None:
        check_writable(settings.script)
    if settings.video is not None:
        check_writable(settings.video, VIDEO)
    player = Player(pygame, track, settings, tuning=tuning, look=look)
    try:
        if settings.video is not None:
            settings.video.parent.mkdir(parents=True, exist_ok=True)
            write_video(settings.video, player.pictures(), PICTURES_PER_SECOND)
            player.written.append(settings.video)
        else:
            for _ in player.pictures():
                pass
    finally:
        player.close()
    return Played(player.finish_times_s, player.written)


def _pygame() -> ModuleType:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it greets on the stream of our results
    try:
        return importlib.import_module("pygame")
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            "Playing in a window needs pygame, which is not installed.", hint="pip install 'tmrl_ray[play]'"
        ) from error


class Player:
    """A window and the race in it.

    Args:
        pygame: the module; it is imported only where somebody plays.
        track: where the race is.
        settings: window, camera and recordings.
        tuning: how the car drives.
        look: how the race looks.

    Raises:
        InvalidInputError: there is no display to open a window on.
    """

    def __init__(
        self,
        pygame: Any,
        track: Track,
        settings: PlaySettings,
        *,
        tuning: CarTuning | None = None,
        look: Look | None = None,
    ) -> None:
        self.race = Race(track, tuning)
        self.camera: Camera = settings.camera
        self.finish_times_s: list[float] = []
        self.written: list[Path] = []
        self._renderer = Renderer(track, *settings.size, look)
        self._settings = settings
        self._script: str | None = None
        self._held: set[int] = set()
        self._pygame = pygame
        self._driving = {
            pygame.K_LEFT: "left",
            pygame.K_a: "left",
            pygame.K_RIGHT: "right",
            pygame.K_d: "right",
            pygame.K_UP: "accelerate",
            pygame.K_w: "accelerate",
            pygame.K_DOWN: "brake",
            pygame.K_s: "brake",
        }
        self._screen, self._font = self._open(track.name, settings.size)

    def _open(self, name: str, size: tuple[int, int]) -> tuple[Any, Any]:
        pygame = self._pygame
        try:
            pygame.display.init()
            screen = pygame.display.set_mode(size, pygame.RESIZABLE)
            if pygame.display.get_driver() in UNSEEN_DRIVERS and "SDL_VIDEODRIVER" not in os.environ:
                raise pygame.error("this machine has no display")
        except pygame.error as error:
            pygame.quit()
            raise InvalidInputError(
                f"No window can be opened: {error}.",
                hint="Play on a machine with a display; to make a video without one, use: tmrl-ray game view --video",
            ) from error
        pygame.display.set_caption(f"tmrl_ray: {name}")
        pygame.font.init()
        return screen, pygame.font.Font(None, max(18, size[1] // 18))

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Play in real time and yield each picture (H, W, 4) that was shown, until the window is closed."""
        clock = self._pygame.time.Clock()
        picture = np.empty((self._renderer.height, self._renderer.width, 4), dtype=np.uint8)
        self._renderer.bgra(self.race.car, self.camera, out=picture)  # compiled before the clock starts
        now = time.perf_counter()
        owed_ms = 0.0
        while self._handle_events():
            before, now = now, time.perf_counter()
            owed_ms = min(owed_ms + 1000 * (now - before), TICK_MS * MOST_TICKS_A_PICTURE)
            while owed_ms >= TICK_MS:
                owed_ms -= TICK_MS
                self._tick()
            self._renderer.bgra(self.race.car, self.camera, out=picture)
            self._show(picture)
            yield picture
            clock.tick(PICTURES_PER_SECOND)

    def close(self) -> None:
        """Close the window and write the script that was asked for, unless nothing was pressed."""
        self._pygame.quit()
        script = self._script if self._script is not None else format_script(self.race.input_log)
        if self._settings.script is not None and script:
            self._settings.script.parent.mkdir(parents=True, exist_ok=True)
            self._settings.script.write_text(script, encoding="ascii")
            self.written.append(self._settings.script)

    def _handle_events(self) -> bool:
        """Take note of what was pressed and return whether to go on."""
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                return False
            if event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
            elif event.type == pygame.KEYUP:
                self._held.discard(event.key)
            elif event.type == pygame.KEYDOWN:
                self._held.add(event.key)
                if event.key == pygame.K_ESCAPE:
                    return False
                if event.key == pygame.K_r:
                    self.race.restart()
                elif event.key in (pygame.K_RETURN, pygame.K_KP_ENTER):
                    self.race.respawn()
                elif event.key == pygame.K_c:
                    self.camera = CAMERAS[self.camera % len(CAMERAS)]
        return True

    def _tick(self) -> None:
        race = self.race
        held = {action for key, action in self._driving.items() if key in self._held}
        race.set_inputs(Inputs(**dict.fromkeys(held, True)))
        was_finished = race.finished
        race.tick()
        if race.finished and not was_finished:
            finish_time_s = race.race_time_ms / 1000
            if finish_time_s < min(self.finish_times_s, default=float("inf")):
                self._script = format_script(race.input_log)
            self.finish_times_s.append(finish_time_s)

    def _show(self, picture: NDArray[np.uint8]) -> None:
        pygame = self._pygame
        size = (self._renderer.width, self._renderer.height)
        canvas = pygame.image.frombuffer(picture.tobytes(), size, "BGRA")
        margin = size[1] // 40
        line_height = self._font.get_linesize()
        for k, line in enumerate(self.instruments()):
            for offset, colour in ((2, SHADE), (0, INK)):
                text = self._font.render(line, True, colour)
                canvas.blit(text, (margin + offset, margin + offset + k * line_height))
        wide, high = self._screen.get_size()
        scale = min(wide / size[0], high / size[1])
        fitted = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        if fitted != size:
            canvas = pygame.transform.smoothscale(canvas, fitted)
        self._screen.fill(SHADE)
        self._screen.blit(canvas, ((wide - fitted[0]) // 2, (high - fitted[1]) // 2))
        pygame.display.flip()

    def instruments(self) -> list[str]:
        """Return the lines of text over the picture."""
        race = self.race
        x, y, z = race.car[VELOCITY : VELOCITY + 3]
        speed = 3.6 * float(np.sqrt(x * x + y * y + z * z))
        gear = int(race.car[GEAR])
        lines = [
            f"{speed:4.0f} km/h   gear {gear if gear else 'R'}",
            f"{race.race_time_ms / 1000:6.2f} s   checkpoint {race.gates_passed}/{race.gates_total}",
        ]
        if race.finished:
            lines += [f"FINISH {race.race_time_ms / 1000:.2f} s", "R: again   Esc: end"]
        elif race.race_time_ms < 0:
            lines += ["arrows or WASD, R restart, Enter respawn, C camera, Esc end"]
        return lines
