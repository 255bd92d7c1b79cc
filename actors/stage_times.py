"""Where the time of a decision goes: to the game, the observation, the policy, or to storing the step."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import Game, Moment
from tmrl_ray.racing.rollout import Decision, Floats, Frame, Policy


@dataclass(slots=True)
class StageTimes:
    """Seconds by stage, added up over a race."""

    game_s: float = 0.0
    """The game until its next picture."""
    policy_s: float = 0.0
    race_s: float = 0.0
    """All of the race's steps: game, policy and observation."""
    store_s: float = 0.0
    """Putting steps into chunks, and encoding these."""

    def per_decision_ms(self, decisions: int) -> dict[str, float]:
        """Return the mean of each stage in milliseconds; nothing before the first decision."""
        if not decisions:
            return {}
        seconds = {
            "game": self.game_s,
            "observe": max(0.0, self.race_s - self.game_s - self.policy_s),
            "policy": self.policy_s,
            "store": self.store_s,
        }
        return {stage: 1000 * total / decisions for stage, total in seconds.items()}


class TimedGame:
    """A game whose steps are timed; see :class:`~tmrl_ray.game.interface.Game`.

    Args:
        game: that is played.
        times: where the time of its steps is added.
    """

    def __init__(self, game: Game, times: StageTimes) -> None:
        self.settings = game.settings
        self._game = game
        self._times = times

    def load_map(self, name: str) -> None:
        """Load a map."""
        self._game.load_map(name)

    def start_race(self, state: bytes | None = None) -> Moment:
        """Start a race; not a part of any decision."""
        begun_s = time.perf_counter()
        moment = self._game.start_race(state)
        self._times.race_s -= time.perf_counter() - begun_s
        return moment

    def step(self, inputs: Inputs) -> Moment:
        """Hold ``inputs`` for one decision period."""
        begun_s = time.perf_counter()
        moment = self._game.step(inputs)
        self._times.game_s += time.perf_counter() - begun_s
        return moment

    def close(self) -> None:
        """Let go of the game."""
        self._game.close()


class TimedPolicy:
    """A policy whose decisions are timed.

    Args:
        policy: that decides.
        times: where the time of its decisions is added.
    """

    def __init__(self, policy: Policy, times: StageTimes) -> None:
        self._policy = policy
        self._times = times

    def act(self, frame: Frame | None, floats: Floats) -> Decision:
        """Choose an action."""
        begun_s = time.perf_counter()
        decision = self._policy.act(frame, floats)
        self._times.policy_s += time.perf_counter() - begun_s
        return decision
