"""The losses of implicit quantile learning, as pure functions of tensors.

Dabney et al. 2018 (https://arxiv.org/abs/1806.06923), equation 3; the scaling by the target's own loss is Linesight's;
the entropy terms are those of Vieillard et al. 2020, "Munchausen Reinforcement Learning"
(https://arxiv.org/abs/2007.14430).

Shape letters: B batch, N quantiles of the online network, M quantiles of the target, A actions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def quantile_huber(values: Tensor, quantiles: Tensor, targets: Tensor, *, kappa: float) -> Tensor:
    """Return the quantile Huber loss (B,): summed over the online quantiles, averaged over the targets.

    Args:
        values: (B, N) what the online network says at ``quantiles``.
        quantiles: (B, N) in [0, 1], or (1, N) for the same of all.
        targets: (B, M) samples of the return.
        kappa: where the loss turns from a parabola into a line, in units of the return.
    """
    delta = targets.unsqueeze(1) - values.unsqueeze(2)  # (B, N, M)
    size = delta.abs()
    huber = torch.where(size < kappa, delta.square() * (0.5 / kappa), size - 0.5 * kappa)
    weight = (quantiles.unsqueeze(2) - (delta.detach() < 0).to(delta.dtype)).abs()
    return (weight * huber).mean(dim=2).sum(dim=1)


def self_loss_scale(
    self_losses: Tensor, *, averages: tuple[Tensor, Tensor], decay: float, clamp_ratio: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what to multiply losses by, so that a sample with a broad target does not count for more than others.

    Args:
        self_losses: (B,) root of the loss of each target against itself.
        averages: moving averages () of the self-loss, and of the same clamped.
        decay: of the averages.
        clamp_ratio: a self-loss counts as at least the average one divided by this.

    Returns:
        The scale (B,) and both averages, moved: average clamped self-loss / clamped self-loss of the sample.
    """
    typical = averages[0].lerp(self_losses.mean(), 1.0 - decay)
    clamped = torch.maximum(self_losses, typical / clamp_ratio)
    typical_clamped = averages[1].lerp(clamped.mean(), 1.0 - decay)
    return typical_clamped / clamped, typical, typical_clamped


def greedy_actions(values: Tensor) -> Tensor:
    """Return the action (B,) with the largest mean over quantiles of ``values`` (B, N, A)."""
    return values.mean(dim=1).argmax(dim=1)


def chosen(values: Tensor, actions: Tensor) -> Tensor:
    """Return (B, N): ``values`` (B, N, A) of the ``actions`` (B,)."""
    index = actions.view(-1, 1, 1).expand(-1, values.shape[1], 1)
    return values.gather(2, index).squeeze(2)


def returns_of(rewards: Tensor, discounts: Tensor, next_values: Tensor) -> Tensor:
    """Return the targets (B, M) = reward + discount * value; ``rewards``, ``discounts`` (B,), ``next_values`` (B, M).

    A race that ended has a discount of 0, so there is no branch.
    """
    return rewards.unsqueeze(1) + discounts.unsqueeze(1) * next_values


def action_gap(mean_values: Tensor) -> Tensor:
    """Return (B,): by how much the best of ``mean_values`` (B, A) is better than the second best."""
    best = mean_values.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def action_spread(mean_values: Tensor) -> Tensor:
    """Return (B,): by how much the best of ``mean_values`` (B, A) is better than the mean one."""
    return mean_values.amax(dim=1) - mean_values.mean(dim=1)


def log_policy(values: Tensor, temperature: float | Tensor) -> Tensor:
    """Return (B, A): the logarithm of the soft policy of ``values`` (B, N, A), softmax(mean value / temperature)."""
    return torch.log_softmax(values.mean(dim=1) / temperature, dim=1)


def munchausen_bonus(
    log_probabilities: Tensor, actions: Tensor, *, temperature: float | Tensor, lowest: float
) -> Tensor:
    """Return (B,): temperature * log pi(action), clipped to [lowest, 0].

    Args:
        log_probabilities: (B, A) of the soft policy where the ``actions`` (B,) were taken.
        actions: (B,).
        temperature: of the soft policy, in units of the return.
        lowest: the clip, in units of the return.
    """
    taken = log_probabilities.gather(1, actions.unsqueeze(1)).squeeze(1)
    return (temperature * taken).clamp(min=lowest, max=0.0)


def soft_values(values: Tensor, log_probabilities: Tensor, *, temperature: float | Tensor) -> Tensor:
    """Return (B, M): the mean under the soft policy (B, A) of ``values`` (B, M, A) - temperature * log pi."""
    entropic = values - (temperature * log_probabilities).unsqueeze(1)
    return (log_probabilities.exp().unsqueeze(1) * entropic).sum(dim=2)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return (B,): the entropy of policies (B, A), as a share of the largest possible one."""
    return (log_probabilities.exp() * log_probabilities).sum(dim=1) / -math.log(log_probabilities.shape[1])
