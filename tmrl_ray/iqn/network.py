"""The implicit quantile network of a race: picture and floats in, quantiles of the return of each action out.

Dabney et al. 2018, "Implicit Quantile Networks for Distributional Reinforcement Learning"
(https://arxiv.org/abs/1806.06923), with the dueling heads of Wang et al. 2016 (https://arxiv.org/abs/1511.06581).
Topology and initialisation are those of Linesight and rulka, to the parameter: 1,051,805 at 64x64 with an embedding
of 128, 6,578,333 at 160x120 with 64. The options (layer norm, IMPALA encoder, spectral norm, noisy heads, dropout)
are off by default.

Shape letters: B batch, N quantiles, A actions, F floats, C stacked frames, H W pixels, D features, E embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.iqn.encoders import ConvEncoder, ImpalaEncoder, check_frame_size, features_of
from tmrl_ray.iqn.layers import COSINE_GAIN, LEAKY_GAIN, LEAKY_SLOPE, Dropout, Head, NoisyLinear, initialise

PARTS = ("encoder", "float_head", "quantile_layer", "advantage_head", "value_head")
"""The parts by attribute name: what pretraining delivers, what can be frozen, what has a learning rate of its own."""
GREY_MIDDLE = 128.0
"""Frames enter as (x - 128) / 128, which is exact even in bfloat16."""


@dataclass(frozen=True, eq=False)
class NetworkIO:
    """What goes into a network and comes out of it: follows from the game and the observation, not from taste."""

    frame_size: tuple[int, int] | None
    """Width and height of the picture in pixels; None: the floats only."""
    mean: NDArray[np.float32]
    """(F,) subtracted from the floats."""
    std: NDArray[np.float32]
    """(F,) what they are then divided by."""
    actions: int
    """A, how many actions there are."""


class IQN(nn.Module):
    """The network. All quantiles of a sample share one pass through the encoder and the float head.

    Args:
        settings: width and options.
        io: what it sees, and how many actions there are.
    """

    float_mean: Tensor
    float_std: Tensor
    harmonics: Tensor

    def __init__(self, settings: NetworkSettings, io: NetworkIO) -> None:
        super().__init__()
        self.settings = settings
        self.io = io
        hidden, floats = settings.float_hidden, len(io.mean)
        features = hidden
        if io.frame_size is not None:
            self.encoder = _encoder(settings, *io.frame_size)
            width, height = io.frame_size
            features += features_of(self.encoder, frames=settings.frame_stack, width=width, height=height)
        self.features = features
        self.float_head = nn.Sequential(*self._layer(floats, hidden), *self._layer(hidden, hidden))
        self.feature_norm = nn.LayerNorm(features) if settings.layer_norm else nn.Identity()
        self.dropout = Dropout(settings.dropout)
        embedding = settings.quantile_embedding
        quantile_layer = nn.Linear(embedding, features)
        initialise(quantile_layer, gain=COSINE_GAIN)
        self.quantile_layer = nn.Sequential(quantile_layer, nn.LeakyReLU(LEAKY_SLOPE, inplace=True))
        self.advantage_head = self._head(io.actions)
        self.value_head = self._head(1)
        self.register_buffer("float_mean", torch.tensor(io.mean, dtype=torch.float32))
        self.register_buffer("float_std", torch.tensor(io.std, dtype=torch.float32))
        self.register_buffer("harmonics", math.pi * torch.arange(1, embedding + 1), persistent=False)  # (E,)

    def _layer(self, inputs: int, outputs: int) -> list[nn.Module]:
        linear = nn.Linear(inputs, outputs)
        initialise(linear, gain=LEAKY_GAIN)
        norm = [nn.LayerNorm(outputs)] if self.settings.layer_norm else []
        return [linear, *norm, nn.LeakyReLU(LEAKY_SLOPE, inplace=True)]

    def _head(self, outputs: int) -> Head:
        settings = self.settings
        hidden = settings.head_hidden

        def linear(inputs: int, width: int) -> nn.Linear:
            if settings.noisy:
                return NoisyLinear(inputs, width, sigma=settings.noisy_sigma)
            return nn.Linear(inputs, width)

        first, last = linear(self.features, hidden), linear(hidden, outputs)
        initialise(first, gain=LEAKY_GAIN)
        initialise(last, gain=1.0)
        norm = [nn.LayerNorm(hidden)] if settings.layer_norm else []
        return Head(nn.Sequential(first, *norm, nn.LeakyReLU(LEAKY_SLOPE, inplace=True)), last)

    def encode(self, frames: Tensor | None, floats: Tensor) -> Tensor:
        """Return the features (B, D) of ``frames`` (B, C, H, W) uint8, None without pictures, and ``floats`` (B, F)."""
        dtype = self._dtype(floats.device)
        parts = []
        if self.io.frame_size is not None:
            if frames is None:
                raise ValueError("this network sees pictures, and was given none")
            grey = frames.to(dtype, memory_format=torch.channels_last)
            parts.append(self.encoder((grey - GREY_MIDDLE).mul_(1.0 / GREY_MIDDLE)))
        parts.append(self.float_head(((floats - self.float_mean) / self.float_std).to(dtype)))
        features: Tensor = self.dropout(self.feature_norm(torch.cat(parts, dim=1)))
        return features

    def mix(self, features: Tensor, quantiles: Tensor) -> Tensor:
        """Return (B, N, D): the ``features`` (B, D) as seen at ``quantiles`` (B, N), or (1, N) for the same of all."""
        cosines = torch.cos(quantiles.unsqueeze(-1) * self.harmonics).to(features.dtype)  # (B, N, E)
        mixed: Tensor = features.unsqueeze(1) * self.quantile_layer(cosines)
        return mixed

    def values(self, mixed: Tensor) -> Tensor:
        """Return the values (B, N, A) of what :meth:`mix` returned, (B, N, D)."""
        advantages = self.advantage_head(mixed)
        values: Tensor = self.value_head(mixed) + advantages - advantages.mean(dim=-1, keepdim=True)
        return values

    def forward(self, frames: Tensor | None, floats: Tensor, quantiles: Tensor) -> Tensor:
        """Return the values (B, N, A) of ``frames`` (B, C, H, W) and ``floats`` (B, F) at ``quantiles`` (B, N)."""
        return self.values(self.mix(self.encode(frames, floats), quantiles))

    def advantages(self, frames: Tensor | None, floats: Tensor, quantiles: Tensor) -> Tensor:
        """Return the mean advantages (B, A), which order the actions as the mean values do, for half the work."""
        advantages: Tensor = self.advantage_head(self.mix(self.encode(frames, floats), quantiles))
        return advantages.mean(dim=1)

    def draw(self, batch: int, generator: torch.Generator | None = None) -> None:
        """Draw what is random in the next pass of ``batch`` samples in training mode: noise and dropout."""
        if self.settings.dropout:
            device = self.float_mean.device
            self.dropout.draw(batch, self.features, generator=generator, device=device)
        if self.settings.noisy:
            for module in self.modules():
                if isinstance(module, NoisyLinear):
                    module.draw(generator)

    def _dtype(self, device: torch.device) -> torch.dtype:
        """Return the type in which to compute: that of autocast where it is on, else that of the weights."""
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return next(self.value_head.hidden.parameters()).dtype


def build_network(settings: NetworkSettings, io: NetworkIO, *, seed: int) -> IQN:
    """Return a new network on the CPU with the weights that ``seed`` gives; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return IQN(settings, io)


def part_of(parameter: str) -> str:
    """Return which of :data:`PARTS` a parameter of that name belongs to."""
    attribute = parameter.partition(".")[0]
    return "quantile_layer" if attribute == "feature_norm" else attribute


def symmetric_quantiles(
    batch: int, count: int, *, generator: torch.Generator | None = None, device: torch.device
) -> Tensor:
    """Draw quantiles (B, N), N even: one in each of N / 2 equal parts of [0, 1/2], and their mirror images 1 - tau.

    Stratified and symmetric draws, as in Linesight, have less variance than independent ones.
    """
    if count % 2:
        raise ValueError(f"the number of quantiles must be even, it is {count}")
    strata = torch.arange(count // 2, device=device)
    lower = (strata + torch.rand(batch, count // 2, generator=generator, device=device)) / count
    return torch.cat([lower, 1.0 - lower], dim=1)


def _encoder(settings: NetworkSettings, width: int, height: int) -> nn.Module:
    if settings.encoder == "conv":
        check_frame_size(width, height)
        return ConvEncoder(settings.frame_stack, normalise_spectrum=settings.spectral_norm)
    return ImpalaEncoder(settings.frame_stack, scale=settings.impala_scale, normalise_spectrum=settings.spectral_norm)
