"""Settings of a game: how it is played, where it listens, and how the simulator stands in for it.

Names and defaults follow the public training configurations of TMNF agents, with the unit in the name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from tmrl_ray.config.settings import Settings

Camera = Literal[1, 2, 3]
Pixels = Annotated[int, Field(ge=1, le=4096)]
Port = Annotated[int, Field(ge=1, le=65535)]


class GameSettings(Settings):
    """How a game is played by whoever drives it."""

    decision_period_ms: Annotated[int, Field(ge=10, le=1000, multiple_of=10)] = 50
    """Race time between two decisions, a multiple of the 10 ms tick."""
    frame_size: tuple[Pixels, Pixels] | None = (64, 64)
    """Width and height of the picture in pixels; null: no picture is asked for, which is much faster."""
    grey: bool = True
    """Grey pictures (H, W) when true, BGRA (H, W, 4) when false."""
    camera: Camera = 2
    """1 far, 2 near chase, 3 internal."""
    running_speed: PositiveFloat = 80.0
    """How many times faster than real time the game may run; the simulator runs as fast as it is driven."""


class Patience(Settings):
    """How long to wait for a game before giving it up."""

    connect_s: PositiveFloat = 10.0
    """For a connection to be accepted."""
    greeting_s: PositiveFloat = 120.0
    """For the game to say hello on a new connection: a game that is starting does so in its menus."""
    load_s: PositiveFloat = 60.0
    """For a map to be loaded and its race to be at the start line."""
    answer_s: PositiveFloat = 10.0
    """For anything else: the next decision of a race, a picture, a state."""


class LaunchSettings(Settings):
    """How a game is started."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """The program and its arguments; {port} in any of them becomes the port. No shell reads it."""
    directory: Path | None = None
    """The folder to start in; null: the present one."""
    environment: dict[str, str] = {}
    """Variables besides those of this process, for example WINEPREFIX."""
    ready_s: PositiveFloat = 120.0
    """How long the game may take until it accepts a connection; a real one takes its time on a cold disk."""


class ConnectionSettings(Settings):
    """Where a game listens, and how patient we are with it."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Host name or address of the machine on which the game runs."""
    port: Port = 8478
    """TCP port of the game's plugin, or of ``tmrl-ray game serve``. Further instances take the ports after it: in
    training this one is the evaluator's, and those of the collectors follow."""
    launch: LaunchSettings | None = None
    """How to start the game, which is ended afterwards; null: somebody else starts and ends it."""
    player: str | None = None
    """Name of the player's account that the real game logs in with; null: the game's own choice."""
    patience: Patience = Patience()
    """How long to wait for it."""


class SimulatorSettings(Settings):
    """How the simulator stands in for the game; not used while ``connection`` names another game."""

    tuning: Path | None = None
    """JSON file of the car's constants, as ``tmrl-ray game calibrate`` writes it; null: the shipped ones."""
    look_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Seed of the visual randomisation, another look in every race; null: every race looks the same."""
