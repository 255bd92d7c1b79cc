"""Drives one race with any policy and yields its steps.

The collector, the evaluator and ``tmrl-ray drive`` are loops around this one::

    race = rollout(game, policy, line)
    for step in race:
        store(step)
    print(race.end.how, race.end.race_time_ms)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.errors import GameLostError
from tmrl_ray.game.interface import Game, Moment
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.episode import DEFAULT_CUT_OFFS, Episode, SavedState
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import ReferenceLine

Floats = NDArray[np.float32]
Frame = NDArray[np.uint8]


class Decision(NamedTuple):
    """What a policy chose."""

    action: int
    """Index into ``ACTIONS``."""
    greedy: bool = True
    """Whether the action is the one that the policy holds for the best, chosen by chance or not."""
    q_values: Floats | None = None
    """(A,) what the policy expects of each action; None: it has no such estimate."""


class Policy(Protocol):
    """Acts on what the agent may see. One that remembers, a stack of frames say, is reset by its owner."""

    def act(self, frame: Frame | None, floats: Floats) -> Decision:
        """Choose for the picture (H, W) or (H, W, 4), None when the game draws none, and the floats (F,)."""


@runtime_checkable
class Driver(Protocol):
    """Acts on what only the game knows: a scripted driver."""

    def drive(self, moment: Moment, progress: Progress) -> Decision:
        """Choose for this moment of the race and the car's progress along the reference line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One decision and what it led to. The observation is the one before it; the next step has the one after."""

    frame: Frame | None
    floats: Floats
    """(F,)."""
    decision: Decision
    terms: Floats
    """(R,) the terms of the reward for what the decision led to."""
    race_time_ms: int
    """Race clock at the decision."""
    zone: int
    """Zone of the reference line at the decision."""
    metres: float
    """Progress along the line at the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceEnd:
    """How a race ended, what was seen last, and its figures."""

    how: Literal["finish", "cut_off", "lost"]
    """``finish``: terminal. ``cut_off``: given up by us, values go on from the last observation. ``lost``: the game
    died while it carried out a decision, which is therefore no step; nothing is known past the last observation."""
    cut_off: Literal["stuck", "time"] | None
    """Which cut-off it was."""
    lost: GameLostError | None
    """What happened to the game."""
    frame: Frame | None
    """The picture after the last step."""
    floats: Floats
    """(F,) the floats after the last step."""
    race_time_ms: int
    """Race clock at the end; at the finish the finish time, exact to the tick."""
    started_ms: int
    """Race clock at the first decision: 0 at the start line."""
    from_start_line: bool
    """Whether the race began at the start line, so that its time is a time of the whole race."""
    split_times_ms: tuple[int, ...]
    """Race clock at each checkpoint passed, the finish last."""
    steps: int
    metres: float
    """Progress along the line, the line's length at the finish."""
    furthest_zone: int
    furthest_share: float
    """The furthest zone as a share of the line, 0 to 1."""
    wall_s: float
    """Seconds that the race took, the policy and whoever consumed the steps included."""

    @property
    def finish_time_ms(self) -> int | None:
        """The time of the whole race; None unless it began at the start line and ended at the finish."""
        return self.race_time_ms if self.how == "finish" and self.from_start_line else None


class Rollout(Iterator[Step]):
    """A race being driven: iterate over its steps, then read ``end``. See :func:`rollout`."""

    def __init__(self, game: Game, policy: Policy | Driver, episode: Episode, start: SavedState | None) -> None:
        self.episode = episode
        self.moment: Moment | None = None
        """The game after the last step."""
        self._game = game
        self._policy = policy
        self._start = start
        self._end: RaceEnd | None = None
        self._steps = 0
        self._begun_s = time.perf_counter()
        self._run = self._drive()

    def __iter__(self) -> Rollout:
        return self

    def __next__(self) -> Step:
        return next(self._run)

    @property
    def end(self) -> RaceEnd:
        """How the race ended.

        Raises:
            RuntimeError: the race goes on: steps have not been asked for until there were no more.
        """
        if self._end is None:
            raise RuntimeError(f"the race has not ended, it is at step {self._steps}")
        return self._end

    def save(self) -> SavedState:
        """Return the race as it is now, to start another one from here."""
        if self.moment is None:
            raise RuntimeError("the race has not begun: ask for its first step")
        return self.episode.save(self.moment)

    def _drive(self) -> Iterator[Step]:
        episode, game = self.episode, self._game
        moment = self.moment = game.start_race(None if self._start is None else self._start.state)
        floats = episode.begin(moment, self._start)
        while episode.ending is None:
            decision = self._choose(moment, floats)
            race_time_ms, zone, metres = moment.race_time_ms, episode.progress.zone, episode.progress.metres
            try:
                after = game.step(ACTIONS[decision.action])
            except GameLostError as error:
                self._end = self._race_end(moment, floats, lost=error)
                return
            outcome = episode.advance(decision.action, after)
            step = Step(moment.frame, floats, decision, outcome.terms, race_time_ms, zone, metres)
            self.moment, moment, floats = after, after, outcome.floats
            self._steps += 1
            if outcome.ending is not None:
                self._end = self._race_end(moment, floats)
            yield step

    def _choose(self, moment: Moment, floats: Floats) -> Decision:
        if isinstance(self._policy, Driver):
            return self._policy.drive(moment, self.episode.progress)
        return self._policy.act(moment.frame, floats)

    def _race_end(self, moment: Moment, floats: Floats, lost: GameLostError | None = None) -> RaceEnd:
        episode = self.episode
        progress, line, ending = episode.progress, episode.line, episode.ending
        return RaceEnd(
            how="lost" if lost is not None else "finish" if ending == "finish" else "cut_off",
            cut_off=ending if ending in {"stuck", "time"} else None,
            lost=lost,
            frame=moment.frame,
            floats=floats,
            race_time_ms=moment.race_time_ms,
            started_ms=episode.started_ms,
            from_start_line=self._start is None,
            split_times_ms=_split_times_ms(moment),
            steps=self._steps,
            metres=progress.metres,
            furthest_zone=progress.furthest_zone,
            furthest_share=max(0.0, (progress.furthest_zone - line.first_zone) / (line.last_zone - line.first_zone)),
            wall_s=time.perf_counter() - self._begun_s,
        )


def rollout(
    game: Game,
    policy: Policy | Driver,
    line: ReferenceLine,
    *,
    layout: ObservationLayout | None = None,
    cut_offs: CutOffSettings = DEFAULT_CUT_OFFS,
    start: SavedState | None = None,
) -> Rollout:
    """Drive one race on the map that ``game`` has loaded.

    Nothing happens before the first step is asked for. A game that is lost during the race ends it; one that is lost
    or not there when the race should start raises, since there is nothing to keep.

    Args:
        game: with the map loaded.
        policy: chooses the actions.
        line: the reference line of the map.
        layout: which floats are observed; None: the default ones.
        cut_offs: when the race is given up.
        start: where the race starts; None: at the start line.

    Returns:
        An iterator over the steps, which knows the end of the race once there are no more.
    """
    episode = Episode(line, ObservationLayout() if layout is None else layout, cut_offs)
    return Rollout(game, policy, episode, start)


def _split_times_ms(moment: Moment) -> tuple[int, ...]:
    passed = sorted(int(time_ms) for time_ms in moment.state.cp_times if time_ms >= 0)
    if moment.finished:  # the client keeps the game from ending, so the state may not know the last one
        passed = [*passed[: moment.checkpoints_total - 1], moment.race_time_ms]
    return tuple(passed)
