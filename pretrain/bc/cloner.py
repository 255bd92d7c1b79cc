"""The networks that clone: an encoder, a float head if floats are seen, and a head for each time offset.

All parts are those of the network that the result is for, so that they load there as they are. Heads with a hidden
layer have the layout of the advantage head; where the cloner sees no floats, they have no columns for them, and get
zeros there in the artifact, with which they compute the same.

Shape letters: B batch, C stacked frames, F floats, H W pixels, D features, K offsets, A classes, N quantiles.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pretrain.encoder import StackEncoder, build_parts, check_fit, load_encoder
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import BCConfig
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.layers import LEAKY_GAIN, Head, initialise
from tmrl_ray.iqn.network import IQN, NetworkIO
from tmrl_ray.runs.artifact import PartKey

EVALUATED_QUANTILES = 8
"""Over so many, the middles of equal parts of [0, 1], the values of a network are averaged that was trained at random
ones."""

Parts = dict[PartKey, dict[str, Tensor]]


class Cloner(nn.Module):
    """Tells the logits of the actions at each offset.

    Args:
        config: the stage's.
        network: of the training that the result is for.
        io: what it sees.
        classes: A.

    Raises:
        ConfigError: the training sees no pictures, or its heads cannot be cloned.
    """

    float_mean: Tensor
    float_std: Tensor
    harmonics: Tensor

    def __init__(self, config: BCConfig, network: NetworkSettings, io: NetworkIO, *, classes: int) -> None:
        super().__init__()
        if network.noisy and (config.use_actions_head or config.use_full_iqn):
            raise ConfigError(
                "network.noisy: heads with learned noise cannot be cloned, for a policy needs none",
                hint="Clone with linear heads and hand over the encoder, or train without network.noisy.",
            )
        parts = build_parts(config, network, io)
        assert io.frame_size is not None
        self._config = config
        self.encoder = StackEncoder(parts.encoder, config, io.frame_size)
        self._float_columns = network.float_hidden
        features = self.encoder.features
        if config.use_floats:
            self.float_head = parts.float_head
            self.register_buffer("float_mean", parts.float_mean)
            self.register_buffer("float_std", parts.float_std)
            features += network.float_hidden
        self.dropout = nn.Dropout(config.dropout)
        self.offsets_ms = config.bc_time_offsets_ms
        self._classes = classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._make_heads(parts, network, features)

    def _make_heads(self, parts: IQN, network: NetworkSettings, features: int) -> None:
        config, offsets = self._config, len(self.offsets_ms)
        fused = config.bc_multi_offset_mode == "fused"
        self._fused = fused
        outputs, count = (offsets * self._classes, 1) if fused else (self._classes, offsets)
        if config.use_full_iqn:
            self.feature_norm = parts.feature_norm
            self.quantile_layer = parts.quantile_layer
            self.value_head = parts.value_head.requires_grad_(config.full_iqn_dueling)  # else it is never asked
            self.register_buffer("harmonics", parts.harmonics, persistent=False)
        if self._is_network_layout:
            head = parts.advantage_head
            if not config.use_floats:
                head.hidden[0] = _linear(features, network.head_hidden, gain=LEAKY_GAIN)
            if outputs != parts.io.actions:
                head.last = _linear(network.head_hidden, outputs, gain=1.0)
            self.heads = nn.ModuleList(copy.deepcopy(head) for _ in range(count))
        else:
            self.heads = nn.ModuleList(_linear(features, outputs, gain=1.0) for _ in range(count))
        self.head_dropout = nn.Dropout(config.action_head_dropout)

    def features(self, frames: Tensor, floats: Tensor | None) -> Tensor:
        """Return the features (B, D) of pictures (B, C, H, W) uint8 and floats (B, F)."""
        seen = [self.encoder(frames)]
        if self._config.use_floats:
            if floats is None:
                raise ValueError("this cloner sees floats, and was given none")
            seen.append(self.float_head((floats - self.float_mean) / self.float_std))
        return torch.cat(seen, dim=1)

    def forward(self, frames: Tensor, floats: Tensor | None) -> Tensor:
        """Return the logits (B, K, A)."""
        return self.logits(self.features(frames, floats))

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, K, A) of features (B, D)."""
        if self._config.use_full_iqn:
            return self._values(self.dropout(self.feature_norm(features)))
        return self._told(self.dropout(features))

    def _values(self, features: Tensor) -> Tensor:
        """Return the mean values (B, K, A) as the network has them, V + A - mean A, at a quantile or several."""
        cosines = torch.cos(self._quantiles(len(features), features.device).unsqueeze(-1) * self.harmonics)
        mixed = features.unsqueeze(1) * self.quantile_layer(cosines.to(features.dtype))  # (B, N, D)
        advantages = self._told(mixed)  # (B, N, K, A)
        if self._config.full_iqn_dueling:
            value = self.value_head(mixed).unsqueeze(-1)  # (B, N, 1, 1)
            advantages = value + advantages - advantages.mean(dim=-1, keepdim=True)
        return advantages.mean(dim=1)

    def _quantiles(self, batch: int, device: torch.device) -> Tensor:
        if not self._config.full_iqn_random_tau:
            return torch.full((1, 1), 0.5, device=device)
        if self.training:
            return torch.rand(batch, 1, device=device)
        return ((torch.arange(EVALUATED_QUANTILES, device=device) + 0.5) / EVALUATED_QUANTILES).unsqueeze(0)

    def _told(self, features: Tensor) -> Tensor:
        """Return what the heads make of features (..., D): (..., K, A)."""
        told = [self._one(head, features) for head in self.heads]
        if self._fused:
            return told[0].view(*features.shape[:-1], len(self.offsets_ms), self._classes)
        return torch.stack(told, dim=-2)

    def _one(self, head: nn.Module, features: Tensor) -> Tensor:
        if not isinstance(head, Head):
            linear: Tensor = head(features).float()
            return linear
        hidden = self.head_dropout(head.hidden(features)).to(head.last.weight.dtype)
        with torch.autocast(features.device.type, enabled=False):
            told: Tensor = head.last(hidden)
            return told

    def head_tensors(self) -> Parts:
        """Return the tensors of each offset's head by their names in the network; fused ones come apart."""
        if self._config.legacy_first_head:
            return {PartKey(self._head_part, 0): self._named(self.heads[0], 0)}
        return {
            PartKey(self._head_part, offset_ms): self._named(self.heads[0 if self._fused else index], index)
            for index, offset_ms in enumerate(self.offsets_ms)
        }

    def load_parts(self, parts: Mapping[PartKey, Mapping[str, Tensor]], source: str) -> None:
        """Take over the parts of another cloner; heads for offsets that it has not start as its first one.

        Args:
            parts: of an artifact.
            source: where they come from, for messages.

        Raises:
            ArtifactError: something that is needed is missing, or does not fit.
        """
        load_encoder(self.encoder.encoder, _part(parts, "encoder", source), source)
        self._load_fusion(parts, source)
        others = ["float_head"] if self._config.use_floats else []
        for part in [*others, *(("quantile_layer", "value_head") if self._config.use_full_iqn else ())]:
            given, wanted = _part(parts, part, source), self.network_tensors(part)
            check_fit({name: given[name] for name in given if name in wanted} or given, wanted, source)
            for name, tensor in wanted.items():
                tensor.copy_(given[name])
        theirs = {key.offset_ms or 0: each for key, each in parts.items() if key.part == self._head_part}
        if not theirs:
            raise ArtifactError(
                f"{source} has no {self._head_part} to go on with",
                hint="Take its encoder alone, with encoder_init_path, or one that was trained with the same heads.",
            )
        first = theirs.get(0, next(iter(theirs.values())))
        for index, offset_ms in enumerate(self.offsets_ms):
            self._load_head(index, theirs.get(offset_ms, first), source)

    @torch.no_grad()
    def _load_fusion(self, parts: Mapping[PartKey, Mapping[str, Tensor]], source: str) -> None:
        """Take over the layer that joins pictures: heads were trained on what it makes of them."""
        wanted = self.encoder.fusion_tensors
        if not wanted and PartKey("fusion") in parts:
            raise ArtifactError(
                f"{source} has heads for several pictures that a layer joins", hint="Set stack_mode: concat as it had."
            )
        if wanted and PartKey("fusion") not in parts:
            raise ArtifactError(
                f"{source} has no fusion, the layer that joins pictures, on which its heads were trained",
                hint="It is kept with bc_mode: full_policy. Or take the encoder alone, with encoder_init_path.",
            )
        if wanted:
            given = parts[PartKey("fusion")]
            check_fit(given, wanted, source)
            for name, tensor in wanted.items():
                tensor.copy_(given[name])

    @torch.no_grad()
    def _load_head(self, index: int, given: Mapping[str, Tensor], source: str) -> None:
        head = self.heads[0 if self._fused else index]
        wanted = self._named(head, index)
        check_fit(given, wanted, source)
        state = head.state_dict()
        for name, tensor in state.items():
            theirs = given[f"{self._head_part}.{name}"]
            if self._fused and len(tensor) == self._classes * len(self.offsets_ms):
                tensor[self._classes * index : self._classes * (index + 1)] = theirs
            else:
                tensor.copy_(theirs[..., : tensor.shape[-1]])  # without the columns of floats that are not seen

    @property
    def _is_network_layout(self) -> bool:
        return self._config.use_actions_head or self._config.use_full_iqn

    @property
    def _head_part(self) -> str:
        return "advantage_head" if self._is_network_layout else "linear_head"

    def _named(self, head: nn.Module, index: int) -> dict[str, Tensor]:
        """Return the tensors of the head of one offset as an artifact has them."""
        tensors = {f"{self._head_part}.{name}": tensor for name, tensor in head.state_dict().items()}
        if self._fused:
            last = f"{self._head_part}.last" if self._is_network_layout else self._head_part
            for name in (f"{last}.weight", f"{last}.bias"):
                tensors[name] = tensors[name].split(self._classes)[index]
        if self._is_network_layout and not self._config.use_floats:
            first = f"{self._head_part}.hidden.0.weight"
            weight = tensors[first]
            tensors[first] = torch.cat([weight, weight.new_zeros(len(weight), self._float_columns)], dim=1)
        return tensors

    def network_tensors(self, part: str) -> dict[str, Tensor]:
        """Return the tensors of another part of the network by their names there."""
        names = ("quantile_layer", "feature_norm") if part == "quantile_layer" else (part,)
        return {f"{name}.{key}": each for name in names for key, each in getattr(self, name).state_dict().items()}


def _part(parts: Mapping[PartKey, Mapping[str, Tensor]], part: str, source: str) -> Mapping[str, Tensor]:
    if PartKey(part) not in parts:
        raise ArtifactError(
            f"{source} has no {part}: it has {', '.join(key.file for key in parts)}",
            hint="Name an artifact of the same kind of network.",
        )
    return parts[PartKey(part)]


def _linear(inputs: int, outputs: int, *, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    initialise(layer, gain=gain)
    return layer
