"""The stage that clones behaviour: the cloner, its loss, what is done to samples, and what is measured.

Shape letters: B batch, F floats, K offsets, A classes, P previous actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pretrain.augment import mirror, shift
from pretrain.batches import Batch, BatchSource, Wanted
from pretrain.bc.action_classes import ActionClasses
from pretrain.bc.cloner import Cloner, Parts
from pretrain.bc.scores import count, figures
from pretrain.stage import Outcome, Stage, Tallies
from pretrain.visual.visual_stage import VisualTasks, encoder_tensors, moments_ahead
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import BCConfig, StageSettings, VisualConfig
from tmrl_ray.datasets.cache import NO_LABEL
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.iqn.network import NetworkIO
from tmrl_ray.racing.actions import ACTION_KEYS
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.runs.artifact import PartKey


@dataclass(frozen=True, eq=False)
class Driving:
    """What the cloned agent will see and do."""

    layout: ObservationLayout
    """Of the floats."""
    decision_period_ms: int


@dataclass(frozen=True, eq=False)
class _Sample:
    """Samples as the cloner learns from them."""

    frames: Tensor
    floats: Tensor | None
    labels: Tensor
    """(B, K) classes."""
    previous: Tensor
    """(B,) class of the last previous action."""


class BCStage(Stage):
    """Clones behaviour.

    Args:
        config: the stage's.
        network: of the training that the result is for.
        io: what it sees.
        driving: how it will drive.
        interval_ms: between two pictures of the dataset.

    Raises:
        ConfigError: the training sees no pictures, or its heads cannot be cloned.
    """

    class_weights: Tensor
    majority: Tensor
    class_of_action: Tensor
    mirrored: Tensor
    float_index: Tensor
    float_sign: Tensor
    masked: Tensor
    keys: Tensor

    def __init__(
        self, config: BCConfig, network: NetworkSettings, io: NetworkIO, driving: Driving, *, interval_ms: int
    ) -> None:
        super().__init__()
        self.classes = ActionClasses.of(config.actions)
        self.cloner = Cloner(config, network, io, classes=len(self.classes))
        self.driving = driving
        self._config = config
        offsets = config.bc_time_offsets_ms
        period_ms = TICK_MS if config.legacy_previous_ticks else driving.decision_period_ms
        ages = range(driving.layout.settings.previous_actions if config.legacy_previous_ticks else 1, 0, -1)
        self._visual: VisualTasks | None = None
        ahead = {}
        if config.bc_mode == "auxiliary_head":
            assert io.frame_size is not None
            visual = auxiliary_visual(config)
            ahead = moments_ahead(visual, interval_ms)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                self._visual = VisualTasks(self.cloner.encoder, visual, io.frame_size, ahead)
        self.wanted = Wanted(
            ahead=ahead,
            offsets_ms=offsets,
            target=config.bc_target,
            floats=config.use_floats,
            previous_ms=tuple(-age * period_ms for age in ages),
        )
        self._register(torch.from_numpy(np.eye(driving.layout.size, dtype=bool)), driving.layout, len(offsets))

    def _register(self, one_hot: Tensor, layout: ObservationLayout, offsets: int) -> None:
        floats = FloatsMirror(layout)
        self.register_buffer("class_weights", torch.ones(offsets, len(self.classes)))
        self.register_buffer("majority", torch.zeros(offsets, dtype=torch.int64))
        fixed = {
            "class_of_action": torch.from_numpy(self.classes.of_action),
            "mirrored": torch.from_numpy(self.classes.mirrored),
            "float_index": torch.from_numpy(floats.index),
            "float_sign": torch.from_numpy(floats.sign),
            "masked": one_hot[layout.previous_actions].any(dim=0),
            "keys": torch.from_numpy(ACTION_KEYS.copy()),
        }
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor, persistent=False)

    def take_prior(self, data: BatchSource) -> None:
        """Learn from the training data how frequent each class is."""
        counts = class_counts(data, self.wanted, self.classes)
        self.majority.copy_(torch.from_numpy(counts.argmax(axis=1)))
        if self._config.class_balance:
            weights = np.maximum(counts, 1.0) ** -self._config.class_balance
            weights /= (weights * counts).sum(axis=1, keepdims=True) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            self.class_weights.copy_(torch.from_numpy(weights))

    def forward(self, batch: Batch) -> Outcome:
        """Return the loss of a batch, plain cross-entropy when it is measured, and what is counted."""
        sample = self._sample(batch)
        logits = self.cloner(sample.frames, sample.floats)  # (B, K, A)
        loss = self._loss(logits, sample.labels)
        tallies = count(logits, sample.labels, sample.previous) | {"bc_loss": loss.detach() * len(logits)}
        if self._visual is not None:
            visual, told = self._visual(self.cloner.encoder, batch)
            loss = visual + self._config.auxiliary.bc_weight * loss
            tallies |= told
        return Outcome(loss, tallies | {"loss": loss.detach() * len(logits)})

    def metrics(self, tallies: Tallies) -> dict[str, float | None]:
        """Return the figures of a pass over the data, beside those of the baselines."""
        counted = {"confusion", "surprise", "changed", "copied", "confidence", "samples"}
        samples = float(tallies["samples"])
        means = {name: float(value) / samples for name, value in tallies.items() if name not in counted}
        return means | figures(
            tallies,
            offsets_ms=self._config.bc_time_offsets_ms,
            names=self.classes.names,
            majority=self.majority.tolist(),
            main_actions=self._config.main_actions,
        )

    @torch.no_grad()
    def driving_logits(self, frames: Tensor, floats: Tensor) -> Tensor:
        """Return the logits (A,) of the class at the moment itself, or at the nearest offset there is.

        Args:
            frames: (1, C, H, W) uint8.
            floats: (1, F) as they are observed.
        """
        seen = floats if self._config.use_floats else None
        if seen is not None and self._config.mask_previous_actions == 1:
            seen = torch.where(self.masked, self.cloner.float_mean, seen)
        if seen is not None and self._config.legacy_mean_floats:
            seen = self.cloner.float_mean.expand_as(seen)
        offsets_ms = self._config.bc_time_offsets_ms
        nearest = min(range(len(offsets_ms)), key=lambda index: abs(offsets_ms[index]))
        logits: Tensor = self.cloner(frames, seen)[0, nearest]
        return logits

    def after_step(self) -> None:
        """Let slow encoders follow."""
        if self._visual is not None:
            self._visual.after_step(self.cloner.encoder)

    def artifact_parts(self) -> Parts:
        """Return what the mode hands over: the encoder, and the heads that are asked for."""
        config, cloner = self._config, self.cloner
        parts: Parts = {PartKey("encoder"): encoder_tensors(cloner.encoder)}
        drives = config.bc_mode == "full_policy"
        if config.use_floats and (config.save_float_head or drives):
            parts[PartKey("float_head")] = self._float_head()
        if config.use_full_iqn:
            parts |= {PartKey(part): cloner.network_tensors(part) for part in ("quantile_layer", "value_head")}
        heads = config.use_full_iqn or (config.use_actions_head and config.save_actions_head)
        if heads or config.bc_mode != "backbone":
            parts |= cloner.head_tensors()
        if drives and (fusion := cloner.encoder.fusion_tensors):
            parts[PartKey("fusion")] = fusion
        return parts

    def _float_head(self) -> dict[str, Tensor]:
        """Return its tensors; floats that were masked throughout weigh nothing: whoever sees them drives alike."""
        tensors = self.cloner.network_tensors("float_head")
        if self._config.mask_previous_actions == 1:
            first = next(name for name, tensor in tensors.items() if tensor.ndim == 2)  # (H, F), by order of layers
            tensors[first] = tensors[first].masked_fill(self.masked, 0.0)
        return tensors

    def _sample(self, batch: Batch) -> _Sample:
        """Return samples as they are learned from: in training mode shifted, mirrored and masked."""
        config = self._config
        assert batch.labels is not None
        assert batch.previous is not None
        floats, previous = batch.floats, batch.previous
        if floats is not None and config.legacy_previous_ticks:
            floats = floats.clone()
            floats[:, self.masked] = self.keys[previous.clamp(min=0)].flatten(1)
        if floats is not None and config.legacy_mean_floats:
            floats = self.cloner.float_mean.expand_as(floats)
        sample = _Sample(batch.frames, floats, self._classes_of(batch.labels), self._classes_of(previous[:, -1]))
        if self.training:
            sample = self._augmented(sample)
        if sample.floats is not None and config.mask_previous_actions:
            sample = self._masked(sample)
        return sample

    def _classes_of(self, actions: Tensor) -> Tensor:
        return torch.where(actions == NO_LABEL, NO_LABEL, self.class_of_action[actions.clamp(min=0)])

    def _augmented(self, sample: _Sample) -> _Sample:
        config = self._config
        frames, floats = shift(sample.frames, config.shift_pixels), sample.floats
        labels, previous = sample.labels, sample.previous
        if config.mirror_share:
            chosen = torch.rand(len(frames), device=frames.device) < config.mirror_share
            frames = mirror(frames, chosen)
            if floats is not None:
                floats = torch.where(chosen[:, None], floats[:, self.float_index] * self.float_sign, floats)
            labels = torch.where(chosen[:, None], self._mirrored(labels), labels)
            previous = torch.where(chosen, self._mirrored(previous), previous)
        return _Sample(frames, floats, labels, previous)

    def _mirrored(self, classes: Tensor) -> Tensor:
        return torch.where(classes == NO_LABEL, NO_LABEL, self.mirrored[classes.clamp(min=0)])

    def _masked(self, sample: _Sample) -> _Sample:
        """Put the mean in the place of the previous actions: always if they are never seen, else only in training."""
        share = self._config.mask_previous_actions
        assert sample.floats is not None
        if not self.training and share < 1:
            return sample
        chosen = torch.rand(len(sample.floats), 1, device=sample.floats.device) < share
        floats = torch.where(chosen & self.masked, self.cloner.float_mean, sample.floats)
        return _Sample(sample.frames, floats, sample.labels, sample.previous)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = logits.new_zeros(())
        for index, weight in enumerate(self._config.offset_weights):
            known = (labels[:, index] != NO_LABEL).sum().clamp(min=1)
            each = functional.cross_entropy(
                logits[:, index].float(),
                labels[:, index],
                weight=self.class_weights[index] if self.training and self._config.class_balance else None,
                ignore_index=NO_LABEL,
                reduction="sum",
                label_smoothing=self._config.label_smoothing if self.training else 0.0,
            )
            loss = loss + weight * each / known
        return loss


def auxiliary_visual(config: BCConfig) -> VisualConfig:
    """Return the settings of the visual tasks beside cloning: what both stages have is taken from this one."""
    return config.auxiliary.visual.replace(**{name: getattr(config, name) for name in StageSettings.model_fields})


def class_counts(data: BatchSource, wanted: Wanted, classes: ActionClasses) -> NDArray[np.float64]:
    """Return how often each class is the label of a training sample, (K, A)."""
    if wanted.target == "next_tick":
        labels = data.cache.targets(data.train_rows, "next_tick")[:, None]
    else:
        labels = data.cache.labels(data.train_rows, wanted.offsets_ms)
    counted = [
        np.bincount(classes.of_action[column[column != NO_LABEL]], minlength=len(classes)) for column in labels.T
    ]
    return np.array(counted, np.float64)
