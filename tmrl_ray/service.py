"""The composition root: makes games and drivers of a configuration.

The only module that knows every part; the parts know each other by their interfaces.
"""

from __future__ import annotations

from pathlib import Path

from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import RELEASED
from tmrl_ray.game.interface import Game
from tmrl_ray.game.session import SocketGame
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track, track_names
from tmrl_ray.simulator.look import random_look
from tmrl_ray.simulator.tuning import CarTuning


def open_game(config: RunConfig) -> Game:
    """Connect to the game that a configuration names, or make a simulated one in this process.

    Raises:
        GameUnavailableError: nothing accepts a connection there.
        GameLostError: what does is no game of ours.
    """
    if config.connection is None:
        seed = config.simulator.look_seed
        look = None if seed is None else random_look(seed)
        return EmbeddedGame(config.game, tuning=load_tuning(config.simulator.tuning), look=look)
    address = Address(config.connection.host, config.connection.port)
    return SocketGame.connect(
        address, config.game, patience=config.connection.patience, player=config.connection.player
    )


def load_tuning(path: Path | None) -> CarTuning:
    """Return the constants of the car that a file gives; None: the shipped ones.

    Raises:
        ConfigError: the file is no tuning.
    """
    return CarTuning() if path is None else load_settings(CarTuning, path)


def compile_kernels(track: str | None = None) -> None:
    """Compile what a simulated race and its pictures need, or load it from the disk, so that nobody waits for it later.

    Args:
        track: the track to do it on, which is loaded by it; None: any.

    Raises:
        TrackError: there is no such track.
    """
    name = track or track_names()[0]
    load_track(name)
    game = EmbeddedGame(GameSettings(frame_size=(16, 16), grey=False))
    game.load_map(name)
    game.start_race()
    game.step(RELEASED)
    game.close()
