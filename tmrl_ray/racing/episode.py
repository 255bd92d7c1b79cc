"""One race as the agent lives it: moments of the game in; observations, reward terms and the end of the race out.

The rollout and the gymnasium environment are two ways to drive the same episode.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.game.interface import Moment
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import Point, ReferenceLine
from tmrl_ray.racing.reward import measure_terms

Floats = NDArray[np.float32]

Ending = Literal["finish", "stuck", "time"]
"""Crossed the finish; too long without a new zone; too long altogether. The last two are cut-offs."""

DEFAULT_CUT_OFFS = CutOffSettings()


@dataclass(frozen=True, slots=True)
class SavedState:
    """A moment of a race from which another race can start, with all that the agent remembers at it."""

    state: bytes
    """The simulation state, about 8.4 kB."""
    race_time_ms: int
    zone: int
    """Zone of the reference line."""
    previous_actions: tuple[int, ...] = ()
    """The last decisions, oldest first."""
    gearbox_count: int = 0
    """Decisions with a busy gearbox, up to the one before this moment."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one action led to."""

    floats: Floats
    """(F,) the observation after it."""
    terms: Floats
    """(R,) the terms of its reward."""
    ending: Ending | None
    """How it ended the race; None: the race goes on."""


class Episode:
    """The agent's view of the race that a game runs.

    The loop in which it is used::

        floats = episode.begin(game.start_race())
        while episode.ending is None:
            action = choose(floats)
            floats = episode.advance(action, game.step(ACTIONS[action])).floats

    Args:
        line: the reference line of the map.
        layout: which floats are observed.
        cut_offs: when a race is given up.
    """

    def __init__(
        self, line: ReferenceLine, layout: ObservationLayout, cut_offs: CutOffSettings = DEFAULT_CUT_OFFS
    ) -> None:
        self.line = line
        self.layout = layout
        self.cut_offs = cut_offs
        self.progress = Progress(line)
        self.ending: Ending | None = None
        self.race_time_ms = 0
        self.started_ms = 0
        self._observer = Observer(line, layout)
        self._floats = np.zeros(layout.size, dtype=np.float32)
        self._actions: deque[int] = deque(maxlen=layout.settings.previous_actions)
        self._new_zone_ms = 0

    def begin(self, moment: Moment, start: SavedState | None = None) -> Floats:
        """Start with the first moment of a race, from the start line or from ``start``, and return its floats (F,)."""
        self.ending = None
        self.started_ms = self.race_time_ms = self._new_zone_ms = moment.race_time_ms
        self._actions.clear()
        if start is None:
            self.progress.begin(_position(moment))
            self._observer.begin()
        else:
            self.progress.begin(_position(moment), start.zone)
            self._actions.extend(start.previous_actions)
            self._observer.begin(start.previous_actions, gearbox_count=start.gearbox_count)
        return self._observe(moment)

    def advance(self, action: int, moment: Moment) -> Outcome:
        """Take in the ``moment`` to which ``action`` led."""
        before, metres, furthest = self._floats, self.progress.metres, self.progress.furthest_zone
        elapsed_ms = moment.race_time_ms - self.race_time_ms
        self.race_time_ms = moment.race_time_ms
        if moment.finished:
            self.progress.finish()
        else:
            self.progress.update(_position(moment))
        if self.progress.furthest_zone > furthest:
            self._new_zone_ms = self.race_time_ms
        self._actions.append(action)
        self._observer.remember(action)
        floats = self._observe(moment)
        advanced_m = self.progress.metres - metres
        terms = measure_terms(
            self.layout,
            before,
            floats,
            action=action,
            elapsed_ms=elapsed_ms,
            advanced_m=advanced_m,
            finished=moment.finished,
        )
        self.ending = self._ending(moment)
        return Outcome(floats, terms, self.ending)

    def save(self, moment: Moment) -> SavedState:
        """Return what is needed to start a race at ``moment``, the last one that was taken in."""
        gearbox_count = int(self._floats[self.layout.gearbox_count][0])
        return SavedState(
            state=moment.state.to_bytes(),
            race_time_ms=moment.race_time_ms,
            zone=self.progress.zone,
            previous_actions=tuple(self._actions),
            gearbox_count=max(0, gearbox_count - 1),  # the moment itself is counted when it is observed again
        )

    def _observe(self, moment: Moment) -> Floats:
        self._floats = np.empty(self.layout.size, dtype=np.float32)
        self._observer.observe(moment.state, self.progress, self._floats)
        return self._floats

    def _ending(self, moment: Moment) -> Ending | None:
        if moment.finished:
            return "finish"
        if self.race_time_ms >= self.cut_offs.race_ms:
            return "time"
        if self.race_time_ms - self._new_zone_ms >= self.cut_offs.no_progress_ms:
            return "stuck"
        return None


def _position(moment: Moment) -> Point:
    x, y, z = moment.state.position.tolist()
    return x, y, z
