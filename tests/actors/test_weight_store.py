"""Weights are published and fetched by version, whole or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from actors.weight_store import Weights, WeightStore
from tmrl_ray.errors import DataError

TENSORS = {"head.weight": torch.arange(15, dtype=torch.float32).reshape(3, 5), "bias": torch.tensor([1.5, -2.0])}


def weights(version: int) -> Weights:
    return Weights.of(version, save(TENSORS))


def test_only_what_is_newer_is_fetched():
    store = WeightStore()
    assert store.version == 0
    assert store.fetch_if_newer(0) is None
    assert store.publish(weights(1)) == 1
    fetched = store.fetch_if_newer(0)
    assert fetched is not None
    assert {name: tensor.tolist() for name, tensor in fetched.tensors().items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert store.fetch_if_newer(1) is None


def test_older_weights_never_replace_newer_ones():
    store = WeightStore()
    store.publish(weights(5))
    assert store.publish(weights(4)) == 5
    assert store.publish(weights(5)) == 5
    assert store.fetch_if_newer(4).version == 5


def test_damaged_weights_are_refused_on_both_sides():
    store = WeightStore()
    whole = weights(1)
    half = replace(whole, data=whole.data[: len(whole.data) // 2])
    with pytest.raises(DataError, match="version 1 are damaged"):
        store.publish(half)
    assert store.version == 0
    with pytest.raises(DataError, match="damaged"):
        half.tensors()
    with pytest.raises(DataError):
        store.publish(replace(whole, version=0))


def test_acknowledged_versions_are_known_by_collector():
    store = WeightStore()
    store.acknowledge(3, 7)
    store.acknowledge(4, 6)
    store.acknowledge(3, 8)
    assert store.acknowledged == {3: 8, 4: 6}
    store.forget(3)
    store.forget(11)
    assert store.acknowledged == {4: 6}
