"""Films races: keeps pictures, inputs and states of a game while somebody drives it, and writes them as a race.

:class:`FilmedGame` is a :class:`~tmrl_ray.game.interface.Game` around another one. Whoever drives sees decisions as
ever; between them the game is stepped as finely as the pictures need it. The game stands still while a moment is
looked at, so that no picture belongs to another tick than its label, and the moment of the finish is kept too::

    with RaceWriter(root, "loop", "human-0001") as writer:
        film = Film(line, layout, FilmSpeed.of(fps=20, period_ms=50), writer.add)
        race = rollout(FilmedGame(game, film), driver, line)
        for _ in race:
            pass
        writer.commit(film.race(facts))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.game import GameSettings
from tmrl_ray.datasets.folder import file_name
from tmrl_ray.datasets.race import Entry, Race, RaceFacts, action_of_keys, encode, keys_of
from tmrl_ray.datasets.states import RaceStates
from tmrl_ray.errors import DatasetError, GameProtocolError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import TICK_MS, Game, Moment
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import ReferenceLine


@dataclass(frozen=True, slots=True)
class FilmSpeed:
    """How often pictures are taken, and how finely the game must be stepped for it."""

    interval_ms: float
    """Between two pictures; each is taken at the tick nearest to its time."""
    period_ms: int
    """Between two decisions."""
    step_ms: int
    """Between two moments at which the game stands still; the period is a multiple of it."""

    @classmethod
    def of(cls, *, fps: float, period_ms: int) -> FilmSpeed:
        """Return how to film at a frame rate.

        Raises:
            DatasetError: there are fewer ticks than pictures.
        """
        interval_ms = 1000 / fps
        if interval_ms < TICK_MS:
            raise DatasetError(f"{fps:g} pictures per second: the game has {1000 // TICK_MS} ticks per second")
        whole = round(interval_ms)
        on_ticks = abs(whole - interval_ms) < 1e-9 and whole % TICK_MS == 0
        return cls(float(whole) if on_ticks else interval_ms, period_ms, gcd(whole, period_ms) if on_ticks else TICK_MS)

    def due_ms(self, number: int) -> int:
        """Return the race time of a picture."""
        return TICK_MS * int(number * self.interval_ms / TICK_MS + 0.5)


class Film:
    """What is kept of one race while it is driven.

    Args:
        line: the reference line of the map.
        layout: the observation that the states are kept for.
        speed: how often pictures are taken.
        add: writes a picture, by its file's name.
    """

    def __init__(
        self, line: ReferenceLine, layout: ObservationLayout, speed: FilmSpeed, add: Callable[[str, bytes], None]
    ) -> None:
        self.speed = speed
        self._add = add
        self._layout = layout
        self._progress = Progress(line)
        self._observer = Observer(line, layout)
        self._busy: dict[int, int] = {}
        self._moments: list[tuple[int, NDArray[np.float32]]] = []
        self._entries: list[Entry] = []
        self._held: list[Inputs] = []
        self._last: Moment | None = None

    def begin(self, moment: Moment) -> None:
        """Take in the first moment of the race."""
        if moment.race_time_ms != 0:
            raise GameProtocolError(f"a race to be filmed begins at 0 ms, this one at {moment.race_time_ms} ms")
        self._progress.begin(_position(moment))
        self._take(moment)

    def advance(self, inputs: Inputs, moment: Moment) -> None:
        """Take in the moment to which ``inputs`` led, and write its picture if one is due."""
        if moment.finished:
            self._progress.finish()
        else:
            self._progress.update(_position(moment))
        self._held += [inputs] * ((moment.race_time_ms - TICK_MS * len(self._held)) // TICK_MS)
        self._take(moment)

    def race(self, facts: RaceFacts) -> Race:
        """Return the race, whose last picture is written now if it was not due before."""
        last = self._last
        if last is None:
            raise RuntimeError("nothing was filmed")
        if self._entries[-1].time_ms != last.race_time_ms:
            self._picture(last)
        if self._moments[-1][0] != last.race_time_ms:
            self._moments.append((last.race_time_ms, self._row(last)))
        keys = [keys_of(inputs) for inputs in self._held]
        timeline = np.array([action_of_keys(each) for each in keys], np.uint8)
        entries = tuple(
            replace(
                each,
                action=None if timeline[tick] == NO_ACTION else int(timeline[tick]),
                keys=keys[tick],
            )
            if (tick := each.time_ms // TICK_MS) < len(keys)
            else each
            for each in self._entries
        )
        assert last.frame is not None
        height, width = last.frame.shape[:2]
        facts = replace(
            facts,
            interval_ms=self.speed.interval_ms,
            size=(width, height),
            race_time_ms=last.race_time_ms,
            finished=last.finished,
            layout_hash=self._layout.hash,
        )
        return Race(facts, entries, (), timeline, self._states())

    def _take(self, moment: Moment) -> None:
        self._last, time_ms = moment, moment.race_time_ms
        row = self._row(moment)
        picture_due = time_ms >= self.speed.due_ms(len(self._entries))
        if picture_due:
            self._picture(moment)
        if picture_due or time_ms % self.speed.period_ms == 0:
            self._moments.append((time_ms, row))

    def _picture(self, moment: Moment) -> None:
        if moment.frame is None or moment.frame.ndim != 2:
            raise GameProtocolError("a race to be filmed needs grey pictures, the game gave none")
        step = len(self._entries)
        name = file_name(step, moment.race_time_ms)
        self._add(name, encode(moment.frame))
        self._entries.append(Entry(name, step, moment.race_time_ms))

    def _row(self, moment: Moment) -> NDArray[np.float32]:
        """Return what is kept of a moment, in the order of ``_states``."""
        state, time_ms, layout = moment.state, moment.race_time_ms, self._layout
        floats = np.empty(layout.size, np.float32)
        self._observer.observe(state, self._progress, floats)
        busy = self._busy.get(time_ms - self.speed.period_ms, 0) + 1 if state.gearbox_state else 0
        self._busy[time_ms] = busy
        floats[layout.gearbox_count] = busy
        return np.concatenate(
            [
                state.position,
                state.velocity,
                state.rotation.T.ravel(),
                state.angular_velocity,
                (self._progress.zone, self._progress.metres),
                floats,
            ]
        ).astype(np.float32)

    def _states(self) -> RaceStates:
        layout = self._layout
        rows = np.array([row for _, row in self._moments])
        floats = rows[:, 20:]
        return RaceStates(
            times_ms=np.array([time_ms for time_ms, _ in self._moments], np.int32),
            position=rows[:, :3],
            velocity=rows[:, 3:6],
            rotation=rows[:, 6:15],
            angular_velocity=rows[:, 15:18],
            zone=rows[:, 18:19],
            metres=rows[:, 19:20],
            gear_and_wheels=floats[:, layout.wheel_sliding.start : layout.wheel_materials.stop],
            way_points=floats[:, layout.way_points],
            metres_left=floats[:, layout.metres_left],
            freewheeling=floats[:, layout.freewheeling],
        )


class FilmedGame:
    """A game that is filmed while it is driven; see :class:`~tmrl_ray.game.interface.Game`.

    Args:
        game: steps as finely as the film needs: its decision period is the film's step.
        film: takes the moments in.
    """

    def __init__(self, game: Game, film: Film) -> None:
        if game.settings.decision_period_ms != film.speed.step_ms:
            raise ValueError(f"the game steps {game.settings.decision_period_ms} ms, not {film.speed.step_ms} ms")
        self.settings: GameSettings = game.settings.replace(decision_period_ms=film.speed.period_ms)
        self._game = game
        self._film = film
        self._time_ms = 0

    def load_map(self, name: str) -> None:
        """See :class:`~tmrl_ray.game.interface.Game`."""
        self._game.load_map(name)

    def start_race(self, state: bytes | None = None) -> Moment:
        """See :class:`~tmrl_ray.game.interface.Game`; only races from the start line are filmed."""
        if state is not None:
            raise ValueError("only races from the start line are filmed")
        moment = self._game.start_race()
        self._film.begin(moment)
        self._time_ms = moment.race_time_ms
        return moment

    def step(self, inputs: Inputs) -> Moment:
        """See :class:`~tmrl_ray.game.interface.Game`."""
        end_ms = self._time_ms + self._film.speed.period_ms
        while True:
            moment = self._game.step(inputs)
            if not self._time_ms < moment.race_time_ms <= end_ms:
                raise GameProtocolError(
                    f"the game went from {self._time_ms} to {moment.race_time_ms} ms in a step to at most {end_ms} ms: "
                    "pictures would be labelled with other ticks"
                )
            self._time_ms = moment.race_time_ms
            self._film.advance(inputs, moment)
            if moment.finished or moment.race_time_ms == end_ms:
                return moment

    def close(self) -> None:
        """See :class:`~tmrl_ray.game.interface.Game`."""
        self._game.close()


def _position(moment: Moment) -> tuple[float, float, float]:
    x, y, z = moment.state.position.tolist()
    return x, y, z
