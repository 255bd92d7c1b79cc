from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.pretrain import BCConfig, VisualConfig

FULL = {"use_full_iqn": True, "use_floats": True, "image_normalization": "iqn"}


def test_defaults_are_the_references() -> None:
    seen, cloned = VisualConfig(), BCConfig()
    assert (seen.task, seen.weights, seen.n_stack, seen.stack_mode) == ("ae", {"ae": 1.0}, 1, "channel")
    assert (seen.epochs, seen.batch_size, seen.lr, seen.grad_clip, seen.val_fraction) == (50, 128, 1e-3, 1.0, 0.1)
    assert (seen.vae_latent, seen.proj_dim, seen.temperature, seen.kl_weight, seen.seed) == (64, 128, 0.5, 1e-3, 42)
    assert (cloned.epochs, cloned.bc_mode, cloned.bc_target, cloned.bc_time_offsets_ms) == (
        30,
        "backbone",
        "current_tick",
        (0,),
    )
    assert cloned.offset_weights == (1.0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bc_time_offsets_ms": (0, 0)}, "names an offset twice"),
        ({"bc_offset_weights": (1.0, 2.0)}, "2 weights for 1 offsets: give one for each"),
        ({"bc_offset_weights": (0.0,)}, "nothing would be learned"),
        ({"bc_target": "next_tick", "bc_time_offsets_ms": (0, 10)}, "next_tick says which action is told"),
        ({"use_full_iqn": True}, "needs use_floats"),
        ({**FULL, "image_normalization": "01"}, "needs image_normalization: iqn"),
        ({**FULL, "n_stack": 2, "stack_mode": "concat"}, "needs stack_mode: channel"),
        ({**FULL, "actions": 9, "main_actions": ()}, "has the agent's 12 actions, not 9"),
        ({**FULL, "bc_mode": "auxiliary_head"}, "not with use_full_iqn"),
        ({"full_iqn_random_tau": True}, "means nothing without use_full_iqn"),
        ({"action_head_dropout": 0.1}, "linear heads have no inside"),
        ({"mask_previous_actions": 0.5}, "mean nothing without use_floats"),
        ({"bc_mode": "full_policy", "bc_time_offsets_ms": (50,)}, "have 0 in bc_time_offsets_ms"),
        ({"actions": 9}, "main_actions = .* must be below actions = 9"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BCConfig(**changes)


def test_a_mixture_takes_the_place_of_the_task() -> None:
    config = load_settings(VisualConfig, None, ["mixture={atc: 1, idm: 0.5}"])
    assert config.weights == {"atc": 1.0, "idm": 0.5}


def test_the_folder_of_runs_stays_when_only_the_name_is_given() -> None:
    assert str(load_settings(BCConfig, None, ["run.name=other"]).run.folder) == "runs/pretrain"
