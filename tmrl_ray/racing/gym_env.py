"""A gymnasium environment over a race: the same observation and reward as a rollout's.

Importing this module registers it, as gymnasium has its environments do; either line makes one::

    env = gymnasium.make("tmrl_ray.racing.gym_env:tmrl_ray/TrackMania-v0", map_name="loop")
    env = TrackManiaEnv("loop", game=SocketGame(...), line=load_line(...))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from tmrl_ray.config.race import CutOffSettings, ObservationSettings, RewardSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.interface import Game, GameSettings, Moment
from tmrl_ray.racing.actions import ACTION_COUNT, ACTIONS
from tmrl_ray.racing.episode import Episode, SavedState
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_track, load_line
from tmrl_ray.racing.reward import Term, weigh, weight_vector

ENV_ID = "tmrl_ray/TrackMania-v0"

FLOAT_LIMIT = 1e6
"""No float of an observation comes near: revolutions go up to 11,000, a car that falls for 300 s is 1,100 km away."""

Observation = dict[str, Any]
"""Arrays by name."""


class TrackManiaEnv(gymnasium.Env[Observation, np.int64]):
    """One race after another on one map.

    Observations are dictionaries: ``frame``, the picture as (1, H, W) grey or (H, W, 4) BGRA, left out when the game
    draws none, and ``floats`` (F,), not normalised. An episode is terminated at the finish and truncated by a
    cut-off. ``reset(options={"start": saved_state})`` starts on the way, from a
    :class:`~tmrl_ray.racing.episode.SavedState`. The simulator knows no chance: a seed changes nothing in it.

    Args:
        map_name: what the game loads.
        game: the game; None: a simulator in this process, which knows ``map_name`` as a track.
        line: the reference line or its ``.npy`` file; None: the centre line of the simulator's track.
        observation: which floats there are.
        reward: the weight of each term.
        cut_offs: when a race is given up.
        game_settings: how the simulator is played; not with ``game``, which has its own.
        render_mode: ``rgb_array``: ``render`` returns the picture that was observed last.

    Raises:
        InvalidInputError: arguments that contradict each other.
        GameError: the game has no such map, or cannot be reached.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(
        self,
        map_name: str = "loop",
        *,
        game: Game | None = None,
        line: ReferenceLine | str | Path | None = None,
        observation: ObservationSettings | None = None,
        reward: RewardSettings | None = None,
        cut_offs: CutOffSettings | None = None,
        game_settings: GameSettings | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in {None, *self.metadata["render_modes"]}:
            raise InvalidInputError(f"render_mode is {render_mode!r}; allowed: None and 'rgb_array'")
        if game is not None and game_settings is not None:
            raise InvalidInputError("a game that is given has its own settings: leave out game_settings")
        if game is not None and line is None:
            raise InvalidInputError("a game that is given needs a reference line of its map: give line")
        self.render_mode = render_mode
        self._game = _simulator(game_settings) if game is None else game
        self._game.load_map(map_name)
        size = self._game.settings.frame_size
        if render_mode is not None and size is None:
            raise InvalidInputError("the game draws no picture to render: set frame_size in its settings")
        layout = ObservationLayout() if observation is None else ObservationLayout(observation)
        self._weights = weight_vector(RewardSettings() if reward is None else reward)
        self._episode = Episode(_line(line, map_name), layout, CutOffSettings() if cut_offs is None else cut_offs)
        self._moment: Moment | None = None
        self.metadata = {**self.metadata, "render_fps": round(1000 / self._game.settings.decision_period_ms)}
        self.action_space = spaces.Discrete(ACTION_COUNT)
        parts: dict[str, spaces.Space[Any]] = {
            "floats": spaces.Box(-FLOAT_LIMIT, FLOAT_LIMIT, (layout.size,), np.float32)
        }
        if size is not None:
            shape = (1, size[1], size[0]) if self._game.settings.grey else (size[1], size[0], 4)
            parts["frame"] = spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = spaces.Dict(parts)

    @property
    def layout(self) -> ObservationLayout:
        """Where each quantity stands in ``floats``."""
        return self._episode.layout

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a race, at the start line or at ``options["start"]``."""
        super().reset(seed=seed)
        start: SavedState | None = (options or {}).get("start")
        self._moment = self._game.start_race(None if start is None else start.state)
        floats = self._episode.begin(self._moment, start)
        return self._observation(self._moment, floats), self._info(self._moment)

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold the action's keys for one decision period."""
        if self._episode.ending is not None:
            raise RuntimeError("the race is over: call reset first")
        if not 0 <= action < len(ACTIONS):
            raise InvalidInputError(f"action is {action}; allowed: 0 to {len(ACTIONS) - 1}")
        moment = self._moment = self._game.step(ACTIONS[int(action)])
        outcome = self._episode.advance(int(action), moment)
        info = self._info(moment)
        info["reward_terms"] = {term.name.lower(): float(outcome.terms[term]) for term in Term}
        if outcome.ending is not None:
            info["ending"] = outcome.ending
        terminated = outcome.ending == "finish"
        truncated = outcome.ending in {"stuck", "time"}
        reward = float(weigh(outcome.terms, self._weights))
        return self._observation(moment, outcome.floats), reward, terminated, truncated, info

    def save(self) -> SavedState:
        """Return the race as it is now, for ``reset(options={"start": ...})``."""
        if self._moment is None:
            raise RuntimeError("the race has not begun: call reset first")
        return self._episode.save(self._moment)

    def render(self) -> NDArray[np.uint8] | None:
        """Return the picture that was observed last, (H, W, 3) red, green, blue."""
        if self.render_mode is None or self._moment is None or self._moment.frame is None:
            return None
        frame = self._moment.frame
        if frame.ndim == 2:
            return np.repeat(frame[:, :, None], 3, axis=2)
        return np.ascontiguousarray(frame[:, :, 2::-1])

    def close(self) -> None:
        """Let go of the game."""
        self._game.close()

    def _observation(self, moment: Moment, floats: NDArray[np.float32]) -> Observation:
        if moment.frame is None:
            return {"floats": floats}
        frame = moment.frame[None] if moment.frame.ndim == 2 else moment.frame
        return {"floats": floats, "frame": frame}

    def _info(self, moment: Moment) -> dict[str, Any]:
        progress = self._episode.progress
        return {
            "race_time_ms": moment.race_time_ms,
            "zone": progress.zone,
            "metres": progress.metres,
            "checkpoints_passed": moment.checkpoints_passed,
        }


def _simulator(settings: GameSettings | None) -> Game:
    from tmrl_ray.simulator.embedded import EmbeddedGame  # only now: it brings numba

    return EmbeddedGame(GameSettings() if settings is None else settings)


def _line(line: ReferenceLine | str | Path | None, map_name: str) -> ReferenceLine:
    if isinstance(line, ReferenceLine):
        return line
    if line is not None:
        return load_line(Path(line))
    from tmrl_ray.simulator.library import load_track

    return line_of_track(load_track(map_name))


def register_env() -> None:
    """Make ``gymnasium.make`` know the environment; calling it again does nothing."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, entry_point=f"{__name__}:TrackManiaEnv")


register_env()
