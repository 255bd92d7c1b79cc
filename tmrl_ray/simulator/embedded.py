"""A game in this process: the simulator behind the seam of ``game.interface``, without sockets.

It takes the same steps as the server, with the same code, so that a decision made here and one made through a socket
see the same bytes. ``tests/contract`` holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import GameRefusedError, InvalidInputError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings, Moment
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.look import Look, random_look
from tmrl_ray.simulator.race import Race
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning


class EmbeddedGame:
    """A simulated game; see :class:`~tmrl_ray.game.interface.Game` for the loop in which it is used.

    Args:
        settings: how the game is played.
        tuning: how the car drives.
        look: colours and light of the pictures; None: the standard look.
        look_seed: seed of random looks, another in every race; None: every race has ``look``.
        find_track: finds the track that a map's name stands for.
    """

    def __init__(
        self,
        settings: GameSettings | None = None,
        *,
        tuning: CarTuning | None = None,
        look: Look | None = None,
        look_seed: int | None = None,
        find_track: Callable[[str], Track] = load_track,
    ) -> None:
        self.settings = settings or GameSettings()
        self._tuning = tuning
        self._look = look
        self._look_seed = look_seed
        self._races = 0
        self._find_track = find_track
        self._map: str | None = None
        self._race: Race | None = None
        self._renderer: Renderer | None = None

    @property
    def race(self) -> Race:
        """The race that is on, for whoever wants to see more of it than a client of the game can.

        Raises:
            RuntimeError: no map is loaded.
        """
        if self._race is None:
            raise RuntimeError("no map is loaded: call load_map first")
        return self._race

    @property
    def look(self) -> Look | None:
        """The look of the pictures, None for the standard one; may be set between races."""
        return self._look

    @look.setter
    def look(self, look: Look | None) -> None:
        self._look = look
        if self._race is not None:
            self._renderer = self._new_renderer(self._race.track)

    def load_map(self, name: str) -> None:
        """Load a track by its name, or by the path of a track file; see :class:`~tmrl_ray.game.interface.Game`.

        Raises:
            GameRefusedError: there is no such track.
        """
        if name == self._map:
            return
        try:
            track = self._find_track(name)
        except InvalidInputError as error:
            raise GameRefusedError(f"the simulator has no map {name!r}: {error}") from error
        self._race = Race(track, self._tuning)
        self._renderer = self._new_renderer(track)
        self._map = name

    def _new_renderer(self, track: Track) -> Renderer | None:
        size = self.settings.frame_size
        return Renderer(track, size[0], size[1], self._look) if size is not None else None

    def start_race(self, state: bytes | None = None) -> Moment:
        """Start a race from the start line, or from ``state``; see :class:`~tmrl_ray.game.interface.Game`.

        Raises:
            StateError: the state is not one of a race on this track.
        """
        race = self.race
        if state is not None:
            race.load_state(state)
        else:
            race.restart()
            while race.race_time_ms < 0:
                race.advance(-race.race_time_ms, stop_ms=0)
        if self._look_seed is not None:
            self.look = random_look(self._look_seed + self._races)
        self._races += 1
        return self._moment(race)

    def step(self, inputs: Inputs) -> Moment:
        """Hold ``inputs`` for one decision period; see :class:`~tmrl_ray.game.interface.Game`."""
        race = self.race
        if race.finished:
            raise RuntimeError("the race is over: call start_race first")
        race.set_inputs(inputs)
        period_ms = self.settings.decision_period_ms
        race.advance(period_ms)
        while not (race.finished or race.run_step_due(period_ms)):
            race.advance(period_ms)  # a gate was passed within the period
        return self._moment(race)

    def close(self) -> None:
        """Let go of the track and its buffers."""
        self._race = self._renderer = self._map = None

    def _moment(self, race: Race) -> Moment:
        return Moment(
            race_time_ms=race.race_time_ms,
            state=race.save_state(),
            frame=self._frame(race),
            checkpoints_passed=race.gates_passed,
            checkpoints_total=race.gates_total,
            finished=race.finished,
        )

    def _frame(self, race: Race) -> NDArray[np.uint8] | None:
        if self._renderer is None:
            return None
        draw = self._renderer.grey if self.settings.grey else self._renderer.bgra
        return draw(race.car, self.settings.camera)
