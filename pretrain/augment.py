"""What is done to pictures so that an encoder cannot rely on what does not matter, each sample by a draw of its own.

Shifts are those of Kostrikov et al. 2021, "DrQ" (https://arxiv.org/abs/2004.13649): the edge is repeated where nothing
is left to see, and all pictures of a stack move alike, as if the camera were mounted elsewhere. Everything is drawn
from torch's generator of the device, which the loop seeds for each epoch.

Shape letters: B batch, C stacked frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift(frames: Tensor, pixels: int, *, whole_batch: bool = False) -> Tensor:
    """Return the pictures (B, C, H, W), each stack moved by up to ``pixels`` in both directions.

    Args:
        frames: of any type.
        pixels: 0 moves nothing.
        whole_batch: move all by the same draw, as the reference does.
    """
    if pixels == 0:
        return frames
    batch, channels, height, width = frames.shape
    draws = torch.randint(-pixels, pixels + 1, (1 if whole_batch else batch, 2, 1), device=frames.device)
    rows = (torch.arange(height, device=frames.device) - draws[:, 0]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=frames.device) - draws[:, 1]).clamp(0, width - 1)  # (B, W)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H * W)
    taken = places[:, None].expand(batch, channels, -1)
    return frames.flatten(2).gather(2, taken).view(frames.shape)


def brighten(pixels: Tensor, share: float, *, whole_batch: bool = False) -> Tensor:
    """Return pixels (B, C, H, W) of 0 to 1, each stack brighter or darker by up to ``share``, cut off at 0 and 1."""
    size = 1 if whole_batch else len(pixels)
    factor = 1.0 + share * (2.0 * torch.rand(size, 1, 1, 1, device=pixels.device) - 1.0)
    return (pixels * factor).clamp(0.0, 1.0)


def mirror(frames: Tensor, chosen: Tensor) -> Tensor:
    """Return the pictures (B, C, H, W), left and right exchanged where ``chosen`` (B,) is true."""
    return torch.where(chosen[:, None, None, None], frames.flip(-1), frames)
