"""From features back to pictures.

Shape letters: B batch, C stacked frames, H W pixels, D features.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from pretrain.encoder import Normalization

_SCALE = 16
"""Four transposed convolutions double the size four times."""


class Decoder(nn.Module):
    """Rebuilds pictures in the range in which the encoder sees them.

    Args:
        features: D.
        frames: C.
        frame_size: width and height in pixels.
        normalization: the range: 0 to 1 ends in a sigmoid, -1 to 1 in a hyperbolic tangent.
        legacy_sigmoid: end in a sigmoid in any case; the loss of pixels below the middle then has a floor.
    """

    def __init__(
        self,
        features: int,
        *,
        frames: int,
        frame_size: tuple[int, int],
        normalization: Normalization,
        legacy_sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self._width, self._height = frame_size
        rows, columns = math.ceil(self._height / _SCALE), math.ceil(self._width / _SCALE)
        layers: list[nn.Module] = [nn.Linear(features, 32 * rows * columns), nn.Unflatten(1, (32, rows, columns))]
        for inputs, outputs in ((32, 64), (64, 32), (32, 16)):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(16, frames, 4, stride=2, padding=1))
        layers.append(nn.Sigmoid() if legacy_sigmoid or normalization == "01" else nn.Tanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return pixels (B, C, H, W) of features (B, D)."""
        pixels: Tensor = self.layers(features)
        return pixels[:, :, : self._height, : self._width]
