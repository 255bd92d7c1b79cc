"""The loss of cloning, by hand, and what it teaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pretrain.batches import Batch, BatchSource
from pretrain.bc.bc_stage import BCStage, auxiliary_visual
from tests.pretrain.drawn_races import INTERVAL_MS, drawn_cache
from tests.pretrain.stages import cloner_stage, cloning, stage_of, visual
from tmrl_ray.config.pretrain import AuxiliarySettings, BCConfig, VisualConfig
from tmrl_ray.datasets.cache import NO_LABEL

FULL = {"use_full_iqn": True, "use_floats": True, "image_normalization": "iqn"}
FORWARD = 0


def batch_for(stage: BCStage, config: BCConfig, *, count: int = 13) -> Batch:
    data = BatchSource(drawn_cache(maps=3, races=1), config, stage.wanted)
    return data.batch_of(data.train_rows[:count], np.random.default_rng(0))


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(functional.cross_entropy(logits, labels).detach())


def test_offsets_are_weighed_and_labels_that_are_none_left_out() -> None:
    offsets = {"bc_time_offsets_ms": (-50, 0, 100), "bc_offset_weights": (0.5, 2.0, 0.25)}
    stage = cloner_stage(**offsets).eval()
    batch = batch_for(stage, cloning(**offsets))
    assert batch.labels is not None
    batch.labels[:4, 1] = NO_LABEL  # so that the mean of this offset is over 9 samples
    logits = stage.cloner(batch.frames, None)
    first, second, third = (
        cross_entropy(logits[known, index], batch.labels[known, index])
        for index, known in enumerate([slice(None), slice(4, None), slice(None)])
    )
    outcome = stage(batch)
    assert float(outcome.loss.detach()) == pytest.approx(0.5 * first + 2.0 * second + 0.25 * third, rel=1e-5)
    assert float(outcome.tallies["loss"]) == pytest.approx(13 * float(outcome.loss.detach()))


def test_labels_are_smoothed_in_training_and_not_in_what_is_measured() -> None:
    smooth = 0.25
    stage = cloner_stage(label_smoothing=smooth)
    batch = batch_for(stage, cloning())
    assert batch.labels is not None
    log_odds = torch.log_softmax(stage.cloner(batch.frames, None)[:, 0], dim=1)
    right = -log_odds.gather(1, batch.labels).mean()
    smoothed = (1 - smooth) * right - smooth * log_odds.mean()  # a share of the label lies on all twelve alike
    torch.testing.assert_close(stage(batch).loss, smoothed)
    torch.testing.assert_close(stage.eval()(batch).loss, right)


def test_classes_count_by_their_weights() -> None:
    stage = cloner_stage(class_balance=1.0)
    batch = batch_for(stage, cloning())
    assert batch.labels is not None
    stage.class_weights[0, FORWARD] = 3.0
    each = functional.cross_entropy(stage.cloner(batch.frames, None)[:, 0], batch.labels[:, 0], reduction="none")
    weights = torch.where(batch.labels[:, 0] == FORWARD, 3.0, 1.0)
    torch.testing.assert_close(stage(batch).loss, (weights * each).mean())


def test_the_auxiliary_head_is_taught_beside_the_visual_tasks() -> None:
    tasks = VisualConfig(mixture={"ae": 2.0, "idm": 0.5}, idm_ahead_ms=INTERVAL_MS)
    settings = AuxiliarySettings(visual=tasks, bc_weight=0.125)
    config = cloning(bc_mode="auxiliary_head", auxiliary=settings)
    stage = stage_of(config)
    assert isinstance(stage, BCStage)
    stage.eval()
    batch = batch_for(stage, config)
    assert batch.labels is not None
    cloned = cross_entropy(stage.cloner(batch.frames, None)[:, 0], batch.labels[:, 0])
    outcome = stage(batch)
    ae, idm, bc = (float(outcome.tallies[f"{name}_loss"]) / 13 for name in ("ae", "idm", "bc"))
    assert bc == pytest.approx(cloned, rel=1e-5)
    assert float(outcome.loss.detach()) == pytest.approx(2.0 * ae + 0.5 * idm + 0.125 * bc, rel=1e-5)
    torch.autograd.backward(stage.train()(batch).loss)
    norms = {name: float(each.grad.abs().sum()) for name, each in stage.named_parameters() if each.grad is not None}
    assert min(norms[name] for name in norms if name.startswith(("cloner.heads", "cloner.encoder"))) > 0
    assert auxiliary_visual(config).n_stack == config.n_stack


@pytest.mark.parametrize(
    "config",
    [
        cloning(),
        cloning(use_floats=True, use_actions_head=True, bc_time_offsets_ms=(0, 50)),
        cloning(n_stack=2, stack_mode="concat", bc_multi_offset_mode="fused", bc_time_offsets_ms=(0, 50)),
        cloning(bc_mode="auxiliary_head"),
        cloning(**FULL),
        cloning(**FULL, full_iqn_dueling=False),
        visual(mixture={"ae": 1, "vae": 1, "simclr": 1, "atc": 1, "idm": 1, "spr": 1}),
    ],
    ids=["linear", "heads", "concat", "auxiliary", "iqn", "advantages", "visual"],
)
def test_all_that_learns_gets_a_gradient(config: Any) -> None:
    """Else workers that add up gradients wait for one that never comes: at the second step torch refuses to go on."""
    stage = stage_of(config)
    torch.autograd.backward(stage(batch_for(stage, config)).loss)  # type: ignore[arg-type]
    assert [name for name, each in stage.named_parameters() if each.requires_grad and each.grad is None] == []


def test_a_value_head_that_is_not_asked_stays_as_it_is() -> None:
    stage = cloner_stage(**FULL, full_iqn_dueling=False)
    assert not any(each.requires_grad for each in stage.cloner.value_head.parameters())
    assert any(key.part == "value_head" for key in stage.artifact_parts())
