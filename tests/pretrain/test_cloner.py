from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretrain.bc.action_classes import ActionClasses
from pretrain.bc.bc_stage import BCStage
from pretrain.bc.cloner import Cloner
from tests.pretrain.drawn_races import HEIGHT, LAYOUT, SCALE, WIDTH, drawn_cache
from tests.pretrain.stages import IO, NETWORK, cloner_stage, cloning, loop_of
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.network import build_network
from tmrl_ray.racing.actions import ACTION_KEYS, MIRRORED
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.runs.artifact import PartKey

FULL = {"use_full_iqn": True, "use_floats": True, "image_normalization": "iqn"}
DRAW = torch.Generator().manual_seed(5)
FRAMES = torch.randint(0, 256, (7, 1, HEIGHT, WIDTH), dtype=torch.uint8, generator=DRAW)
FLOATS = torch.from_numpy(SCALE.mean + SCALE.std * np.random.default_rng(1).standard_normal((7, LAYOUT.size))).float()


def cloner(**changes: Any) -> Cloner:
    return Cloner(cloning(**changes), NETWORK, IO, classes=12).eval()


def named(stage: BCStage) -> dict[str, torch.Tensor]:
    return {name: each for part in stage.artifact_parts().values() for name, each in part.items()}


def test_the_full_network_clones_with_the_networks_values() -> None:
    stage = cloner_stage(**FULL, bc_mode="full_policy").eval()
    network = build_network(NETWORK, IO, seed=3)
    missing = network.load_state_dict(named(stage), strict=False)
    assert (set(missing.missing_keys), missing.unexpected_keys) == ({"float_mean", "float_std"}, [])
    values = network(FRAMES, FLOATS, torch.full((1, 1), 0.5)).mean(dim=1)
    torch.testing.assert_close(stage.cloner(FRAMES, FLOATS)[:, 0], values)


def test_a_head_without_floats_computes_the_same_in_the_network() -> None:
    """It has no columns for floats; the artifact has zeros there, so all four tensors are the network's."""
    stage = cloner_stage(use_actions_head=True).eval()
    head = {name: each for name, each in named(stage).items() if name.startswith("advantage_head")}
    network = build_network(NETWORK, IO, seed=3)
    assert {name: each.shape for name, each in head.items()} == {
        name: each.shape for name, each in network.state_dict().items() if name.startswith("advantage_head")
    }
    network.load_state_dict(head, strict=False)
    features = stage.cloner.features(FRAMES, None)
    padded = torch.cat([features, torch.randn(len(features), NETWORK.float_hidden)], dim=1)
    torch.testing.assert_close(network.advantage_head(padded), stage.cloner.logits(features)[:, 0])


@pytest.mark.parametrize("heads", [{}, {"use_actions_head": True}, FULL])
def test_fused_heads_come_apart_into_one_for_each_offset(heads: dict[str, Any]) -> None:
    offsets = (0, 50, 100)
    fused = cloner(bc_time_offsets_ms=offsets, bc_multi_offset_mode="fused", **heads)
    apart = cloner(bc_time_offsets_ms=offsets, **heads)
    parts = {PartKey("encoder"): {f"encoder.{n}": t for n, t in fused.encoder.encoder.state_dict().items()}}
    others = ("float_head", "quantile_layer", "value_head") if heads is FULL else ()
    parts |= {PartKey(part): fused.network_tensors(part) for part in others} | fused.head_tensors()
    apart.load_parts(parts, "there")
    torch.testing.assert_close(apart(FRAMES, FLOATS), fused(FRAMES, FLOATS))
    back = cloner(bc_time_offsets_ms=offsets, bc_multi_offset_mode="fused", **heads)
    if heads:  # the hidden layers of heads that came apart are the same
        back.load_parts(parts | apart.head_tensors(), "there")
        torch.testing.assert_close(back(FRAMES, FLOATS), fused(FRAMES, FLOATS))


def test_offsets_that_an_artifact_has_not_start_as_its_moment() -> None:
    first = cloner(bc_time_offsets_ms=(-10, 0), use_actions_head=True)
    parts = {PartKey("encoder"): {f"encoder.{n}": t for n, t in first.encoder.encoder.state_dict().items()}}
    second = cloner(bc_time_offsets_ms=(0, 100), use_actions_head=True)
    second.load_parts(parts | first.head_tensors(), "there")
    told = second(FRAMES, None)
    torch.testing.assert_close(told[:, 0], first(FRAMES, None)[:, 1])
    torch.testing.assert_close(told[:, 1], told[:, 0])


def test_going_on_from_an_artifact_without_heads_is_refused() -> None:
    parts = cloner_stage().artifact_parts()
    assert [key.part for key in parts] == ["encoder"]
    with pytest.raises(ArtifactError, match="runs/bc has no linear_head to go on with"):
        cloner().load_parts(parts, "runs/bc")


def test_the_reference_keeps_the_first_head_as_that_of_the_moment() -> None:
    offsets = {"bc_time_offsets_ms": (-10, 0), "use_actions_head": True}
    right, legacy = cloner_stage(**offsets), cloner_stage(**offsets, legacy_first_head=True)
    assert {key.offset_ms for key in right.artifact_parts() if key.part == "advantage_head"} == {-10, 0}
    kept = legacy.artifact_parts()[PartKey("advantage_head", 0)]
    with torch.no_grad():
        legacy.cloner.heads[0].last.bias += 1.0
    torch.testing.assert_close(kept["advantage_head.last.bias"], legacy.cloner.heads[0].last.bias)


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, {"encoder"}),
        ({"use_floats": True}, {"encoder", "float_head"}),
        ({"use_floats": True, "save_float_head": False}, {"encoder"}),
        ({"use_actions_head": True}, {"encoder", "advantage_head@0ms"}),
        ({"use_actions_head": True, "save_actions_head": False}, {"encoder"}),
        ({"bc_mode": "full_policy"}, {"encoder", "linear_head@0ms"}),
        ({"bc_mode": "full_policy", "n_stack": 2, "stack_mode": "concat"}, {"encoder", "linear_head@0ms", "fusion"}),
        ({"bc_mode": "auxiliary_head"}, {"encoder", "linear_head@0ms"}),
        (FULL, {"encoder", "float_head", "quantile_layer", "value_head", "advantage_head@0ms"}),
    ],
)
def test_what_each_mode_hands_over(changes: dict[str, Any], files: set[str]) -> None:
    parts = cloner_stage(**changes).artifact_parts()
    assert {key.file.removesuffix(".safetensors") for key in parts} == files


def test_values_teach_the_value_head_nothing() -> None:
    """A softmax does not see what all actions have in common, in whatever way the values are put together."""
    stage = cloner_stage(**FULL)
    loop = loop_of(cloning(**FULL))
    torch.autograd.backward(stage(next(loop.data.train(0))).loss)
    norms = {
        part: sum(float(each.grad.norm()) for each in getattr(stage.cloner, part).parameters())
        for part in ("value_head", "quantile_layer", "float_head")
    }
    assert norms["value_head"] < 1e-5 * norms["float_head"]
    assert norms["quantile_layer"] > 0


def test_quantiles_are_drawn_in_training_and_averaged_over_in_evaluation() -> None:
    net = cloner(**FULL, full_iqn_random_tau=True)
    assert torch.equal(net(FRAMES, FLOATS), net(FRAMES, FLOATS))
    net.train()
    assert not torch.equal(net(FRAMES, FLOATS), net(FRAMES, FLOATS))


def test_dropout_is_in_the_features_and_in_the_heads() -> None:
    for changes in ({"dropout": 0.5}, {"use_actions_head": True, "action_head_dropout": 0.5}):
        net = cloner(**changes)
        assert torch.equal(net(FRAMES, None), net(FRAMES, None))
        net.train()
        assert not torch.equal(net(FRAMES, None), net(FRAMES, None))


def test_heads_with_noise_are_refused() -> None:
    with pytest.raises(ConfigError, match="network.noisy"):
        Cloner(cloning(use_actions_head=True), NETWORK.replace(noisy=True), IO, classes=12)


def test_a_mirrored_sample_is_mirrored_in_all_that_it_has() -> None:
    stage = cloner_stage(use_floats=True, mirror_share=1.0)
    data = loop_of(cloning(use_floats=True)).data
    batch = data.batch_of(data.train_rows[:13], np.random.default_rng(0))
    stage.train()
    seen = stage._sample(batch)
    assert batch.labels is not None
    assert batch.floats is not None
    assert torch.equal(seen.frames, batch.frames.flip(-1))
    np.testing.assert_array_equal(seen.labels.numpy(), MIRRORED[batch.labels.numpy()])
    np.testing.assert_allclose(seen.floats.numpy(), FloatsMirror(LAYOUT)(batch.floats.numpy()))
    stage.eval()
    assert torch.equal(stage._sample(batch).frames, batch.frames)


@pytest.mark.parametrize(("share", "in_driving"), [(0.5, False), (1.0, True)])
def test_previous_actions_are_masked(share: float, in_driving: bool) -> None:
    stage = cloner_stage(use_floats=True, mask_previous_actions=share)
    data = loop_of(cloning(use_floats=True)).data
    batch = data.batch_of(data.train_rows[:31], np.random.default_rng(0))
    assert batch.floats is not None
    batch.floats[:, LAYOUT.previous_actions] = 7.0

    def masked() -> torch.Tensor:
        floats = stage._sample(batch).floats
        assert floats is not None
        return (floats[:, LAYOUT.previous_actions] != 7.0).all(dim=1)

    stage.train()
    assert masked().all() == (share == 1)
    assert masked().any()
    stage.eval()
    assert masked().all() == in_driving
    assert masked().any() == in_driving


def test_a_network_that_sees_previous_actions_drives_as_the_cloner_that_never_did() -> None:
    stage = cloner_stage(**FULL, bc_mode="full_policy", mask_previous_actions=1.0).eval()
    network = build_network(NETWORK, IO, seed=3)
    network.load_state_dict(named(stage), strict=False)
    pressed = FLOATS.clone()
    pressed[:, LAYOUT.previous_actions] = 1.0
    values = network(FRAMES, pressed, torch.full((1, 1), 0.5)).mean(dim=1)
    for index, wanted in enumerate(values):
        torch.testing.assert_close(stage.driving_logits(FRAMES[index : index + 1], FLOATS[index : index + 1]), wanted)


def test_the_reference_sees_the_last_ticks_as_previous_actions() -> None:
    stage = cloner_stage(use_floats=True, legacy_previous_ticks=True)
    cache = drawn_cache(maps=2, races=1)
    data = loop_of(cloning(use_floats=True), cache).data
    data.wanted = stage.wanted
    rows = data.train_rows[9:15]
    floats = stage._sample(data.batch_of(rows, np.random.default_rng(0))).floats
    ticks = cache.labels(rows, (-50, -40, -30, -20, -10))
    np.testing.assert_array_equal(floats[:, LAYOUT.previous_actions].numpy(), ACTION_KEYS[ticks].reshape(len(rows), -1))


def test_the_reference_s_v3_sees_no_floats_in_effect() -> None:
    right, blind = cloner_stage(**FULL).eval(), cloner_stage(**FULL, legacy_mean_floats=True).eval()
    blind.load_state_dict(right.state_dict())
    data = loop_of(cloning(**FULL)).data
    batch = data.batch_of(data.train_rows[:11], np.random.default_rng(0))
    floats = blind._sample(batch).floats
    assert floats is not None
    assert torch.equal(floats, blind.cloner.float_mean.expand(11, -1))
    told = [blind.driving_logits(FRAMES[:1], each) for each in (FLOATS[:1], FLOATS[1:2], blind.cloner.float_mean[None])]
    assert torch.equal(told[0], told[1])
    torch.testing.assert_close(told[0], right.driving_logits(FRAMES[:1], blind.cloner.float_mean[None]))
    with pytest.raises(ValueError, match="legacy_mean_floats mean nothing without use_floats"):
        cloning(legacy_mean_floats=True)


def test_balance_makes_all_classes_count_alike_in_sum() -> None:
    config = cloning(class_balance=1.0)
    loop = loop_of(config)
    weights = loop.stage.class_weights[0].numpy()
    labels = loop.data.cache.labels(loop.data.train_rows)[:, 0]
    counts = np.bincount(labels, minlength=12)
    summed = (weights * counts)[counts > 0]
    np.testing.assert_allclose(summed, summed[0], rtol=1e-5)
    assert (weights * counts).sum() == pytest.approx(counts.sum(), rel=1e-5)
    assert loop.stage.majority.tolist() == [counts.argmax()]


@pytest.mark.parametrize("count", [9, 12, 27])
def test_classes_stand_for_actions_and_mirror_as_they_do(count: int) -> None:
    classes = ActionClasses.of(count)
    assert len(classes) == len(set(classes.names)) == count
    used = np.unique(classes.of_action)
    np.testing.assert_array_equal(classes.of_action[classes.action_of[used]], used)
    np.testing.assert_array_equal(classes.mirrored[classes.mirrored], np.arange(count))
    np.testing.assert_array_equal(classes.of_action[MIRRORED], classes.mirrored[classes.of_action])


def test_the_nine_classes_by_hand() -> None:
    classes = ActionClasses.of(9)
    told = [classes.names[each] for each in classes.of_action]
    assert told[:4] == ["straight+drive", "left+drive", "right+drive", "straight+coast"]
    assert told[6:12:3] == ["straight+brake", "straight+brake"]  # braking counts, whatever else is pressed
    assert len(np.unique(classes.of_action)) == 9
    assert len(np.unique(ActionClasses.of(27).of_action)) == 12


CONCAT = {"n_stack": 2, "stack_mode": "concat"}


def test_one_goes_on_with_the_layer_that_joins_pictures() -> None:
    frames = torch.cat([FRAMES, FRAMES.flip(-1)], dim=1)
    source = cloner_stage(**CONCAT, bc_mode="full_policy", seed=3).eval()
    going_on = cloner_stage(**CONCAT, seed=4).eval()
    going_on.cloner.load_parts(source.artifact_parts(), "there")
    torch.testing.assert_close(going_on.cloner(frames, None), source.cloner(frames, None))


def test_heads_are_gone_on_with_only_behind_the_layer_that_they_were_trained_on() -> None:
    joined = cloner_stage(**CONCAT, bc_mode="full_policy").artifact_parts()
    with pytest.raises(ArtifactError, match="runs/bc has heads for several pictures that a layer joins") as error:
        cloner().load_parts(joined, "runs/bc")
    assert "stack_mode: concat" in (error.value.hint or "")
    with pytest.raises(ArtifactError, match=r"does not fit:\n  fusion.weight"):
        cloner(n_stack=3, stack_mode="concat").load_parts(joined, "runs/bc")
    backbone = cloner_stage(**CONCAT, use_actions_head=True).artifact_parts()
    assert PartKey("fusion") not in backbone
    with pytest.raises(ArtifactError, match="runs/bc has no fusion") as error:
        cloner(**CONCAT, use_actions_head=True).load_parts(backbone, "runs/bc")
    assert "full_policy" in (error.value.hint or "")
