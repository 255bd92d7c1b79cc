"""Pictures of the rings that stay on a GPU: each crosses the bus when it is first drawn, and never again.

There is room on the device for the picture of every row of the rings. ``held`` tells, on the host, of which generation
(see ``ring_reader``) the picture is that is there::

    builder, of each batch   rows whose generation is not the one that is held -> pinned memory, and
                             places of all its pictures, shifts, who is mirrored -> pinned memory
    copy of the batch        what was missing -> its places; then the batch's pictures from their places, shifted and
                             mirrored on the device, into the memory that is learned from

A row that is overwritten while it is copied is sent too, and not believed: its sample is torn, and another one is in
its place (see ``batch_builder``). All work on the device is handed to the stream that copies batches, so that it is
done in the order of the batches; the steps of learning never touch what is held. Batches are copied in the order in
which they were built, each once at most: one that is left out takes what it had to send with it.

Shape letters: P places, M missing pictures, B batch, C stacked frames, H W pixels, U torn samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.memory import MIB
from tmrl_ray.experience.ring_reader import RingReader

Ints = NDArray[np.int64]

NOTHING = 0
"""The generation of rows that were never written."""


class DevicePictures:
    """Room on a device for the pictures of rings, all of one shape.

    Args:
        device: where the pictures stay.
        rings: whose pictures.
    """

    def __init__(self, device: torch.device, *rings: RingReader) -> None:
        self.device = device
        self.copied = 0
        """Pictures that were sent to the device."""
        self._memory: Tensor | None = None
        self.attach(*rings)

    def attach(self, *rings: RingReader) -> None:
        """Have room for the pictures of these rings from now on, and hold none. Batches built before are void."""
        rows = [ring.rows for ring in rings]
        firsts = np.cumsum([0, *rows]).tolist()
        self._first: dict[str, int] = {ring.uuid: first for ring, first in zip(rings, firsts, strict=False)}
        self._shape: tuple[int, ...] = (firsts[-1], *rings[0].format.layout["frame"].shape)
        self.held: Ints = np.full(firsts[-1], NOTHING, np.int64)
        """(P,) generations of the pictures that are there."""
        if self._memory is not None and self._memory.shape != self._shape:
            self._memory = None

    @property
    def size_bytes(self) -> int:
        """What it takes on the device."""
        height, width = self.picture_shape
        return len(self.held) * height * width

    @property
    def picture_shape(self) -> tuple[int, int]:
        """(H, W)."""
        _, height, width = self._shape
        return height, width

    def first_of(self, ring: RingReader) -> int:
        """Return the place of a ring's first row."""
        return self._first[ring.uuid]

    def write(self, pictures: Tensor, places: Tensor) -> None:
        """Put pictures (M, H, W) into places (M,), each another one; both in pinned memory."""
        on_device = pictures.to(self.device, non_blocking=True)
        self._on_device().index_copy_(0, places.to(self.device, non_blocking=True), on_device)

    def read(self, places: Tensor, changes: Tensor | None, out: Tensor) -> None:
        """Take pictures from their places.

        Args:
            places: (B, C), in pinned memory.
            changes: (B, 3) pixels down and to the right, 1 where the shifted picture is mirrored, in pinned memory;
                None: there are none.
            out: (B, C, H, W) on the device, contiguous.
        """
        places = places.to(self.device, non_blocking=True)
        torch.index_select(self._on_device(), 0, places.flatten(), out=out.flatten(0, 1))
        if changes is None:
            return
        down, right, mirrored = changes.to(self.device, non_blocking=True)[..., np.newaxis].unbind(1)  # (B, 1) each
        lines, columns = (torch.arange(size, device=self.device) for size in self.picture_shape)
        columns = torch.where(mirrored > 0, columns.flip(0), columns)  # (B, W)
        lines, columns = (
            (at - shift).clamp(0, size - 1)  # the edge is repeated where nothing is left to see
            for at, shift, size in zip((lines, columns), (down, right), self.picture_shape, strict=True)
        )
        # gather takes an expanded index as it is; out[..., lines, columns] would write it out, 24 bytes for a pixel
        by_line = out.gather(2, lines[:, None, :, None].expand_as(out))
        torch.gather(by_line, 3, columns[:, None, None, :].expand_as(out), out=out)

    def _on_device(self) -> Tensor:
        """Return the room, (P, H, W). It is taken on the stream that uses it, to which it then belongs."""
        if self._memory is None:
            try:
                self._memory = torch.empty(self._shape, dtype=torch.uint8, device=self.device)
            except torch.OutOfMemoryError as error:
                raise InvalidInputError(
                    f"the pictures of the experience, {self.size_bytes / MIB:,.0f} MiB, do not fit on {self.device}",
                    hint="Leave out learner.pictures_on_device, or lower rows in replay.windows.",
                ) from error
        return self._memory


class PictureOrder:
    """The pictures of one batch: what is missing on the device, where the others are there, how they are augmented.

    Args:
        pictures: on the device.
        batch_size: B.
        frame_stack: C.
        pinned: in memory from which a CUDA device can copy by itself.
    """

    def __init__(self, pictures: DevicePictures, batch_size: int, frame_stack: int, *, pinned: bool) -> None:
        def memory(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, pin_memory=pinned)

        most = 2 * batch_size * frame_stack
        self._pictures = pictures
        self._places = memory(torch.int64, 2, batch_size, frame_stack)
        self._changes = memory(torch.int64, batch_size, 3)
        self._is_changed = False
        self._missing = 0
        self._missing_pictures = memory(torch.uint8, most, *pictures.picture_shape)
        self._missing_places = memory(torch.int64, most)
        self._missing_generations: Ints = np.zeros(most, np.int64)

    def begin(self, *, shifted: bool) -> None:
        """Begin a batch, whose pictures are going to be shifted or not."""
        self._missing, self._is_changed = 0, False

    def gather(self, ring: RingReader, rows: tuple[Ints, Ints], into: slice) -> None:
        """Note where the pictures of some samples are on the device, and copy those from the ring that are not."""
        first, stacked = self._pictures.first_of(ring), np.stack(rows)
        self._places.numpy()[:, into] = first + stacked
        drawn = np.unique(stacked)
        found = ring.generations(drawn)
        # Where a row has not the generation that was drawn, its sample is torn: what is held of it does not matter.
        missing = self._pictures.held[first + drawn] != found
        drawn, found = drawn[missing], found[missing]
        staged = slice(self._missing, self._missing + len(drawn))
        ring.take("frame", drawn, self._missing_pictures.numpy()[staged])
        whole = ring.intact(drawn, found) & (found % 2 == 0)
        self._missing_places.numpy()[staged] = first + drawn
        self._missing_generations[staged] = np.where(whole, found, NOTHING)
        self._missing = staged.stop

    def repeat(self, torn: Ints, instead: Ints) -> None:
        """Let torn samples have the pictures of other ones."""
        places = self._places.numpy()
        places[:, torn] = places[:, instead]

    def augment(self, shifts: Ints | None, mirrored: Ints) -> None:
        """Note how all samples are shifted, and which are mirrored."""
        changes = self._changes.numpy()
        changes[:, :2] = 0 if shifts is None else shifts
        changes[:, 2] = 0
        changes[mirrored, 2] = 1
        self._is_changed = bool(changes.any())

    def empty(self) -> Tensor:
        """Return memory on the device for ``frames`` and ``next_frames``, (2, B, C, H, W)."""
        shape = *self._places.shape, *self._pictures.picture_shape
        return torch.empty(shape, dtype=torch.uint8, device=self._pictures.device)

    def copy_into(self, frames: Tensor, next_frames: Tensor) -> None:
        """Send what is missing, and put the batch's pictures into (B, C, H, W) each; nobody waits for it."""
        pictures, changes = self._pictures, self._changes if self._is_changed else None
        if self._missing:
            places = self._missing_places[: self._missing]
            pictures.write(self._missing_pictures[: self._missing], places)
            pictures.held[places.numpy()] = self._missing_generations[: self._missing]
            pictures.copied += self._missing
        for places, out in zip(self._places, (frames, next_frames), strict=True):
            pictures.read(places, changes, out)


@dataclass(frozen=True, eq=False, kw_only=True)
class OrderedBatch(Batch):
    """A batch that gets its pictures when it is copied to the device; here it has none."""

    order: PictureOrder
    """Its pictures."""

    def empty_like(self, device: torch.device) -> Batch:
        """Return memory on ``device``, that of the pictures, for batches of this size with their pictures."""
        memory = {name: torch.empty_like(each, device=device) for name, each in self.tensors().items()}
        frames, next_frames = self.order.empty()
        return Batch(frames=frames, next_frames=next_frames, **memory)

    def copy_into(self, other: Batch) -> None:
        """Copy it, with its pictures, into the memory of another one of its size; nobody waits for it."""
        super().copy_into(other)
        assert other.frames is not None
        assert other.next_frames is not None
        self.order.copy_into(other.frames, other.next_frames)
