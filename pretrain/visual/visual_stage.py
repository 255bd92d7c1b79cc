"""The visual stage: one encoder, and the tasks that teach it, each with its weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.batches import Ahead, Batch, Wanted
from pretrain.encoder import StackEncoder, build_parts
from pretrain.stage import Outcome, Stage, Tallies
from pretrain.visual.tasks import (
    Autoencoder,
    InverseDynamics,
    SelfPrediction,
    SimCLR,
    Task,
    TemporalContrast,
    VariationalAutoencoder,
)
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import TaskName, VisualConfig
from tmrl_ray.errors import ConfigError
from tmrl_ray.iqn.network import NetworkIO
from tmrl_ray.runs.artifact import PartKey


class VisualTasks(nn.Module):
    """The tasks that teach an encoder, and their weighted loss.

    Args:
        encoder: that they teach.
        config: which tasks.
        frame_size: width and height in pixels.
        ahead: from :func:`moments_ahead`.
    """

    def __init__(
        self, encoder: StackEncoder, config: VisualConfig, frame_size: tuple[int, int], ahead: dict[str, Ahead]
    ) -> None:
        super().__init__()
        self._weights = config.weights
        tasks: dict[str, Task] = {
            name: _task(name, encoder, config, frame_size, ahead.get(name)) for name in self._weights
        }
        self.each = nn.ModuleDict(tasks)

    def forward(self, encoder: StackEncoder, batch: Batch) -> Outcome:
        """Return the weighted loss of a batch, and the figures of each task as ``<task>_<figure>``."""
        loss, tallies = torch.zeros((), device=batch.frames.device), dict[str, Tensor]()
        for name, weight in self._weights.items():
            outcome: Outcome = self.each[name](encoder, batch)
            loss = loss + weight * outcome.loss
            tallies[f"{name}_loss"] = outcome.loss.detach() * len(batch.frames)
            tallies |= {f"{name}_{figure}": value for figure, value in outcome.tallies.items()}
        return Outcome(loss, tallies)

    def after_step(self, encoder: StackEncoder) -> None:
        """Do what follows a step of the optimiser."""
        for task in self.tasks:
            task.after_step(encoder)

    @property
    def tasks(self) -> list[Task]:
        """Each of them."""
        return [task for task in self.each.values() if isinstance(task, Task)]


class VisualStage(Stage):
    """Trains an encoder on pictures.

    Args:
        config: the stage's.
        network: of the training that the result is for.
        io: what it sees.
        interval_ms: between two pictures of the dataset.

    Raises:
        ConfigError: the training sees no pictures, or a task looks less far ahead than the next picture is.
    """

    def __init__(self, config: VisualConfig, network: NetworkSettings, io: NetworkIO, *, interval_ms: int) -> None:
        super().__init__()
        parts = build_parts(config, network, io)
        assert io.frame_size is not None
        ahead = moments_ahead(config, interval_ms)
        self.wanted = Wanted(ahead=ahead)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = StackEncoder(parts.encoder, config, io.frame_size)
            self.tasks = VisualTasks(self.encoder, config, io.frame_size, ahead)

    def forward(self, batch: Batch) -> Outcome:
        """Return the loss of a batch and what is counted."""
        loss, tallies = self.tasks(self.encoder, batch)
        return Outcome(loss, {"loss": loss.detach() * len(batch.frames), **tallies})

    def metrics(self, tallies: Tallies) -> dict[str, float | None]:
        """Return the mean of each figure over the samples."""
        samples = float(tallies["samples"])
        return {name: float(value) / samples for name, value in tallies.items() if name != "samples"}

    def after_step(self) -> None:
        """Let the slow encoders follow."""
        self.tasks.after_step(self.encoder)

    def artifact_parts(self) -> dict[PartKey, dict[str, Tensor]]:
        """Return the encoder."""
        return {PartKey("encoder"): encoder_tensors(self.encoder)}

    @torch.no_grad()
    def rebuild(self, frames: Tensor) -> Tensor | None:
        """Return pictures (B, C, H, W) as they are rebuilt, normalised; None: no task rebuilds any."""
        self.eval()
        rebuilt = (task.rebuild(self.encoder, frames) for task in self.tasks.tasks)
        return next((each for each in rebuilt if each is not None), None)


def encoder_tensors(encoder: StackEncoder) -> dict[str, Tensor]:
    """Return the weights of the network's encoder by their names in the network."""
    return {f"encoder.{name}": tensor for name, tensor in encoder.encoder.state_dict().items()}


def moments_ahead(config: VisualConfig, interval_ms: int) -> dict[str, Ahead]:
    """Return which moments after a picture each task wants to see.

    Raises:
        ConfigError: a task looks less far ahead than the next picture is.
    """
    nearest_ms, farthest_ms = config.atc_ahead_ms
    spans: dict[TaskName, tuple[str, int, int]] = {
        "atc": ("atc_ahead_ms", nearest_ms, farthest_ms),
        "idm": ("idm_ahead_ms", interval_ms, config.idm_ahead_ms),
        "spr": ("spr_ahead_ms", interval_ms, config.spr_ahead_ms),
    }
    ahead: dict[str, Ahead] = {}
    for name, (setting, first_ms, last_ms) in spans.items():
        if name not in config.weights:
            continue
        last = last_ms // interval_ms
        if last < 1:
            raise ConfigError(
                f"{setting} = {last_ms} ms: the pictures of the dataset are {interval_ms} ms apart",
                hint=f"Look at least one picture ahead: {setting} of {interval_ms} or more.",
            )
        first = min(max(1, -(-first_ms // interval_ms)), last)
        step = max(1, config.spr_step_ms // interval_ms) if name == "spr" else 1
        rows = tuple(range(step, last + 1, step)) if name == "spr" else tuple(range(first, last + 1))
        ahead[name] = Ahead(rows, drawn=name != "spr")
    return ahead


def _task(
    name: str, encoder: StackEncoder, config: VisualConfig, frame_size: tuple[int, int], ahead: Ahead | None
) -> Task:
    if name == "ae":
        return Autoencoder(encoder, config, frame_size)
    if name == "vae":
        return VariationalAutoencoder(encoder, config, frame_size)
    if name == "simclr":
        return SimCLR(encoder, config)
    if name == "atc":
        return TemporalContrast(encoder, config)
    if name == "spr":
        return SelfPrediction(encoder, config)
    assert ahead is not None
    return InverseDynamics(encoder, len(ahead.rows))
