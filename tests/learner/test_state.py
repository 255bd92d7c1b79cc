"""Resuming: an update that takes over a state goes on as the one that gave it, bit for bit."""

from __future__ import annotations

import json
import logging
from itertools import islice
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from learner.update import LearnerUpdate
from tests.learner.drawn import CONSTANT, SETTINGS, drawn, update_of
from tests.learner.test_learner import FakePeers, learner_of
from tmrl_ray.config.learner import (
    LearnerSettings,
    MunchausenSettings,
    PartSettings,
    PartsSettings,
    PlateauSettings,
    ResetSettings,
)
from tmrl_ray.errors import DataError

PARTS = PartsSettings(encoder=PartSettings(frozen=True, unfreeze_at=5), value_head=PartSettings(lr_multiplier=0.5))
EVERYTHING = SETTINGS.replace(
    munchausen=MunchausenSettings(),
    optimiser=CONSTANT.replace(parts=PARTS),
    reset=ResetSettings(every_env_steps=8),
    plateau=PlateauSettings(patience_env_steps=4, length_env_steps=6),
    precision="fp16",
)
NETWORK: dict[str, Any] = {"noisy": True, "dropout": 0.2, "spectral_norm": True, "layer_norm": True}


def stored(update: LearnerUpdate) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state as a file would give it back."""
    tensors, values = update.state_dict()
    return load(save(tensors)), json.loads(json.dumps(values))


@pytest.mark.parametrize("settings", [SETTINGS, EVERYTHING])
@pytest.mark.parametrize("network", [{}, NETWORK])
def test_a_resumed_update_goes_on_exactly(settings: LearnerSettings, network: dict[str, Any]) -> None:
    update, resumed = update_of(settings, **network), update_of(settings, seed=9, **network)
    update.plateau.observe(25.0, 0)
    for env_steps in range(7):
        update.step(drawn(seed=env_steps), env_steps=env_steps)
    resumed.load_state_dict(*stored(update))
    for env_steps in range(7, 12):
        first, second = (each.step(drawn(seed=env_steps), env_steps=env_steps) for each in (update, resumed))
        assert torch.equal(first.figures, second.figures)
        assert (first.step, first.learning_rate, first.target_rate) == (
            second.step,
            second.learning_rate,
            second.target_rate,
        )
    (ours, our_values), (theirs, their_values) = update.state_dict(), resumed.state_dict()
    assert our_values == their_values
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_one_seed_gives_one_run() -> None:
    states = []
    for _ in range(2):
        update = update_of(EVERYTHING, seed=4, **NETWORK)
        for env_steps in range(10):
            update.step(drawn(seed=env_steps), env_steps=env_steps)
        states.append(update.state_dict()[0])
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_state_shares_no_memory_with_the_update() -> None:
    update = update_of()
    tensors, _ = update.state_dict()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    update.step(drawn(), env_steps=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


def test_weights_are_what_a_policy_loads() -> None:
    update = update_of()
    update.step(drawn(), env_steps=0)
    weights = load(update.packed_weights())
    other = update_of(seed=5)
    other.online.load_state_dict(weights)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in other.weights().items())


def test_a_foreign_state_is_refused_and_changes_nothing() -> None:
    update = update_of()
    before, values = update.state_dict()
    tensors, _ = update_of(head_hidden=19).state_dict()
    with pytest.raises(DataError, match=r"online\.advantage_head\.hidden\.0\.bias is \(19,\) there and \(13,\) here"):
        update.load_state_dict(tensors, values)
    with pytest.raises(DataError, match=r"average\.gap is none there and \(\) here"):
        update.load_state_dict({name: tensor for name, tensor in before.items() if name != "average.gap"}, values)
    with pytest.raises(DataError, match="has the format 99, this version reads 3"):
        update.load_state_dict(before, values | {"format": 99})
    assert all(torch.equal(tensor, before[name]) for name, tensor in update.state_dict()[0].items())


def test_a_learner_of_another_format_is_refused_and_changes_nothing() -> None:
    saved, learner = learner_of(FakePeers()), learner_of(FakePeers())
    list(islice(saved.run(), 3))
    tensors, values = saved.state_dict()
    before, others = learner.state_dict()
    for format in (0, None):
        with pytest.raises(DataError, match=f"has the format {format}, this version reads 1"):
            learner.load_state_dict(tensors, values | {"format": format})
    after, unchanged = learner.state_dict()
    assert others == unchanged
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    learner.load_state_dict(tensors, values)
    assert learner.steps == 3


def test_a_state_of_another_kind_of_device_goes_on_with_other_random_numbers(caplog: pytest.LogCaptureFixture) -> None:
    update = update_of()
    for seed in range(3):
        update.step(drawn(seed=seed), env_steps=seed)
    tensors, values = stored(update)
    moved = tensors | {"generator": torch.zeros(16, dtype=torch.uint8)}, values | {"device": "cuda"}
    with pytest.raises(DataError, match=r"generator is \(16,\) there"):  # the size alone is no reason to guess
        update_of().load_state_dict(moved[0], values)
    with caplog.at_level(logging.WARNING):
        first, second = update_of(seed=8), update_of(seed=9)
        for each in (first, second):
            each.load_state_dict(*moved)
    assert "from cuda, this is cpu: it goes on with other random numbers" in caplog.text
    reports = [each.step(drawn(seed=7), env_steps=7) for each in (first, second, update)]
    assert torch.equal(reports[0].figures, reports[1].figures)
    assert not torch.equal(reports[0].figures, reports[2].figures)
    assert reports[0].step == 4
    first.load_state_dict(*moved)
    second.load_state_dict(moved[0], moved[1] | {"steps": 4})
    generators = [each.state_dict()[0]["generator"] for each in (first, second)]
    assert not torch.equal(*generators)


def test_a_state_of_the_same_kind_of_device_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    update_of().load_state_dict(*stored(update_of()))
    assert caplog.records == []
