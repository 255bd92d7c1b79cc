"""The pictures of a batch that is being built: what a builder asks of them, and how the CPU does it.

Where pictures stay on a GPU, ``device_pictures`` does the same there.

Shape letters: B batch, C stacked frames, H W pixels, U torn samples.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tmrl_ray.experience.augment import mirror_in_place, shift_frames
from tmrl_ray.experience.ring_reader import RingReader

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Pictures(Protocol):
    """The pictures of one batch; for each batch that is put into its memory the calls come in this order."""

    def begin(self, *, shifted: bool) -> None:
        """Begin a batch, whose pictures are going to be shifted or not."""

    def gather(self, ring: RingReader, rows: tuple[Ints, Ints], into: slice) -> None:
        """Gather the pictures of some samples.

        Args:
            ring: that they come from.
            rows: of ``frames`` and of ``next_frames``, each (samples, C).
            into: where the samples are in the batch.
        """

    def repeat(self, torn: Ints, instead: Ints) -> None:
        """Put the pictures of the samples ``instead`` (U,) in the place of those of the samples ``torn`` (U,)."""

    def augment(self, shifts: Ints | None, mirrored: Ints) -> None:
        """Shift all samples by ``shifts`` (B, 2), see ``augment.shift_frames``, and mirror some."""


class GatheredPictures:
    """Pictures that are gathered into the memory of a batch.

    Args:
        frames: (B, C, H, W) of the batch.
        next_frames: (B, C, H, W) of the batch.
        unshifted: two arrays of that shape for pictures that are to be shifted, which other batches use too; None:
            none ever are.
    """

    def __init__(self, frames: Tensor, next_frames: Tensor, unshifted: tuple[Bytes, Bytes] | None) -> None:
        self._frames: tuple[Bytes, Bytes] = frames.numpy(), next_frames.numpy()
        self._unshifted = unshifted
        self._seen = self._frames

    def begin(self, *, shifted: bool) -> None:
        """Begin a batch, whose pictures are going to be shifted or not."""
        self._seen = self._unshifted if shifted and self._unshifted is not None else self._frames

    def gather(self, ring: RingReader, rows: tuple[Ints, Ints], into: slice) -> None:
        """Copy the pictures of some samples from the ring."""
        for stacked, seen in zip(rows, self._seen, strict=True):
            ring.take("frame", stacked, seen[into])

    def repeat(self, torn: Ints, instead: Ints) -> None:
        """Put the pictures of other samples in the place of torn ones."""
        for seen in self._seen:
            seen[torn] = seen[instead]

    def augment(self, shifts: Ints | None, mirrored: Ints) -> None:
        """Shift and mirror."""
        for seen, frames in zip(self._seen, self._frames, strict=True):
            if shifts is not None:
                shift_frames(seen, shifts, frames)
            mirror_in_place(frames, mirrored)
