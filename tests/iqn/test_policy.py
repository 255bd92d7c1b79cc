"""The policy: it implements what rollouts ask for, explores as told, and acts with the weights it was given."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch

from tests.iqn.networks import ACTIONS, FLOATS, HEIGHT, OPTIONS, SMALL, WIDTH, small_io, small_network
from tmrl_ray.iqn.policy import Exploration, FrameStack, IQNPolicy
from tmrl_ray.racing.rollout import Decision, Policy

FRAME = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
SEEN = np.linspace(-2, 2, FLOATS, dtype=np.float32)


def policy_of(
    *, pictures: bool = True, seed: int = 1, options: dict[str, Any] | None = None, **settings: Any
) -> IQNPolicy:
    return IQNPolicy(SMALL.replace(**(options or {})), small_io(pictures=pictures), seed=seed, **settings)


def decisions(policy: Policy, count: int) -> list[Decision]:
    return [policy.act(FRAME, SEEN) for _ in range(count)]


def test_the_stack_begins_with_the_first_picture() -> None:
    stack = FrameStack(3, (5, 2))
    first, second = np.full((2, 5), 1, np.uint8), np.full((2, 5), 2, np.uint8)
    assert stack.push(first)[0, :, 0, 0].tolist() == [1, 1, 1]
    assert stack.push(second)[0, :, 0, 0].tolist() == [1, 1, 2]
    assert stack.push(second).shape == (1, 3, 2, 5)
    stack.reset()
    assert stack.push(second)[0, :, 0, 0].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"the picture is \(2, 5, 4\)"):
        stack.push(np.zeros((2, 5, 4), np.uint8))


def test_a_greedy_decision_is_the_best_mean_value() -> None:
    policy = policy_of()
    policy.load(small_network(seed=7).state_dict(), version=3)
    assert policy.version == 3
    for decision in decisions(policy, 11):
        assert decision.q_values is not None
        assert decision.q_values.shape == (ACTIONS,)
        assert decision.action == decision.q_values.argmax()
        assert decision.greedy


def test_values_are_those_of_the_network() -> None:
    network = small_network(seed=7)
    policy = policy_of(draw_quantiles=False, quantiles=6)
    policy.load(network.state_dict(), version=1)
    frames = torch.from_numpy(np.stack([FRAME, FRAME])).unsqueeze(0)
    quantiles = torch.tensor([[1, 3, 5, 11, 9, 7]]) / 12
    expected = network(frames, torch.from_numpy(SEEN).unsqueeze(0), quantiles).mean(dim=1)[0]
    assert np.allclose(decisions(policy, 1)[0].q_values, expected.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("options", [{}, *OPTIONS.values()])
def test_bfloat16_decides_nearly_the_same_with_every_option(options: dict[str, Any]) -> None:
    network = small_network(seed=7, **options)
    exact, rough = (policy_of(options=options, precision=precision) for precision in ("fp32", "bf16"))
    for policy in (exact, rough):
        policy.load(network.state_dict(), version=1)
    first, second = decisions(exact, 1)[0].q_values, decisions(rough, 1)[0].q_values
    assert first is not None
    assert second is not None
    assert np.abs(first - second).max() < 0.03 * np.abs(first).max()
    assert not np.array_equal(first, second)


def test_one_seed_gives_one_race() -> None:
    exploring = Exploration(epsilon=0.3, epsilon_boltzmann=0.3)
    first, again, other = policy_of(), policy_of(), policy_of(seed=2)
    other.load(first._source.state_dict(), version=0)
    for policy in (first, again, other):
        policy.exploration = exploring
    races = [decisions(policy, 37) for policy in (first, again, other)]
    assert [d.action for d in races[0]] == [d.action for d in races[1]]
    assert all(np.array_equal(a.q_values, b.q_values) for a, b in zip(races[0], races[1], strict=True))
    assert not np.array_equal(races[0][0].q_values, races[2][0].q_values)


def test_chance_goes_on_from_a_saved_state() -> None:
    policy, resumed = policy_of(), policy_of()
    for each in (policy, resumed):
        each.exploration = Exploration(epsilon=0.5, hold=3.0)
    decisions(policy, 5)
    resumed.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    assert [d.action for d in decisions(policy, 31)] == [d.action for d in decisions(resumed, 31)]


def test_epsilon_is_the_probability_of_an_action_by_chance() -> None:
    policy = policy_of(draw_quantiles=False)
    policy.exploration = Exploration(epsilon=0.6)
    race = decisions(policy, 2003)
    best = race[0].q_values
    assert best is not None
    counts = np.bincount([d.action for d in race], minlength=ACTIONS) / len(race)
    expected = np.full(ACTIONS, 0.2) + 0.4 * (np.arange(ACTIONS) == best.argmax())
    assert counts == pytest.approx(expected, abs=0.04)
    assert all(d.greedy == (d.action == best.argmax()) for d in race)


def test_an_action_by_chance_is_held() -> None:
    policy = policy_of(draw_quantiles=False)
    best = decisions(policy, 1)[0].action
    policy.exploration = Exploration(epsilon=0.3, hold=5.0)
    actions = [d.action for d in decisions(policy, 5003)]
    stretches = [len(list(same)) for action, same in groupby(actions) if action != best]
    assert np.mean([action != best for action in actions]) == pytest.approx(0.3 * (ACTIONS - 1) / ACTIONS, abs=0.04)
    # two in a row are the same with probability 1 / ACTIONS
    begins = 0.3 / (0.3 + 5.0 * 0.7)
    same_again = (1 - 0.8) * begins / ACTIONS
    assert np.mean(stretches) == pytest.approx(1 / (1 - 0.8 - same_again), rel=0.1)


def test_boltzmann_noise_is_in_units_of_the_return() -> None:
    """Two actions whose values differ by d swap places with probability Phi(-d / (noise sqrt 2))."""
    policy = policy_of(draw_quantiles=False)
    race = decisions(policy, 1)
    values = race[0].q_values
    assert values is not None
    best, second = np.sort(values)[:-3:-1]
    for noise, least, most in (((best - second) / 20, 0.0, 0.0), ((best - second) * 50, 0.5, 0.8)):
        policy.exploration = Exploration(epsilon_boltzmann=1.0, boltzmann_noise=float(noise))
        strayed = np.mean([not d.greedy for d in decisions(policy, 499)])
        assert least <= strayed <= most


def test_noisy_layers_explore_but_do_not_decide_what_is_greedy() -> None:
    policy = policy_of(options={"noisy": True, "noisy_sigma": 30.0}, draw_quantiles=False)
    quiet = decisions(policy, 1)[0]
    policy.exploration = Exploration(noisy_layers=True)
    actions = set()
    for _ in range(29):
        policy.reset()
        decision = decisions(policy, 1)[0]
        assert np.array_equal(decision.q_values, quiet.q_values)
        assert decision.greedy == (decision.action == quiet.action)
        actions.add(decision.action)
        assert {d.action for d in decisions(policy, 3)} == {decision.action}
    assert len(actions) > 1


def test_floats_alone_are_enough_where_no_picture_is_drawn() -> None:
    decision = policy_of(pictures=False).act(None, SEEN)
    assert 0 <= decision.action < ACTIONS
    with pytest.raises(ValueError, match="was given none"):
        policy_of().act(None, SEEN)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        policy_of().load(small_network(head_hidden=19).state_dict(), version=1)
