"""What an update makes smaller: the loss of a batch, as a pure function of tensors.

Nothing here waits for the device, draws a number or keeps one: quantiles and moving averages come in, new averages go
out. So the whole can be compiled, and an update that is undone leaves no trace.

Shape letters: B batch, N quantiles of the online network, M quantiles of the target, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from learner.imitation import imitation_losses
from tmrl_ray.config.learner import LearnerSettings, MunchausenSettings
from tmrl_ray.experience.batches import Batch
from tmrl_ray.iqn import losses
from tmrl_ray.iqn.network import IQN
from tmrl_ray.racing.actions import ACTION_NAMES

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Quantiles(NamedTuple):
    """The quantiles at which networks are asked, each (B, N) or (1, N)."""

    online: Tensor
    """Where the online network is trained."""
    target: Tensor
    """Where the target network is asked for what comes next."""
    choice: Tensor
    """Where a network is asked for the best action, or for the soft policy."""


class Averages(NamedTuple):
    """Moving averages that a loss needs, each ()."""

    self_loss: Tensor
    """Of the root of the target's loss against itself."""
    clamped_self_loss: Tensor
    """Of the same, none below its clamp."""
    gap: Tensor
    """Of the action gap, in units of the return."""

    @classmethod
    def start(cls, settings: LearnerSettings, device: torch.device) -> Averages:
        """Return what they start from."""
        self_loss = settings.self_loss.start if settings.self_loss else 0.0
        gap = settings.munchausen.gap_start if settings.munchausen else 0.0
        return cls(*(torch.full((), value, device=device) for value in (self_loss, self_loss, gap)))

    def moved(self, new: Averages, sound: Tensor) -> Averages:
        """Return the ``new`` ones where the step is ``sound``, else these."""
        return Averages(*(torch.where(sound, after, before) for after, before in zip(new, self, strict=True)))


class Objective(NamedTuple):
    """A loss and what was seen on the way."""

    loss: Tensor
    """() to be made smaller."""
    td_errors: Tensor
    """(B,) mean target less mean value."""
    averages: Averages
    """New ones, to be kept if the step is."""
    figures: dict[str, Tensor]
    """() by name: for metrics."""


class Losses:
    """The loss of a batch, as the settings have it.

    Args:
        settings: the learner's.
    """

    def __init__(self, settings: LearnerSettings) -> None:
        self._settings = settings

    def __call__(  # noqa: PLR0913 - both networks, and all that a loss depends on
        self,
        online: IQN,
        target: IQN,
        batch: Batch,
        quantiles: Quantiles,
        averages: Averages,
        imitation_weight: Tensor | None = None,
    ) -> Objective:
        """Return the loss of ``online`` on ``batch``, with ``target`` telling what comes next.

        ``imitation_weight`` () is that of the loss on demonstrations; None: there is no such loss now.
        """
        settings = self._settings
        with torch.no_grad():
            if settings.munchausen is None:
                targets = self._bootstrapped(online, target, batch, quantiles)
                gap, extra = averages.gap, dict[str, Tensor]()
            else:
                targets, gap, extra = self._munchausen(settings.munchausen, target, batch, quantiles, averages)
        with self._autocast(batch):  # of its own: the casts of weights that no_grad saw are no use to gradients
            values = online(batch.frames, batch.floats, quantiles.online)  # (B, N, A)
        own = losses.chosen(values, batch.actions)  # (B, N)
        each = losses.quantile_huber(own, quantiles.online, targets, kappa=settings.kappa)  # (B,)
        typical, clamped = averages.self_loss, averages.clamped_self_loss
        scaled = each
        if settings.self_loss is not None:
            self_loss = losses.quantile_huber(targets, quantiles.target, targets, kappa=settings.kappa).sqrt()
            scale, typical, clamped = losses.self_loss_scale(
                self_loss,
                averages=(averages.self_loss, averages.clamped_self_loss),
                decay=settings.self_loss.decay,
                clamp_ratio=settings.self_loss.clamp_ratio,
            )
            scaled = each * scale
        weighted = scaled * batch.weights
        if settings.imitation is not None and imitation_weight is not None and batch.expert_actions is not None:
            asked = self._target_values(target, batch, quantiles) if settings.imitation.q_filter else None
            copying, told = imitation_losses(settings.imitation, values, batch.expert_actions, asked)
            weighted = weighted + imitation_weight * copying
            extra = extra | told | {"imitation_weight": imitation_weight}
        loss = weighted.sum() if settings.loss == "sum" else weighted.mean()
        with torch.no_grad():
            td_errors = targets.mean(dim=1) - own.mean(dim=1)
            figures = _figures(each, scaled, values, own, targets, td_errors) | extra
        return Objective(loss, td_errors, Averages(typical, clamped, gap), figures)

    @torch.no_grad()
    def _target_values(self, target: IQN, batch: Batch, quantiles: Quantiles) -> Tensor:
        """Return what the target network says where a transition begins (B, M, A)."""
        with self._autocast(batch):
            values: Tensor = target(batch.frames, batch.floats, quantiles.choice)
        return values

    def _autocast(self, batch: Batch) -> torch.autocast:
        dtype = AUTOCAST.get(self._settings.precision)
        return torch.autocast(batch.floats.device.type, dtype=dtype, enabled=dtype is not None)

    def _bootstrapped(self, online: IQN, target: IQN, batch: Batch, quantiles: Quantiles) -> Tensor:
        """Return the targets (B, M) of Q-learning."""
        bootstrap = self._settings.bootstrap
        with self._autocast(batch):
            values = target(batch.next_frames, batch.next_floats, quantiles.target)  # (B, M, A)
            if bootstrap == "double":
                scores = online.advantages(batch.next_frames, batch.next_floats, quantiles.choice)
        if bootstrap == "max_per_quantile":
            best = values.amax(dim=2)
        elif bootstrap == "double":
            best = losses.chosen(values, scores.argmax(dim=1))
        else:
            best = losses.chosen(values, losses.greedy_actions(values))
        return losses.returns_of(batch.rewards, batch.discounts, best)

    def _munchausen(
        self,
        settings: MunchausenSettings,
        target: IQN,
        batch: Batch,
        quantiles: Quantiles,
        averages: Averages,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the targets (B, M), the new average of the gap, and figures.

        With rewards summed over n steps the bonus is that of the first action: the others are greedy.
        """
        with self._autocast(batch):
            here = target(batch.frames, batch.floats, quantiles.choice)
            after = target(batch.next_frames, batch.next_floats, quantiles.target)
        gap = losses.action_gap(here.mean(dim=1)).mean()
        gap = averages.gap.lerp(gap, 1.0 - settings.gap_decay)
        if settings.temperature is None:
            temperature = (gap * settings.temperature_per_gap).clamp(min=settings.least_temperature)
        else:
            temperature = torch.full_like(gap, settings.temperature)
        policy_here, policy_after = losses.log_policy(here, temperature), losses.log_policy(after, temperature)
        bonus = losses.munchausen_bonus(policy_here, batch.actions, temperature=temperature, lowest=settings.lowest)
        soft = losses.soft_values(after, policy_after, temperature=temperature)
        targets = losses.returns_of(batch.rewards + settings.share * bonus, batch.discounts, soft)
        figures = {
            "munchausen_temperature": temperature,
            "munchausen_entropy": losses.entropy(policy_after).mean(),
            "munchausen_bonus": bonus.mean(),
        }
        return targets, gap, figures


@torch.no_grad()
def _figures(
    each: Tensor, scaled: Tensor, values: Tensor, own: Tensor, targets: Tensor, td_errors: Tensor
) -> dict[str, Tensor]:
    """Return the figures of a batch: ``each`` and ``scaled`` (B,), ``values`` (B, N, A), ``own`` (B, N)."""
    mean_values = values.mean(dim=1)  # (B, A)
    by_action = values.std(dim=1).mean(dim=0).unbind()
    names = (f"quantile_std.{name.replace('+', '_')}" for name in ACTION_NAMES)
    return {
        "loss": scaled.mean(),
        "loss_unscaled": each.mean(),
        "td_error": td_errors.abs().mean(),
        "value": own.mean(),
        "value_best": mean_values.amax(dim=1).mean(),
        "target": targets.mean(),
        "action_gap": losses.action_gap(mean_values).mean(),
        "action_spread": losses.action_spread(mean_values).mean(),
        "quantile_std": own.std(dim=1).mean(),
    } | dict(zip(names, by_action, strict=False))  # it may have fewer actions
