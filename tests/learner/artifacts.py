"""Artifacts for the small networks of the tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.iqn.networks import HEIGHT, WIDTH
from tmrl_ray.iqn.network import IQN, PARTS, part_of
from tmrl_ray.runs.artifact import Arrays, Artifact, Origin, PartKey

ORIGIN = Origin(
    stage="bc",
    task="full_policy",
    run="cloned",
    frame_size=(WIDTH, HEIGHT),
    frame_stack=2,
    frame_normalization="iqn",
    epochs_trained=3,
    epoch=3,
)


def parts_of(network: IQN, parts: Iterable[str] = PARTS) -> dict[PartKey, dict[str, torch.Tensor]]:
    """Return the tensors of a network as the parts of an artifact, heads of the actions for now and 10 ms later."""
    found: dict[PartKey, dict[str, torch.Tensor]] = {}
    for name, tensor in network.state_dict().items():
        part = part_of(name)
        if part in parts:
            found.setdefault(PartKey(part), {})[name] = tensor.clone()
    if (head := found.pop(PartKey("advantage_head"), None)) is not None:
        found[PartKey("advantage_head", 0)] = head
        found[PartKey("advantage_head", 10)] = {name: tensor + 1.0 for name, tensor in head.items()}
    return found


def write(path: Path, parts: dict[PartKey, Arrays] | dict[PartKey, dict[str, torch.Tensor]], **origin: Any) -> Path:
    """Write an artifact and return its path."""
    Artifact(ORIGIN.replace(**origin), parts).write(path)  # type: ignore[arg-type]
    return path
