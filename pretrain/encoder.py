"""The encoder that is trained: the network's own, to the tensor, and how a stack of pictures goes through it.

Shape letters: B batch, C stacked frames, H W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import StageSettings
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.encoders import features_of
from tmrl_ray.iqn.network import GREY_MIDDLE, IQN, NetworkIO, build_network

Normalization = Literal["01", "iqn"]
BLACK_TO_WHITE = 255.0


def to_unit(frames: Tensor) -> Tensor:
    """Return pictures uint8 as pixels of 0 to 1."""
    return frames.to(torch.float32, memory_format=torch.channels_last) / BLACK_TO_WHITE


def normalise(frames: Tensor, normalization: Normalization) -> Tensor:
    """Return pictures uint8 (B, C, H, W) as an encoder sees them: 0 to 1, or -1 to 1 exactly as the network has it."""
    if normalization == "01":
        return to_unit(frames)
    return (frames.to(torch.float32, memory_format=torch.channels_last) - GREY_MIDDLE).mul_(1.0 / GREY_MIDDLE)


def from_unit(pixels: Tensor, normalization: Normalization) -> Tensor:
    """Return pixels of 0 to 1 as an encoder sees them."""
    return pixels if normalization == "01" else (pixels * BLACK_TO_WHITE - GREY_MIDDLE) / GREY_MIDDLE


def to_bytes(pixels: Tensor, normalization: Normalization) -> Tensor:
    """Return normalised pixels as pictures uint8; what lies outside of the range is cut off."""
    scaled = pixels.float() * BLACK_TO_WHITE if normalization == "01" else pixels.float() * GREY_MIDDLE + GREY_MIDDLE
    return scaled.round().clamp(0, BLACK_TO_WHITE).to(torch.uint8)


def build_parts(settings: StageSettings, network: NetworkSettings, io: NetworkIO) -> IQN:
    """Return a network of which a stage trains parts, with as many pictures in its stack as the encoder sees at once.

    Raises:
        ConfigError: the training that the result is for sees no pictures.
    """
    if io.frame_size is None:
        raise ConfigError(
            "the training that the result is for sees no pictures: game.frame_size is null in rl_config_path",
            hint="Give it pictures, for example game.frame_size: [64, 64]",
        )
    stack = settings.n_stack if settings.stack_mode == "channel" and not settings.legacy_last_frame else 1
    return build_network(network.replace(frame_stack=stack), io, seed=settings.seed)


class StackEncoder(nn.Module):
    """Makes features of a stack of pictures.

    Args:
        encoder: of the network.
        settings: how the stack goes through it.
        frame_size: width and height in pixels.
    """

    def __init__(self, encoder: nn.Module, settings: StageSettings, frame_size: tuple[int, int]) -> None:
        super().__init__()
        width, height = frame_size
        self.encoder = encoder
        self.normalization: Normalization = settings.image_normalization
        self._last_only = settings.legacy_last_frame
        self._concat = settings.stack_mode == "concat" and not self._last_only
        frames = 1 if self._concat or self._last_only else settings.n_stack
        self.features = features_of(encoder, frames=frames, width=width, height=height)
        """D."""
        self.fusion = nn.Linear(settings.n_stack * self.features, self.features) if self._concat else None

    def forward(self, frames: Tensor) -> Tensor:
        """Return the features (B, D) of pictures (B, C, H, W) uint8."""
        return self.encode(normalise(frames, self.normalization))

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the features (B, D) of normalised pixels (B, C, H, W)."""
        if self._last_only:
            pixels = pixels[:, -1:]
        if self.fusion is None:
            features: Tensor = self.encoder(pixels)
            return features
        each: Tensor = self.encoder(pixels.flatten(0, 1).unsqueeze(1))
        joined: Tensor = self.fusion(each.reshape(len(pixels), -1))
        return joined

    @property
    def fusion_tensors(self) -> dict[str, Tensor]:
        """The weights of the layer that joins the features of several pictures; empty: there is none."""
        return {} if self.fusion is None else {f"fusion.{n}": each for n, each in self.fusion.state_dict().items()}


def load_encoder(encoder: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give an encoder the weights of another one.

    One of several pictures becomes one of a single one by their mean. One of a single picture sees, in a stack, at
    first the newest alone, and as it did before; the weights of the others are zero, and learn.

    Args:
        encoder: that of the network.
        tensors: by their names in the network, ``encoder.0.weight``.
        source: where they come from, for messages.

    Raises:
        ArtifactError: they do not fit; the message has every name and shape that differs.
    """
    weights = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}
    wanted = encoder.state_dict()
    first = next(iter(wanted))
    given = weights.get(first)
    if given is not None and given.dim() == 4:
        if wanted[first].shape[1] == 1 < given.shape[1]:
            weights[first] = given.mean(dim=1, keepdim=True)
        elif given.shape[1] == 1 < wanted[first].shape[1]:
            older = wanted[first].shape[1] - 1
            weights[first] = functional.pad(given, (0, 0, 0, 0, older, 0))
    check_fit(weights, wanted, source)
    encoder.load_state_dict(weights)


def check_fit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Raise unless tensors have exactly the wanted names and shapes.

    Raises:
        ArtifactError: the message has every name and shape that differs.
    """
    shapes = {name: tuple(each.shape) for name, each in wanted.items()}
    theirs = {name: tuple(each.shape) for name, each in given.items()}
    lines = [
        f"{name}: {theirs.get(name, 'missing')}, wanted {shapes.get(name, 'nothing')}"
        for name in sorted(shapes.keys() | theirs.keys())
        if shapes.get(name) != theirs.get(name)
    ]
    if lines:
        raise ArtifactError(
            "\n  ".join([f"{source} does not fit:", *lines]),
            hint="Use the same n_stack, stack_mode, network and size of pictures for both stages.",
        )
