"""Races that a cloned policy drives in the simulator: what cloning is worth when its own actions have consequences.

In the first race on each map the policy takes its best action, so that it is always the same race; in the others it
draws actions by their probability, as the expert's differ too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.assembly import Agent
from pretrain.bc.bc_stage import BCStage
from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.pretrain import ClosedLoopSettings
from tmrl_ray.iqn.policy import FrameStack
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.rollout import Decision, RaceEnd, rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.tuning import CarTuning

Floats = NDArray[np.float32]


class ClonedPolicy:
    """A :class:`~tmrl_ray.racing.rollout.Policy` that does what was cloned.

    Args:
        stage: with the weights; is put into evaluation mode, on the CPU.
        stack: pictures that it sees at once.
        frame_size: width and height of a picture.
        seed: of the actions that are drawn.
    """

    def __init__(self, stage: BCStage, *, stack: int, frame_size: tuple[int, int], seed: int) -> None:
        self.greedy = False
        """Whether it takes its best action; else it draws one."""
        self._stage = stage.eval().cpu()
        self._frames = FrameStack(stack, frame_size)
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        """Forget what was seen: a race begins."""
        self._frames.reset()

    def act(self, frame: NDArray[np.uint8] | None, floats: Floats) -> Decision:
        """Choose for the picture (H, W) and the floats (F,)."""
        if frame is None:
            raise ValueError("this policy sees pictures, and was given none")
        frames = torch.from_numpy(self._frames.push(frame))
        logits = self._stage.driving_logits(frames, torch.from_numpy(floats[None]))
        chances = torch.softmax(logits.double(), dim=0).numpy()
        best = int(chances.argmax())
        drawn = best if self.greedy else int(self._rng.choice(len(chances), p=chances / chances.sum()))
        return Decision(int(self._stage.classes.action_of[drawn]), drawn == best)


@dataclass(frozen=True)
class MapRaces:
    """What became of the races on a map."""

    map: str
    races: int
    finished: int
    best_time_s: float | None
    furthest: float
    """Mean share of the line that was driven."""
    greedy_finished: bool
    """Whether the race with the best actions was finished."""


def drive(
    stage: BCStage,
    settings: ClosedLoopSettings,
    agent: Agent,
    *,
    stack: int,
    seed: int,
    show: Callable[[int, int], None] | None = None,
) -> list[MapRaces]:
    """Drive the races and return what became of them, map by map.

    Args:
        stage: the cloned policy.
        settings: which races.
        agent: what it drives for: game, line, observation and cut-offs.
        stack: pictures that it sees at once.
        seed: of the actions that are drawn.
        show: is told how many of how many races are driven.

    Raises:
        TrackError: there is no such track.
    """
    config = agent.config
    tuning = config.simulator.tuning
    game = EmbeddedGame(
        config.game,
        tuning=CarTuning() if tuning is None else load_settings(CarTuning, tuning),
        look_seed=config.simulator.look_seed,
    )
    policy = ClonedPolicy(stage, stack=stack, frame_size=agent.frame_size, seed=seed)
    results, done, total = [], 0, len(settings.maps) * settings.races
    try:
        for name in settings.maps:
            game.load_map(name)
            line = line_of_track(load_track(name), config.line)
            ends = []
            for number in range(settings.races):
                policy.greedy = number == 0
                policy.reset()
                race = rollout(game, policy, line, layout=agent.layout, cut_offs=config.cut_offs)
                for _ in race:
                    pass
                ends.append(race.end)
                done += 1
                if show is not None:
                    show(done, total)
            results.append(_summary(name, ends))
    finally:
        game.close()
    return results


def _summary(name: str, ends: Sequence[RaceEnd]) -> MapRaces:
    times_s = [end.race_time_ms / 1000 for end in ends if end.how == "finish"]
    return MapRaces(
        map=name,
        races=len(ends),
        finished=len(times_s),
        best_time_s=min(times_s, default=None),
        furthest=float(np.mean([end.furthest_share for end in ends])),
        greedy_finished=ends[0].how == "finish",
    )


def finish_rate(results: Sequence[MapRaces]) -> float:
    """Return the share of all races that were finished."""
    return sum(each.finished for each in results) / sum(each.races for each in results)
