"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tmrl_ray.iqn import losses


def test_quantile_huber_by_hand() -> None:
    """One sample, two quantiles, three targets, kappa 1/2.

    Value 0 at 1/4: differences 1/4, 3/2, -1; Huber 1/16, 5/4, 3/4; weights 1/4, 1/4, 3/4; mean 0.890625 / 3.
    Value 1 at 3/4: differences -3/4, 1/2, -2; Huber 1/2, 1/4, 7/4; weights 1/4, 3/4, 1/4; mean 0.75 / 3.
    """
    loss = losses.quantile_huber(
        torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, 0.75]]), torch.tensor([[0.25, 1.5, -1.0]]), kappa=0.5
    )
    assert loss.tolist() == pytest.approx([0.296875 + 0.25], rel=1e-6)


def test_quantile_huber_keeps_samples_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    values, quantiles = torch.randn(5, 7, generator=generator), torch.rand(5, 7, generator=generator)
    targets = torch.randn(5, 11, generator=generator)
    together = losses.quantile_huber(values, quantiles, targets, kappa=0.005)
    alone = [
        losses.quantile_huber(values[k : k + 1], quantiles[k : k + 1], targets[k : k + 1], kappa=0.005)
        for k in range(5)
    ]
    assert torch.equal(together, torch.cat(alone))
    plain = sum(
        abs(quantiles[2, i] - float(targets[2, j] < values[2, i])) * abs(targets[2, j] - values[2, i])
        for i in range(7)
        for j in range(11)
    )
    assert together[2].item() == pytest.approx(float(plain) / 11, abs=7 * 0.0025)  # the line is kappa / 2 lower


def test_the_loss_is_least_at_the_quantiles_of_the_target() -> None:
    """The gradient is zero where a value is its quantile: a tenth of the targets below it, say."""
    targets = torch.arange(1.0, 101.0).unsqueeze(0)
    quantiles = torch.tensor([[0.1, 0.5, 0.9]])
    values = torch.tensor([[10.5, 50.5, 90.5]], requires_grad=True)
    losses.quantile_huber(values, quantiles, targets, kappa=0.25).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist()[0] == pytest.approx([0, 0, 0], abs=1e-6)


def test_self_loss_scale_by_hand() -> None:
    """Averages 0.2 and 0.4, decay 0.9: 0.2 -> 0.194, so that none counts as less than 0.0485; 0.4 -> 0.37495."""
    scale, typical, clamped = losses.self_loss_scale(
        torch.tensor([0.1, 0.3, 0.02]), averages=(torch.tensor(0.2), torch.tensor(0.4)), decay=0.9, clamp_ratio=4.0
    )
    assert typical.item() == pytest.approx(0.194)
    assert clamped.item() == pytest.approx(0.37495)
    assert scale.tolist() == pytest.approx([3.7495, 0.37495 / 0.3, 0.37495 / 0.0485])


def test_greedy_actions_go_by_the_mean() -> None:
    values = torch.tensor([[[0.0, 5.0, 4.0], [9.0, 5.0, 4.5]], [[1.0, 0.0, 2.0], [1.0, 0.0, -1.0]]])
    assert losses.greedy_actions(values).tolist() == [1, 0]
    assert losses.chosen(values, torch.tensor([2, 0])).tolist() == [[4.0, 4.5], [1.0, 1.0]]


def test_returns_end_with_the_race() -> None:
    returns = losses.returns_of(
        torch.tensor([0.5, -1.0]), torch.tensor([0.5, 0.0]), torch.tensor([[2.0, 4.0, 6.0]] * 2)
    )
    assert returns.tolist() == [[1.5, 2.5, 3.5], [-1.0, -1.0, -1.0]]


def test_gap_and_spread_by_hand() -> None:
    mean_values = torch.tensor([[1.0, 4.0, 3.5, -0.5], [0.0, 0.0, 0.0, 0.0]])
    assert losses.action_gap(mean_values).tolist() == [0.5, 0.0]
    assert losses.action_spread(mean_values).tolist() == [2.0, 0.0]


def test_munchausen_by_hand() -> None:
    """Values 0 and 0.1 ln 3 at temperature 0.1: probabilities 1/4 and 3/4; the soft value is 0.1 ln(1 + 3)."""
    values = torch.tensor([[[0.0, 0.1 * math.log(3)]]])
    log_policy = losses.log_policy(values, 0.1)
    assert log_policy.exp().tolist()[0] == pytest.approx([0.25, 0.75])
    bonus = [
        losses.munchausen_bonus(log_policy, torch.tensor([action]), temperature=0.1, lowest=lowest).item()
        for action, lowest in ((0, -1.0), (1, -1.0), (0, -0.1))
    ]
    assert bonus == pytest.approx([0.1 * math.log(0.25), 0.1 * math.log(0.75), -0.1])
    soft = losses.soft_values(values, log_policy, temperature=0.1)
    assert soft.tolist()[0] == pytest.approx([0.1 * math.log(4)])
    assert losses.entropy(log_policy).item() == pytest.approx(
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    )


def test_soft_values_at_no_temperature_are_the_best_ones() -> None:
    values = torch.tensor([[[1.0, 3.0, 2.0], [0.0, 4.0, 8.0], [-1.0, 9.0, 1.0]]])
    log_policy = losses.log_policy(values, 1e-4)
    soft = losses.soft_values(values, log_policy, temperature=1e-4)
    assert soft.tolist()[0] == pytest.approx([3.0, 4.0, 9.0])
