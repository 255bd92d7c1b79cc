"""The composition root: makes games and drivers of a configuration.

The only module that knows every part; the parts know each other by their interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tmrl_ray.config.game import ConnectionSettings, GameSettings
from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.race import DriverSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import RELEASED
from tmrl_ray.game.interface import Game
from tmrl_ray.game.launch import Launch
from tmrl_ray.game.process import GameProcess
from tmrl_ray.game.scripts import Timeline
from tmrl_ray.game.session import SocketGame
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.car_limits import measure_limits
from tmrl_ray.racing.drivers import HumanDriver, PursuitDriver
from tmrl_ray.racing.driving_line import centre_line
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.rollout import Driver, Rollout, Step, rollout
from tmrl_ray.racing.speed_profile import speed_profile
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track, track_names
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning


@contextmanager
def open_game(config: RunConfig, track: Track | None = None) -> Iterator[Game]:
    """Yield the game that a configuration names: a simulated one in this process, or one behind a connection.

    A game that was started for it is ended, any other is left running.

    Args:
        config: what it says of game, connection and simulator.
        track: a track that the simulated game knows by its name, besides those that ship.

    Raises:
        GameUnavailableError: nothing accepts a connection there, or the game could not be started.
        GameLostError: what does is no game of ours.
    """
    with ExitStack() as stack:
        game = _embedded(config, track) if config.connection is None else _connected(config, config.connection, stack)
        stack.callback(game.close)
        yield game


def _embedded(config: RunConfig, track: Track | None) -> EmbeddedGame:
    def find_track(name: str) -> Track:
        return track if track is not None and name == track.name else load_track(name)

    simulator = config.simulator
    tuning = load_tuning(simulator.tuning)
    return EmbeddedGame(config.game, tuning=tuning, look_seed=simulator.look_seed, find_track=find_track)


def source_of(connection: ConnectionSettings, instance: int = 0) -> Launch | Address:
    """Return how to start a game, or the address of one that somebody else starts and ends.

    Args:
        connection: of the first instance.
        instance: which one; each has a port of its own.
    """
    launch, port = connection.launch, connection.port + instance
    if launch is None:
        return Address(connection.host, port)
    return Launch(
        command=launch.command,
        port=port,
        directory=launch.directory,
        environment=launch.environment,
        ready_s=launch.ready_s,
    )


def _connected(config: RunConfig, connection: ConnectionSettings, stack: ExitStack) -> SocketGame:
    source = source_of(connection)
    if isinstance(source, Address):
        return SocketGame.connect(source, config.game, patience=connection.patience, player=connection.player)
    process = GameProcess.start(source)
    stack.callback(process.end)
    return process.connect(config.game, patience=connection.patience, player=connection.player)


class ScriptedRaces:
    """Races of the configuration's scripted driver on one track.

    The loop in which it is used::

        with ScriptedRaces(config, load_track("loop")) as races:
            race = races.next_race()
            for step in race:
                show(step)
            print(race.end.finish_time_ms)

    Args:
        config: the game, the cut-offs and the driver.
        track: what is driven; a game behind a connection must have the same.
        map_name: what that game calls it; None: by the track's name.
    """

    def __init__(self, config: RunConfig, track: Track, map_name: str | None = None) -> None:
        self.track = track
        self.game: Game
        self.line = line_of_track(track, config.line)
        self._config = config
        self._layout = ObservationLayout(config.observation)
        self._driver = make_driver(config.driver, track, load_tuning(config.simulator.tuning))
        self._map_name = track.name if map_name is None else map_name

    def __enter__(self) -> Self:
        """Open the game.

        Raises:
            GameUnavailableError: nothing accepts a connection where the game should be.
            GameRefusedError: the game has no such map.
        """
        with ExitStack() as stack:
            self.game = stack.enter_context(open_game(self._config, self.track))
            self.game.load_map(self._map_name)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def next_race(self) -> Rollout:
        """Return the next race, which begins when its first step is asked for."""
        return rollout(self.game, self._driver, self.line, layout=self._layout, cut_offs=self._config.cut_offs)


def inputs_of(steps: Iterable[Step]) -> Timeline:
    """Return what was pressed in a race from the start line, to drive it again, film it or write it down."""
    return Timeline(tuple((step.race_time_ms, ACTIONS[step.decision.action]) for step in steps))


def make_driver(settings: DriverSettings, track: Track, tuning: CarTuning) -> Driver:
    """Return a scripted driver for a track."""
    line, limits = centre_line(track), measure_limits(tuning)
    if settings.kind == "human":
        return HumanDriver(line, limits, seed=settings.seed)
    return PursuitDriver(line, speed_profile(line, limits), limits)


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
