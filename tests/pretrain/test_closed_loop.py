"""Races that a cloned policy drives in the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.assembly import Agent
from pretrain.bc.bc_stage import BCStage, Driving
from pretrain.bc.closed_loop import ClonedPolicy, drive, finish_rate
from tests.pretrain.drawn_races import HEIGHT, LAYOUT, WIDTH
from tests.pretrain.stages import NETWORK, cloning
from tmrl_ray.config.pretrain import ClosedLoopSettings
from tmrl_ray.racing.actions import COAST, FORWARD, FORWARD_LEFT, FORWARD_RIGHT

STRAIGHT = """\
name: short
description: A straight road.
segments:
  - straight: 80
  - finish
  - straight: 250
"""
BLACK, WHITE = (np.full((HEIGHT, WIDTH), value, np.uint8) for value in (0, 255))


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    path = tmp_path / "agent.yaml"
    path.write_text(
        f"game: {{frame_size: [{WIDTH}, {HEIGHT}]}}\n"
        "network: {float_hidden: 17, head_hidden: 23, quantile_embedding: 13}\n"
        "cut_offs: {race_ms: 15000, no_progress_ms: 1000}\n"
    )
    return Agent.load(path)


def always(agent: Agent, odds: dict[int, float], **changes: object) -> BCStage:
    """Return a stage that takes actions by these odds, whatever it sees."""
    config = cloning(**changes)
    stage = BCStage(config, NETWORK, agent.io, Driving(LAYOUT, 50), interval_ms=50)
    for head in stage.cloner.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, -30.0)
        for action, share in odds.items():
            head.bias.data[stage.classes.of_action[action]] = float(np.log(share))
    return stage


def policy_of(stage: BCStage, *, stack: int = 1, seed: int = 0) -> ClonedPolicy:
    return ClonedPolicy(stage, stack=stack, frame_size=(WIDTH, HEIGHT), seed=seed)


def test_it_takes_its_best_action_or_draws_by_the_odds(agent: Agent) -> None:
    policy = policy_of(always(agent, {FORWARD_LEFT: 0.75, FORWARD_RIGHT: 0.25}))
    policy.greedy = True
    floats = np.zeros(LAYOUT.size, np.float32)
    assert {policy.act(BLACK, floats) for _ in range(20)} == {(FORWARD_LEFT, True, None)}
    policy.greedy = False
    drawn = [policy.act(BLACK, floats) for _ in range(400)]
    assert {each.action for each in drawn} == {FORWARD_LEFT, FORWARD_RIGHT}
    assert all(each.greedy == (each.action == FORWARD_LEFT) for each in drawn)
    assert np.mean([each.greedy for each in drawn]) == pytest.approx(0.75, abs=0.08)
    with pytest.raises(ValueError, match="sees pictures"):
        policy.act(None, floats)


def test_classes_become_the_agents_actions(agent: Agent) -> None:
    policy = policy_of(always(agent, {COAST: 1.0}, actions=9, main_actions=(0,)))
    assert policy.act(BLACK, np.zeros(LAYOUT.size, np.float32)).action == COAST


def test_it_sees_the_last_pictures_of_this_race_only(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = always(agent, {FORWARD: 1.0}, n_stack=3)
    seen: list[list[int]] = []
    told = BCStage.driving_logits

    def look(self: BCStage, frames: torch.Tensor, floats: torch.Tensor) -> torch.Tensor:
        seen.append(frames[0, :, 0, 0].tolist())
        return told(self, frames, floats)

    monkeypatch.setattr(BCStage, "driving_logits", look)
    policy, floats = policy_of(stage, stack=3), np.zeros(LAYOUT.size, np.float32)
    for picture in (BLACK, WHITE, WHITE):
        policy.act(picture, floats)
    policy.reset()
    policy.act(BLACK, floats)
    assert seen[2] == [0, 255, 255]
    assert 255 not in seen[3]


def test_races_are_driven_and_told_map_by_map(agent: Agent, tmp_path: Path) -> None:
    track = tmp_path / "short.yaml"
    track.write_text(STRAIGHT)
    told: list[tuple[int, int]] = []
    settings = ClosedLoopSettings(maps=(str(track),), races=2)
    (map_races,) = results = drive(
        always(agent, {FORWARD: 1.0}), settings, agent, stack=1, seed=0, show=lambda *each: told.append(each)
    )
    assert told == [(1, 2), (2, 2)]
    assert (map_races.races, map_races.finished, map_races.greedy_finished) == (2, 2, True)
    assert map_races.best_time_s is not None
    assert 2 < map_races.best_time_s < 15
    assert map_races.furthest == pytest.approx(1.0)
    assert finish_rate(results) == 1.0
    (stands,) = none = drive(always(agent, {COAST: 1.0}), settings, agent, stack=1, seed=0)
    assert (stands.finished, stands.greedy_finished, stands.best_time_s) == (0, False, None)
    assert stands.furthest < 0.1
    assert finish_rate([*results, *none]) == 0.5
