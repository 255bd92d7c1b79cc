"""What pictures teach: each task makes a loss of a batch and the encoder's features.

* ae, vae: rebuild the picture (Kingma and Welling 2013, https://arxiv.org/abs/1312.6114).
* simclr: know a picture again that was moved and lit otherwise (Chen et al. 2020, https://arxiv.org/abs/2002.05709).
* atc: know which picture comes shortly after (Stooke et al. 2021, https://arxiv.org/abs/2009.08319).
* idm: tell which action led from one picture towards a later one (Islam et al. 2022, https://arxiv.org/abs/2211.00164).
* spr: foretell the features of the pictures that follow (Schwarzer et al. 2021, https://arxiv.org/abs/2007.05929).

Shape letters: B batch, C stacked frames, M moments ahead, H W pixels, D features, P width of projections, A actions.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from pretrain.augment import brighten, shift
from pretrain.batches import Batch, Look
from pretrain.encoder import StackEncoder, from_unit, normalise, to_unit
from pretrain.stage import Outcome
from pretrain.visual.decoder import Decoder
from tmrl_ray.config.pretrain import VisualConfig
from tmrl_ray.datasets.cache import NO_LABEL
from tmrl_ray.racing.actions import ACTION_COUNT

HIDDEN = 256
"""Width of the hidden layers of projections and predictors, as in the reference."""


class Task(nn.Module):
    """One task: ``forward(encoder, batch)`` returns its loss and, as sums over the samples, what is told of it."""

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the loss of a batch."""
        raise NotImplementedError

    def after_step(self, encoder: StackEncoder) -> None:
        """Do what follows a step of the optimiser."""

    def rebuild(self, encoder: StackEncoder, frames: Tensor) -> Tensor | None:
        """Return pictures (B, C, H, W) as the task rebuilds them, normalised; None: it rebuilds none."""
        return None


class Autoencoder(Task):
    """Rebuild the picture from its features."""

    def __init__(self, encoder: StackEncoder, config: VisualConfig, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.decoder = _decoder(encoder.features, config, frame_size)

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the mean squared error of the pixels."""
        pixels = normalise(batch.frames, encoder.normalization)
        loss = functional.mse_loss(self.decoder(encoder.encode(pixels)).float(), pixels)
        return Outcome(loss, {"mse": loss.detach() * len(pixels)})

    def rebuild(self, encoder: StackEncoder, frames: Tensor) -> Tensor | None:
        rebuilt: Tensor = self.decoder(encoder(frames))
        return rebuilt


class VariationalAutoencoder(Task):
    """Rebuild the picture from a narrow code with noise."""

    def __init__(self, encoder: StackEncoder, config: VisualConfig, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self._kl_weight = config.kl_weight
        self.code = nn.Sequential(
            nn.Linear(encoder.features, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 2 * config.vae_latent)
        )
        self.decoder = _decoder(config.vae_latent, config, frame_size)

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the mean squared error of the pixels, and the weighted distance of the code from a normal one."""
        pixels = normalise(batch.frames, encoder.normalization)
        mean, log_variance = self.code(encoder.encode(pixels)).float().chunk(2, dim=1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        rebuilt = self.decoder(mean + noise * torch.exp(0.5 * log_variance)).float()
        mse = functional.mse_loss(rebuilt, pixels)
        kl = -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
        count = len(pixels)
        return Outcome(mse + self._kl_weight * kl, {"mse": mse.detach() * count, "kl": kl.detach() * count})

    def rebuild(self, encoder: StackEncoder, frames: Tensor) -> Tensor | None:
        rebuilt: Tensor = self.decoder(self.code(encoder(frames)).chunk(2, dim=1)[0])
        return rebuilt


class SimCLR(Task):
    """Know a picture again among all others of the batch, moved and lit otherwise."""

    def __init__(self, encoder: StackEncoder, config: VisualConfig) -> None:
        super().__init__()
        self._config = config
        self.projector = _projector(encoder.features, config.proj_dim, nn.ReLU(inplace=True))

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the loss of Chen et al., equation 1; negatives are the views in this worker's share of the batch."""
        views = torch.cat([self._view(encoder, batch.frames), self._view(encoder, batch.frames)])
        loss = nt_xent(self.projector(encoder.encode(views)).float(), self._config.temperature)
        return Outcome(loss, {})

    def _view(self, encoder: StackEncoder, frames: Tensor) -> Tensor:
        config = self._config
        whole = config.legacy_batch_augmentation
        moved = shift(frames, config.shift_pixels, whole_batch=whole)
        if whole:  # the reference lights what is normalised already, and cuts it off as if it were not
            return brighten(normalise(moved, encoder.normalization), config.brightness, whole_batch=True)
        return from_unit(brighten(to_unit(moved), config.brightness), encoder.normalization)


class TemporalContrast(Task):
    """Know which picture comes shortly after, among those that come after the others of the batch."""

    def __init__(self, encoder: StackEncoder, config: VisualConfig) -> None:
        super().__init__()
        self._config = config
        self.projector = _projector(encoder.features, config.proj_dim, nn.ReLU(inplace=True))
        self.predictor = _projector(config.proj_dim, config.proj_dim, nn.ReLU(inplace=True))
        self.slow = _Slow(encoder, self.projector, config.momentum)

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the cross-entropy of the picture that comes after each one."""
        pixels, look = self._config.shift_pixels, batch.ahead["atc"]
        code = self.projector(encoder(shift(batch.frames, pixels)))
        anchors = functional.normalize((code + self.predictor(code)).float(), dim=1)  # (B, P)
        later = functional.normalize(self.slow(shift(look.frames[:, 0], pixels)), dim=1)  # (B, P)
        similarity = anchors @ later.T / self._config.atc_temperature
        right = torch.arange(len(anchors), device=anchors.device)
        hits = (similarity.argmax(dim=1) == right).sum()
        return Outcome(functional.cross_entropy(similarity, right), {"accuracy": hits})

    def after_step(self, encoder: StackEncoder) -> None:
        self.slow.follow(encoder, self.projector)


class InverseDynamics(Task):
    """Tell the action at a picture from it and from a later one."""

    def __init__(self, encoder: StackEncoder, moments: int) -> None:
        super().__init__()
        self.gap = nn.Embedding(moments, HIDDEN)
        self.join = nn.Linear(2 * encoder.features, HIDDEN)
        self.tell = nn.Sequential(nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ACTION_COUNT))

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the cross-entropy of the action."""
        look: Look = batch.ahead["idm"]
        first, later = encoder(torch.cat([batch.frames, look.frames[:, 0]])).chunk(2)
        logits = self.tell(self.join(torch.cat([first, later], dim=1)) + self.gap(look.index[:, 0])).float()
        actions = look.actions[:, 0]
        known = (actions != NO_LABEL).sum().clamp(min=1)
        loss = functional.cross_entropy(logits, actions, ignore_index=NO_LABEL, reduction="sum") / known
        hits = (logits.argmax(dim=1) == actions).sum()
        return Outcome(loss, {"accuracy": hits * (len(actions) / known)})


class SelfPrediction(Task):
    """Foretell the features of the pictures that follow, given the actions."""

    def __init__(self, encoder: StackEncoder, config: VisualConfig) -> None:
        super().__init__()
        self._pixels = config.shift_pixels
        self._width = config.proj_dim
        self.projector = _projector(encoder.features, config.proj_dim, nn.ReLU(inplace=True))
        self.step = nn.Sequential(
            nn.Linear(encoder.features + ACTION_COUNT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, encoder.features)
        )
        self.predictor = nn.Linear(config.proj_dim, config.proj_dim)
        self.slow = _Slow(encoder, self.projector, config.momentum)

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return minus the mean cosine between what was foretold and what came."""
        look: Look = batch.ahead["spr"]
        moments = look.frames.shape[1]
        moved = shift(look.frames.flatten(0, 1), self._pixels)
        came = functional.normalize(self.slow(moved), dim=1).view(-1, moments, self._width)  # (B, M, P)
        state = encoder(shift(batch.frames, self._pixels))
        pressed = functional.one_hot(look.actions.clamp(min=0), ACTION_COUNT).to(state.dtype)
        foretold = []
        for moment in range(moments):
            state = state + self.step(torch.cat([state, pressed[:, moment]], dim=1))
            foretold.append(self.predictor(self.projector(state)))
        cosine = (functional.normalize(torch.stack(foretold, dim=1).float(), dim=2) * came).sum(dim=2)  # (B, M)
        return Outcome(-cosine.mean(), {"cosine": cosine.detach().mean(dim=1).sum()})

    def after_step(self, encoder: StackEncoder) -> None:
        self.slow.follow(encoder, self.projector)


class _Slow(nn.Module):
    """An encoder and a projector that follow those that learn, as a target that does not run away."""

    def __init__(self, encoder: StackEncoder, projector: nn.Module, momentum: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self._momentum = momentum

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Return the codes (B, P) of pictures (B, C, H, W)."""
        codes: Tensor = self.projector(self.encoder(frames)).float()
        return codes

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module) -> None:
        """Go a little towards those that learn."""
        for mine, theirs in ((self.encoder, encoder), (self.projector, projector)):
            for slow, fast in zip(mine.parameters(), theirs.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - self._momentum)


def nt_xent(codes: Tensor, temperature: float) -> Tensor:
    """Return the normalised, temperature-scaled cross-entropy.

    Args:
        codes: (2 B, P) those of the first views, then those of the second ones.
        temperature: of the cosines.
    """
    count = len(codes)
    normed = functional.normalize(codes, dim=1)
    similarity = normed @ normed.T / temperature
    similarity = similarity.masked_fill(torch.eye(count, dtype=torch.bool, device=codes.device), -torch.inf)
    other = (torch.arange(count, device=codes.device) + count // 2) % count
    return functional.cross_entropy(similarity, other)


def _projector(inputs: int, outputs: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), activation, nn.Linear(HIDDEN, outputs))


def _decoder(features: int, config: VisualConfig, frame_size: tuple[int, int]) -> Decoder:
    return Decoder(
        features,
        frames=config.n_stack,
        frame_size=frame_size,
        normalization=config.image_normalization,
        legacy_sigmoid=config.legacy_sigmoid_output,
    )
