"""What a stage is to the loop that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from pretrain.batches import Batch, Wanted
from tmrl_ray.runs.artifact import PartKey

Tallies = Mapping[str, Tensor]


class Outcome(NamedTuple):
    """What came of a batch."""

    loss: Tensor
    """() mean over its samples."""
    tallies: Tallies
    """Sums over its samples, without gradients, which may be added over batches and workers."""


class Stage(nn.Module):
    """Something to train: all its parameters learn that want a gradient.

    ``forward`` takes a batch and returns an outcome, in training mode with all augmentation, in evaluation mode as it
    is measured.
    """

    wanted: Wanted
    """What it wants to know of each sample."""

    def forward(self, batch: Batch) -> Outcome:
        """Return the loss of a batch and what is counted."""
        raise NotImplementedError

    def metrics(self, tallies: Tallies) -> dict[str, float | None]:
        """Return the figures of a pass over the data, ``loss`` among them; None where there is no number."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Do what follows a step of the optimiser."""

    def artifact_parts(self) -> dict[PartKey, dict[str, Tensor]]:
        """Return what the learner takes over: tensors by their names in the network."""
        raise NotImplementedError
