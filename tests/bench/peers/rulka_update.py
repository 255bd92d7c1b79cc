"""The update of rulka, stated again: what ours is measured against.

Same network, batch, loss and optimiser as the ``legacy_rulka`` preset, carried out the way the reference does (read in
its source, written anew): features repeated for every quantile, both heads where only the best action is asked for,
loss inside autocast, torch's RAdam and gradient scaler, the gradient's norm taken and fetched twice, then the loss and
the norms of every layer fetched in every step, weights and target updated tensor by tensor.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.experience.batches import Batch
from tmrl_ray.iqn.network import IQN

LEARNING_RATE = 1e-3


class ReferenceUpdate:
    """Trains ``network`` as rulka does.

    Args:
        network: is trained in place.
        settings: of the ``legacy_rulka`` preset; ``precision`` is used, ``compile`` is the caller's.
        device: where to compute.
    """

    def __init__(self, network: IQN, settings: LearnerSettings, device: torch.device) -> None:
        self._settings = settings
        self._device = device
        self.online = network.to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self._ask = _ask
        self._loss = _loss
        if settings.compile:
            mode = "max-autotune-no-cudagraphs" if device.type == "cuda" else None
            self._ask = torch.compile(_ask, mode=mode, dynamic=False)
            self._loss = torch.compile(_loss, dynamic=False)
        optimiser = settings.optimiser
        self._optimiser = torch.optim.RAdam(
            self.online.parameters(), lr=LEARNING_RATE, eps=optimiser.epsilon, betas=optimiser.betas
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self._typical = torch.tensor(0.01, device=device)
        self._typical_clamped = torch.tensor(0.01, device=device)
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch, and return what the reference keeps of every step."""
        settings = self._settings
        assert batch.frames is not None
        assert batch.next_frames is not None
        count, size = settings.quantiles, len(batch)
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=settings.precision != "fp32"):
            frames, next_frames = (self._picture(each) for each in (batch.frames, batch.next_frames))
            with torch.no_grad():
                following, taus = self._ask(self.target, next_frames, batch.next_floats, self._taus(size))
                choice, _ = self._ask(self.online, next_frames, batch.next_floats, self._taus(size))
                best = choice.reshape(count, size, -1).mean(dim=0).argmax(dim=1).repeat(count).unsqueeze(1)
                following = following.gather(1, best)
                targets = (
                    batch.rewards.unsqueeze(-1).repeat(count, 1)
                    + batch.discounts.unsqueeze(-1).repeat(count, 1) * following
                )
                targets = targets.reshape(count, size, 1).transpose(0, 1)  # (B, N, 1)
            values, online_taus = self._ask(self.online, frames, batch.floats, self._taus(size))
            actions = batch.actions.unsqueeze(-1).repeat(count, 1)
            own = values.gather(1, actions).reshape(count, size, 1).transpose(0, 1)
            loss = self._loss(targets, own, online_taus, count, settings.kappa)
            with torch.no_grad():
                self_loss = self._loss(targets, targets, taus, count, settings.kappa).sqrt()
                self._typical = 0.99 * self._typical + 0.01 * self_loss.mean()
                clamped = self_loss.clamp(min=self._typical / 4)
                self._typical_clamped = 0.99 * self._typical_clamped + 0.01 * clamped.mean()
            total = (loss * self._typical_clamped / clamped).sum()
        self._scaler.scale(total).backward()
        self._scaler.unscale_(self._optimiser)
        parameters = list(self.online.parameters())
        norm_before = nn.utils.clip_grad_norm_(parameters, float("inf")).detach().cpu().item()
        norm = nn.utils.clip_grad_norm_(parameters, 30.0).detach().cpu().item()
        nn.utils.clip_grad_value_(parameters, 1000.0)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        told = {"loss": total.detach().cpu().item(), "norm": norm, "norm_before": norm_before}
        layers = torch.stack([torch.stack([p.grad.norm(), p.grad.max()]) for p in parameters if p.grad is not None])
        told["layers"] = float(layers.cpu().sum())
        self._decay_and_follow()
        return told

    def _decay_and_follow(self) -> None:
        settings = self._settings
        with torch.no_grad():
            for parameter in self.online.parameters():
                parameter.mul_(1 - LEARNING_RATE * settings.optimiser.weight_decay)
            rate = settings.target.rate
            for mine, other in zip(self.target.parameters(), self.online.parameters(), strict=True):
                mine.copy_(rate * other + (1 - rate) * mine)

    def _picture(self, frames: Tensor) -> Tensor:
        return (frames.to(self._dtype, memory_format=torch.channels_last) - 128) / 128

    def _taus(self, size: int) -> Tensor:
        """Return (N * B, 1), symmetric; drawn quantile by quantile."""
        half = self._settings.quantiles // 2
        steps = torch.arange(half, device=self._device, dtype=torch.float32).repeat_interleave(size).unsqueeze(1)
        lower = (steps + torch.rand(half * size, 1, device=self._device)) / self._settings.quantiles
        return torch.cat([lower, 1 - lower])


def _ask(network: IQN, pictures: Tensor, floats: Tensor, taus: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (N * B, A) at ``taus`` (N * B, 1), and these."""
    features = torch.cat(
        [network.encoder(pictures), network.float_head((floats - network.float_mean) / network.float_std)], dim=1
    )
    cosines = torch.cos(taus * network.harmonics)
    mixed = features.repeat(len(taus) // len(features), 1) * network.quantile_layer(cosines)
    advantages, values = (head.last(head.hidden(mixed)) for head in (network.advantage_head, network.value_head))
    return values + advantages - advantages.mean(dim=-1).unsqueeze(-1), taus


def _loss(targets: Tensor, values: Tensor, taus: Tensor, count: int, kappa: float) -> Tensor:
    """Return the loss (B,) of ``values`` (B, N, 1) at ``taus`` (N * B, 1) against ``targets`` (B, N, 1)."""
    error = targets[:, :, None, :] - values[:, None, :, :]  # (B, N', N, 1)
    loss = torch.where(error.abs() <= kappa, 0.5 / kappa * error**2, error.abs() - 0.5 * kappa)
    shaped = taus.reshape(count, len(targets), 1).transpose(0, 1)[:, None, :, :].expand(-1, count, -1, -1)
    weighted = (shaped - (error < 0).float().detach()).abs() * loss
    return weighted.sum(dim=2).mean(dim=1).squeeze(1)
