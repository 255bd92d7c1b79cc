"""Artifacts of the reference are read under our names, and heads under the offsets that they were trained for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tmrl_ray.errors import ArtifactError
from tmrl_ray.runs.artifact import BEST, Artifact, Origin, PartKey
from tmrl_ray.runs.artifact_reference import REFERENCE_META_FILE, open_artifact, read_reference

ACTIONS, FLOATS, FEATURES, HIDDEN, EMBEDDING = 3, 5, 7, 11, 13
META = {"version": "1", "bc_mode": "backbone", "image_size": 64, "n_stack": 1, "epochs_trained": 9}


def mlp(inputs: int, outputs: int, *, hidden: int = HIDDEN) -> dict[str, Tensor]:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, outputs)).state_dict()


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def encoder(channels: int = 1) -> dict[str, Tensor]:
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.LeakyReLU(), nn.Conv2d(2, 4, 3)).state_dict()


def whole() -> dict[str, Tensor]:
    return {
        **prefixed("img_head", encoder()),
        **prefixed("float_feature_extractor", mlp(FLOATS, HIDDEN)),
        **prefixed("iqn_fc", nn.Sequential(nn.Linear(EMBEDDING, FEATURES)).state_dict()),
        **prefixed("A_head", mlp(FEATURES, ACTIONS)),
        **prefixed("V_head", mlp(FEATURES, 1)),
        "float_inputs_mean": torch.zeros(FLOATS),
        "float_inputs_std": torch.ones(FLOATS),
    }


def save(folder: Path, name: str, tensors: dict[str, Any], **meta: Any) -> Path:
    torch.save(tensors, folder / name)
    if meta:
        (folder / REFERENCE_META_FILE).write_text(json.dumps(META | meta))
    return folder / name


def assert_has(artifact: Artifact, key: PartKey, name: str, tensor: Tensor) -> None:
    np.testing.assert_array_equal(np.asarray(artifact.parts[key][name]), tensor.numpy())


def test_a_whole_network_is_read_under_our_names(tmp_path: Path) -> None:
    tensors = whole()
    artifact = open_artifact(save(tmp_path, "iqn_bc.pt", prefixed("_orig_mod", tensors), image_normalization="iqn"))
    assert_has(artifact, PartKey("encoder"), "encoder.2.weight", tensors["img_head.2.weight"])
    assert_has(artifact, PartKey("float_head"), "float_head.2.bias", tensors["float_feature_extractor.2.bias"])
    assert_has(artifact, PartKey("float_head"), "float_std", tensors["float_inputs_std"])
    assert_has(artifact, PartKey("quantile_layer"), "quantile_layer.0.weight", tensors["iqn_fc.0.weight"])
    assert_has(artifact, PartKey("advantage_head"), "advantage_head.hidden.0.weight", tensors["A_head.0.weight"])
    assert_has(artifact, PartKey("value_head"), "value_head.last.bias", tensors["V_head.2.bias"])
    assert sum(map(len, artifact.parts.values())) == len(tensors)
    assert artifact.origin.stage == "bc" and artifact.origin.epochs_trained == 9
    assert artifact.origin.frame_normalization == "iqn"


def test_a_folder_is_read_as_a_whole_and_parts_are_told_by_their_tensors(tmp_path: Path) -> None:
    tensors, floats, actions = encoder(3), mlp(FLOATS, HIDDEN), mlp(FEATURES, ACTIONS)
    save(tmp_path, "encoder.pt", tensors, n_stack=3)
    save(tmp_path, "float_head.pt", floats)
    save(tmp_path, "actions_head.pt", actions)
    artifact = open_artifact(tmp_path)
    assert_has(artifact, PartKey("encoder"), "encoder.0.weight", tensors["0.weight"])
    assert_has(artifact, PartKey("float_head"), "float_head.0.weight", floats["0.weight"])
    assert_has(artifact, PartKey("advantage_head"), "advantage_head.last.weight", actions["2.weight"])
    assert artifact.origin.frame_stack == 3 and artifact.origin.frame_normalization == "01"
    renamed = save(tmp_path, "mine.pt", tensors)
    assert list(open_artifact(renamed).parts) == [PartKey("encoder")]


def test_the_first_head_is_labelled_with_its_own_offset_which_need_not_be_0(tmp_path: Path) -> None:
    """BUG-3 of the reference: of [-10, 0] it kept the head of -10 ms and called it the head of the actions."""
    actions = mlp(FEATURES, ACTIONS)
    path = save(tmp_path, "actions_head.pt", actions, bc_time_offsets_ms=[-10, 0, 10])
    artifact = read_reference(path)
    assert artifact.offsets_ms("advantage_head") == (-10,)
    assert_has(artifact, PartKey("advantage_head", -10), "advantage_head.last.bias", actions["2.bias"])


def test_merged_heads_are_told_apart(tmp_path: Path) -> None:
    heads = [mlp(FEATURES, ACTIONS) for _ in range(2)]
    tensors = prefixed("A_head", heads[0]) | prefixed("A_head_offset_1", heads[1])
    artifact = read_reference(save(tmp_path, "iqn_bc.pt", tensors, bc_time_offsets_ms=[0, 10]))
    for offset_ms, head in zip((0, 10), heads, strict=True):
        key = PartKey("advantage_head", offset_ms)
        assert_has(artifact, key, "advantage_head.hidden.0.weight", head["0.weight"])
        assert_has(artifact, key, "advantage_head.last.weight", head["2.weight"])
    alone = prefixed("offset_0", heads[0]) | prefixed("offset_1", heads[1])
    artifact = read_reference(save(tmp_path, "actions_head.pt", alone))
    assert artifact.offsets_ms("advantage_head") == (0, 10)


def test_a_fused_head_is_split_by_offset(tmp_path: Path) -> None:
    trunk, last = nn.Linear(FEATURES, HIDDEN).state_dict(), nn.Linear(HIDDEN, 2 * ACTIONS).state_dict()
    tensors = prefixed("A_head.0", trunk) | prefixed("A_head_multi", last)
    artifact = read_reference(save(tmp_path, "iqn_bc.pt", tensors, bc_time_offsets_ms=[0, 10]))
    key = PartKey("advantage_head", 10)
    assert_has(artifact, key, "advantage_head.hidden.0.bias", trunk["bias"])
    assert_has(artifact, key, "advantage_head.last.weight", last["weight"][ACTIONS:])


def test_dropout_in_a_head_and_linear_heads(tmp_path: Path) -> None:
    actions = mlp(FEATURES, ACTIONS)
    shifted = {name.replace("2.", "3."): tensor for name, tensor in actions.items()}
    artifact = read_reference(save(tmp_path, "actions_head.pt", shifted))
    assert_has(artifact, PartKey("advantage_head"), "advantage_head.last.bias", actions["2.bias"])
    linear = nn.Linear(FEATURES, ACTIONS).state_dict()
    artifact = read_reference(save(tmp_path, "actions_head.pt", linear))
    assert_has(artifact, PartKey("linear_head"), "linear_head.weight", linear["weight"])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for tensors, reason in (
        ({"img_head.0.weight": 3}, "is no tensor"),
        ({}, "no tensors by name"),
        ({"transformer.0.weight": torch.zeros(2)}, "no part of the network for transformer"),
        (prefixed("A_head_offset_1", mlp(FEATURES, ACTIONS)), "tells 0 time offsets"),
        (prefixed("A_head_multi", nn.Linear(HIDDEN, 6).state_dict()), "for 0 time offsets"),
    ):
        with pytest.raises(ArtifactError, match=reason):
            read_reference(save(tmp_path, "iqn_bc.pt", tensors))
    (tmp_path / "iqn_bc.pt").write_bytes(b"not a zip archive")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_reference(tmp_path)
    save(tmp_path, "iqn_bc.pt", whole(), image_size="large")
    with pytest.raises(ArtifactError, match="not as the reference writes it"):
        read_reference(tmp_path)
    with pytest.raises(ArtifactError, match="no artifact"):
        open_artifact(tmp_path / "elsewhere")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"img_head.0.weight": Path("/")}, tmp_path / "iqn_bc.pt")  # an object of a class: not tensors alone
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_reference(tmp_path)


def test_our_own_artifacts_are_opened_too(tmp_path: Path) -> None:
    origin = Origin(stage="visual", task="ae", run="seen", epochs_trained=1, epoch=1)
    Artifact(origin, {PartKey("encoder"): {"encoder.0.bias": np.zeros(3)}}).write(tmp_path / BEST)
    assert open_artifact(tmp_path).origin.run == "seen"
    assert open_artifact(tmp_path / BEST / "meta.json").origin.run == "seen"
