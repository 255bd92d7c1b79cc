"""Batches on their way to a CUDA device, copied while it learns from earlier ones.

Copies are made on a stream of their own, from pinned memory into one of two batches on the device, in turn. Who waits
for what, and where the host does not::

    copy of batch k    waits for the steps up to k - 2, the last of which read the same memory: on the device
    step of batch k    waits for its copy: on the device
    host               waits, before the builder fills pinned memory again, for the copy that read it: long done

The third of these also keeps the host from running ahead of the device by more than a few steps.
"""

from __future__ import annotations

from collections import deque

import torch

from tmrl_ray.experience.batches import Batch

SLOTS = 2
"""Batches on the device: one is learned from while the other one is filled."""


class DeviceCopies:
    """Copies batches to a CUDA device.

    Args:
        device: where to.
        buffers: in how many pieces of memory batches come, in turn: see ``BatchBuilder.buffers``.
    """

    def __init__(self, device: torch.device, buffers: int) -> None:
        self._device = device
        self._buffers = buffers
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._slots: deque[Batch] = deque()
        self._copied: deque[torch.cuda.Event] = deque()  # of batches whose memory may not be filled again yet
        self._handed_over: torch.cuda.Event | None = None  # what was to be computed before the latest copy

    def take(self, batch: Batch) -> Batch:
        """Return ``batch`` on the device, for what is handed over to the current stream from now on.

        It is valid until the next call but one; of the batch itself, the memory that the builder fills next may be
        filled when this returns.
        """
        compute = torch.cuda.current_stream(self._device)
        if len(self._slots) < SLOTS:
            slot, earlier = batch.empty_like(self._device), None
        else:
            slot, earlier = self._slots.popleft(), self._handed_over
        handed_over = _event_on(compute)
        # New memory may have been that of tensors which the device has still to read.
        self._stream.wait_event(handed_over if earlier is None else earlier)
        with torch.cuda.stream(self._stream):
            batch.copy_into(slot)
        copied = _event_on(self._stream)
        compute.wait_event(copied)
        self._slots.append(slot)
        self._copied.append(copied)
        self._handed_over = handed_over
        if len(self._copied) >= self._buffers:
            self._copied.popleft().synchronize()
        return slot


def _event_on(stream: torch.cuda.Stream) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(stream)
    return event
