"""What is done to a drawn batch so that the network cannot rely on what does not matter: shifts and mirrors.

*Shift* (Kostrikov et al. 2021, "DrQ", https://arxiv.org/abs/2004.13649): a picture is moved by some pixels, and its
edge is repeated where nothing is left to see. The offset is drawn for each sample and is the same for all of its
pictures, those before and those after the decision: it is as if the camera were mounted elsewhere, and it stays there.
Shifts drawn apart would look like motion between the frames of a stack.

*Mirror*: left and right are exchanged in a sample's pictures, floats and action alike; see ``racing.mirror``.

Shape letters: B batch, C stacked frames, H W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.racing.mirror import mirror_frames

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_WORD_BYTES = 8


def draw_shifts(rng: np.random.Generator, size: int, pixels: int) -> Ints:
    """Return (B, 2) random shifts, down and to the right, of -``pixels`` to ``pixels``."""
    return rng.integers(-pixels, pixels + 1, (size, 2))


def shift_frames(frames: Bytes, shifts: Ints, out: Bytes) -> None:
    """Shift the pictures of each sample, with the edge repeated.

    A shifted picture is, but for its edges, the same run of bytes begun somewhere else. So each sample is copied as
    one run, and then its edges are mended, all samples with the same shift at once.

    Args:
        frames: (B, C, H, W), contiguous.
        shifts: (B, 2) pixels down and to the right, smaller than the picture.
        out: (B, C, H, W), another array.
    """
    size, _, _, width = frames.shape
    run = frames[0].size
    starts = np.arange(size) * run - shifts[:, 0] * width - shifts[:, 1]
    inside = (starts >= 0) & (starts <= frames.size - run)
    windows = np.lib.stride_tricks.sliding_window_view(frames.reshape(-1), run)
    out.reshape(size, run)[inside] = windows[starts[inside]]
    for sample in np.flatnonzero(~inside):  # the first or the last: its run would begin or end outside the batch
        out[sample] = np.roll(frames[sample], tuple(shifts[sample]), axis=(1, 2))
    _mend(out.transpose(2, 0, 1, 3), shifts[:, 0])
    _mend(out.transpose(3, 0, 1, 2), shifts[:, 1])


def _mend(lines: Bytes, shifts: Ints) -> None:
    """Repeat the edge where a shift has left nothing to see.

    Args:
        lines: (L, B, ...) a view of the pictures by their lines or columns.
        shifts: (B,) towards higher lines.
    """
    for shift in np.unique(shifts).tolist():
        moved = np.flatnonzero(shifts == shift)
        empty = lines[:shift] if shift > 0 else lines[len(lines) + shift :]
        edge = lines[shift if shift > 0 else shift - 1][moved]
        for line in empty:
            line[moved] = edge


def mirror_in_place(frames: Bytes, samples: Ints) -> None:
    """Exchange left and right in the pictures (B, C, H, W), contiguous, of some samples."""
    width = frames.shape[-1]
    if width % _WORD_BYTES == 0:  # reversing words, and the bytes within each, takes a quarter of the time
        words = frames.view(np.uint64)
        words[samples] = words[samples][..., ::-1].byteswap()
    else:
        frames[samples] = mirror_frames(frames[samples])
