"""The second loss, on demonstrations: the policy is to do what the expert did, where that is worth it.

It acts on the mean over the quantiles, so that the shape of the returns stays learned from rewards. It leaves the
value head alone: adding the same to all actions changes neither of the two losses.

* cross entropy: - log softmax(mean value / temperature)[expert's action], with label smoothing;
* large margin: max over actions of (mean value + margin, for all but the expert's) - mean value of the expert's
  (Hester et al. 2018, "Deep Q-learning from Demonstrations", https://arxiv.org/abs/1704.03732);
* filter: where the target network holds the expert's action for at least as good as what softmax(mean value /
  temperature) earns on average (after Nair et al. 2018, "Overcoming Exploration in Reinforcement Learning with
  Demonstrations", https://arxiv.org/abs/1709.10089, whose policy is not a function of its values).

All are functions of tensors that wait for no device: samples that are no demonstrations count 0, and stay in place.

Shape letters: B batch, N quantiles of the online network, M quantiles of the target, A actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tmrl_ray.config.pretrained import ImitationSettings


def cross_entropy(mean_values: Tensor, experts: Tensor, *, temperature: float, label_smoothing: float = 0.0) -> Tensor:
    """Return (B,) nats: of the ``experts``' actions (B,) under the soft policy of ``mean_values`` (B, A)."""
    return torch.nn.functional.cross_entropy(
        mean_values / temperature, experts, reduction="none", label_smoothing=label_smoothing
    )


def large_margin(mean_values: Tensor, experts: Tensor, *, margin: float) -> Tensor:
    """Return (B,) in units of the return: by how much the ``experts``' actions (B,) miss being ``margin`` better.

    0 where they are at least that much better than every other of ``mean_values`` (B, A).
    """
    chosen = experts.unsqueeze(1)
    own = mean_values.gather(1, chosen)  # (B, 1)
    raised = (mean_values + margin).scatter(1, chosen, own)
    return raised.amax(dim=1) - own.squeeze(1)


def worth_copying(mean_values: Tensor, experts: Tensor, *, temperature: float) -> Tensor:
    """Return (B,) bool: ``experts``' actions (B,) earn at least what the soft policy of ``mean_values`` (B, A) does."""
    policy = torch.softmax(mean_values / temperature, dim=1)
    average = (policy * mean_values).sum(dim=1)
    return mean_values.gather(1, experts.unsqueeze(1)).squeeze(1) >= average


def imitation_losses(
    settings: ImitationSettings, values: Tensor, expert_actions: Tensor, target_values: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the losses (B,), 0 where a sample is no demonstration or is filtered out, and figures, each ().

    Args:
        settings: which loss.
        values: (B, N, A) of the online network.
        expert_actions: (B,) what the expert did, below 0 where there was none.
        target_values: (B, M, A) of the target network where the expert acted; None: all demonstrations are copied.
    """
    mean_values = values.mean(dim=1)  # (B, A)
    shown = expert_actions >= 0
    experts = expert_actions.clamp(min=0)
    if settings.kind == "cross_entropy":
        losses = cross_entropy(
            mean_values, experts, temperature=settings.temperature, label_smoothing=settings.label_smoothing
        )
    else:
        losses = large_margin(mean_values, experts, margin=settings.margin)
    copied = shown
    if target_values is not None:
        copied = shown & worth_copying(target_values.mean(dim=1), experts, temperature=settings.temperature)
    with torch.no_grad():
        missed = large_margin(mean_values, experts, margin=settings.margin)
        figures = {
            "imitation_loss": _mean(losses, shown),
            "imitation_accuracy": _mean(mean_values.argmax(dim=1) == experts, shown),
            "imitation_margin_share": _mean(missed <= 0, shown),
            "imitation_copied_share": _mean(copied, shown),
        }
    return torch.where(copied, losses, 0.0), figures


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return () the mean of ``values`` (B,) where ``where`` (B,) says so; 0 where it says so nowhere."""
    return torch.where(where, values.float(), 0.0).sum() / where.sum().clamp(min=1)
