"""Layers that the network is built from, and how they are initialised.

Whatever is random while training is drawn ahead of the forward pass, from a generator that the caller keeps: so a
pass is a pure function, a compiled one too, and a resumed run draws what it would have drawn.

Shape letters: B batch, D features, I inputs, O outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LEAKY_SLOPE = 0.01
LEAKY_GAIN = math.sqrt(2.0 / (1.0 + LEAKY_SLOPE**2))
COSINE_GAIN = math.sqrt(2.0) * LEAKY_GAIN
"""Gain for the layer behind the cosines, whose variance is one half."""


def initialise(layer: nn.Linear | nn.Conv2d, *, gain: float) -> None:
    """Set ``layer`` to orthogonal weights of the given ``gain`` and a bias of zero."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class NoisyLinear(nn.Linear):
    """A linear layer with learned, factorised Gaussian noise on its weights.

    Fortunato et al. 2018, "Noisy Networks for Exploration" (https://arxiv.org/abs/1706.10295), equations 10 and 11.
    The noise is kept until the next :meth:`draw`; in evaluation mode the layer is a plain linear one.
    """

    input_noise: Tensor
    output_noise: Tensor

    def __init__(self, inputs: int, outputs: int, *, sigma: float) -> None:
        super().__init__(inputs, outputs)
        start = sigma / math.sqrt(inputs)
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), start))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), start))
        self.register_buffer("input_noise", torch.zeros(inputs), persistent=False)
        self.register_buffer("output_noise", torch.zeros(outputs), persistent=False)

    def draw(self, generator: torch.Generator | None) -> None:
        """Draw new noise."""
        for noise in (self.input_noise, self.output_noise):
            noise.normal_(generator=generator)
            noise.copy_(noise.sign() * noise.abs().sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        if not self.training:
            return super().forward(x)
        weight = self.weight + self.weight_sigma * torch.outer(self.output_noise, self.input_noise)
        bias = self.bias + self.bias_sigma * self.output_noise
        return nn.functional.linear(x, weight.to(self.weight.dtype), bias.to(self.bias.dtype))


class Dropout(nn.Module):
    """Sets each feature to zero with some probability while training, by a mask that is drawn beforehand.

    Args:
        probability: that a feature is dropped; the others grow by 1 / (1 - probability).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._scale: Tensor | None = None  # (B, D)

    def draw(self, batch: int, features: int, *, generator: torch.Generator | None, device: torch.device) -> None:
        """Draw which features of a batch are kept."""
        kept = torch.rand(batch, features, generator=generator, device=device) >= self.probability
        self._scale = kept / (1.0 - self.probability)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        if not self.training or self._scale is None:
            return x
        return x * self._scale.to(x.dtype)


class Head(nn.Module):
    """A hidden stage and a last linear layer, which always computes in the type of its own weights, float32.

    Actions differ by about a hundredth of the return (Linesight's kappa is 0.005), and bfloat16 rounds values near 1
    to 0.008: hidden units may be rounded so, for the errors of hundreds of them cancel out, but the sum may not.
    """

    def __init__(self, hidden: nn.Sequential, last: nn.Linear) -> None:
        super().__init__()
        self.hidden = hidden
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        hidden: Tensor = self.hidden(x).to(self.last.weight.dtype)
        if not torch.is_autocast_enabled(x.device.type):
            values: Tensor = self.last(hidden)
            return values
        with torch.autocast(x.device.type, enabled=False):
            values = self.last(hidden)
            return values
