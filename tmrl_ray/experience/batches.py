"""Batches: what a learner's update is given, and the memory that they are put into.

Shape letters: B batch, C stacked frames, H W pixels, F floats.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NO_EXPERT = -1
"""The expert's action in a row of which no expert is known to have chosen."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Transitions of up to n steps, drawn from the ring; a ``BatchBuilder`` fills its tensors again later."""

    frames: Tensor | None
    """(B, C, H, W) uint8, oldest first; None where the network sees no pictures."""
    next_frames: Tensor | None
    """(B, C, H, W) uint8, at the end of the transition."""
    floats: Tensor
    """(B, F) float32, the mini-race clock filled in."""
    next_floats: Tensor
    """(B, F) float32, at the end of the transition."""
    actions: Tensor
    """(B,) int64."""
    rewards: Tensor
    """(B,) float32, discounted sum over the transition."""
    discounts: Tensor
    """(B,) float32, of the value at the end of the transition; 0 where nothing comes after."""
    weights: Tensor
    """(B,) float32, by which the losses are multiplied: importance weights, 1 for uniform draws."""
    indices: Tensor
    """(B,) int64, rows of the ring."""
    generations: Tensor
    """(B,) int64, of those rows."""
    clock: Tensor
    """(B,) float32, of the mini-race at its start, in decisions."""
    policy_versions: Tensor
    """(B,) int64, of the weights that drove."""
    expert_actions: Tensor | None = None
    """(B,) int64: what an expert chose, in rows of demonstrations, and NO_EXPERT in others; None: there are none."""

    def __len__(self) -> int:
        return len(self.actions)

    def tensors(self) -> dict[str, Tensor]:
        """Return what there is, by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``; nobody waits for a copy from pinned memory."""
        memory = self.empty_like(device)
        self.copy_into(memory)
        return memory

    def empty_like(self, device: torch.device) -> Batch:
        """Return memory on ``device`` for batches of this size."""
        return replace(self, **{name: torch.empty_like(each, device=device) for name, each in self.tensors().items()})

    def copy_into(self, other: Batch) -> None:
        """Copy it into the memory of another one of its size; nobody waits for a copy from pinned memory."""
        memory = other.tensors()
        for name, tensor in self.tensors().items():
            memory[name].copy_(tensor, non_blocking=True)


class BatchBuffer:
    """Memory of one batch, as tensors for the learner and as arrays for whoever fills them.

    Args:
        batch_size: B.
        frames: (C, H, W) of a stack; None: there are no pictures.
        floats: F.
        experts: whether there are demonstrations.
        pinned: in memory from which a CUDA device can copy by itself.
    """

    def __init__(
        self, batch_size: int, frames: tuple[int, int, int] | None, floats: int, *, experts: bool, pinned: bool
    ) -> None:
        def memory(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(batch_size, *shape, dtype=dtype, pin_memory=pinned)

        self.batch = Batch(
            frames=None if frames is None else memory(torch.uint8, *frames),
            next_frames=None if frames is None else memory(torch.uint8, *frames),
            floats=memory(torch.float32, floats),
            next_floats=memory(torch.float32, floats),
            actions=memory(torch.int64),
            rewards=memory(torch.float32),
            discounts=memory(torch.float32),
            weights=memory(torch.float32),
            indices=memory(torch.int64),
            generations=memory(torch.int64),
            clock=memory(torch.float32),
            policy_versions=memory(torch.int64),
            expert_actions=memory(torch.int64) if experts else None,
        )
        self.arrays = Arrays(self.batch)


class Arrays:
    """The tensors of a batch but its pictures, as arrays that share their memory."""

    def __init__(self, batch: Batch) -> None:
        self.floats: NDArray[np.float32] = batch.floats.numpy()
        self.next_floats: NDArray[np.float32] = batch.next_floats.numpy()
        self.actions: NDArray[np.int64] = batch.actions.numpy()
        self.rewards: NDArray[np.float32] = batch.rewards.numpy()
        self.discounts: NDArray[np.float32] = batch.discounts.numpy()
        self.weights: NDArray[np.float32] = batch.weights.numpy()
        self.indices: NDArray[np.int64] = batch.indices.numpy()
        self.generations: NDArray[np.int64] = batch.generations.numpy()
        self.clock: NDArray[np.float32] = batch.clock.numpy()
        self.policy_versions: NDArray[np.int64] = batch.policy_versions.numpy()
        experts = batch.expert_actions
        self.expert_actions: NDArray[np.int64] | None = None if experts is None else experts.numpy()

    def repeat(self, torn: NDArray[np.int64], instead: NDArray[np.int64]) -> None:
        """Put the samples ``instead`` (U,) in the place of the samples ``torn`` (U,)."""
        for array in vars(self).values():
            if array is not None:
                array[torn] = array[instead]
