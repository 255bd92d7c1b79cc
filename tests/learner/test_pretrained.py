"""Pretrained weights go into a network whole and as it needs them, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from learner.pretrained import Injection
from learner.update import LearnerUpdate
from tests.iqn.networks import FLOATS, observations, small_network
from tests.learner.artifacts import parts_of, write
from tests.learner.drawn import SETTINGS, drawn, update_of
from tmrl_ray.config.learner import PartSettings, PartsSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.pretrained import PretrainedSettings
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.network import IQN, PARTS, part_of
from tmrl_ray.runs.artifact import PartKey

TAUS = torch.tensor([[0.125, 0.375, 0.625, 0.875]])
OBSERVATION = "0" * 64


def plan(network: IQN, announced: Path | None = None, **settings: Any) -> Injection:
    return Injection.plan(
        network,
        PretrainedSettings(**settings),
        decision_period_ms=50,
        observation=OBSERVATION,
        announced=announced,
    )


def changed(before: IQN, after: IQN) -> set[str]:
    """Return the parts of which any tensor differs."""
    theirs = after.state_dict()
    return {part_of(name) for name, tensor in before.state_dict().items() if not torch.equal(tensor, theirs[name])}


def test_all_parts_make_the_network_that_was_trained(tmp_path: Path) -> None:
    trained, network = small_network(seed=1), small_network(seed=2)
    injection = plan(network, artifact=write(tmp_path / "cloned", parts_of(trained)), logit_temperature=1.0)
    assert changed(trained, network) == set(PARTS)  # nothing happens before it is applied
    injection.apply(network)
    assert injection.parts == PARTS
    assert changed(trained, network) == set()
    assert len(injection.taken) == len(dict(network.named_parameters()))
    assert injection.left_out == (f"{tmp_path / 'cloned'}/advantage_head@10ms.safetensors",)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_taken_alone_in_both_ways(tmp_path: Path, part: str) -> None:
    path = write(tmp_path / "cloned", parts_of(small_network(seed=1)))
    for settings in ({part: path}, {"artifact": path, "parts": (part,)}):
        network = small_network(seed=2)
        plan(network, **settings).apply(network)
        assert changed(small_network(seed=2), network) == {part}


def test_a_part_with_an_artifact_of_its_own_is_not_taken_of_the_other(tmp_path: Path) -> None:
    cloned, seen = small_network(seed=1), small_network(seed=3)
    artifact = write(tmp_path / "cloned", parts_of(cloned))
    encoder = write(tmp_path / "seen", parts_of(seen, ["encoder"]), stage="visual")
    network = small_network(seed=2)
    injection = plan(network, artifact=artifact, encoder=encoder, logit_temperature=1.0)
    injection.apply(network)
    assert changed(cloned, network) == {"encoder"}
    assert "encoder" not in changed(seen, network)
    assert len({each.name for each in injection.taken}) == len(injection.taken)


def test_logits_are_brought_to_the_scale_of_returns(tmp_path: Path) -> None:
    trained, network = small_network(seed=1), small_network(seed=2)
    plan(network, artifact=write(tmp_path / "cloned", parts_of(trained)), logit_temperature=0.25).apply(network)
    inputs = (*observations(), TAUS)
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs), 0.25 * trained(*inputs))


def test_a_head_of_another_time_is_taken_only_if_asked_for(tmp_path: Path) -> None:
    trained, network = small_network(seed=1), small_network(seed=2)
    path = write(tmp_path / "cloned", parts_of(trained))
    plan(network, advantage_head=path, offset_ms=10, logit_temperature=1.0).apply(network)
    torch.testing.assert_close(
        network.state_dict()["advantage_head.last.bias"], trained.state_dict()["advantage_head.last.bias"] + 1.0
    )
    with pytest.raises(ConfigError, match="no advantage_head for 20 ms, only for 0, 10 ms"):
        plan(network, artifact=path, offset_ms=20)


def test_an_encoder_that_learned_from_other_pixels_makes_the_same_of_a_picture(tmp_path: Path) -> None:
    trained, network = small_network(seed=1), small_network(seed=2)
    path = write(tmp_path / "seen", parts_of(trained, ["encoder"]), stage="visual", frame_normalization="01")
    plan(network, artifact=path).apply(network)
    frames, _ = observations()
    with torch.no_grad():
        before = trained.encoder(frames / 255.0)
        torch.testing.assert_close(network.encoder((frames - 128.0) / 128.0), before, rtol=1e-4, atol=1e-5)
        as_it_is = small_network(seed=2)
        plan(as_it_is, artifact=path, legacy_pixels=True).apply(as_it_is)
        torch.testing.assert_close(as_it_is.encoder(frames / 255.0), before)
    padded = small_network(encoder="impala")
    path = write(tmp_path / "padded", parts_of(padded, ["encoder"]), stage="visual", frame_normalization="01")
    with pytest.raises(ArtifactError, match="image_normalization: iqn"):
        plan(padded, artifact=path)


def test_an_encoder_of_several_channels_becomes_one_of_a_single_one(tmp_path: Path) -> None:
    trained, network = small_network(frame_stack=3, seed=1), small_network(frame_stack=1, seed=2)
    path = write(tmp_path / "seen", parts_of(trained, ["encoder"]), stage="visual", frame_stack=3)
    injection = plan(network, artifact=path)
    injection.apply(network)
    weights = trained.state_dict()["encoder.0.weight"]
    torch.testing.assert_close(network.state_dict()["encoder.0.weight"], weights.mean(dim=1, keepdim=True))
    assert [each.change for each in injection.taken if each.change] == ["mean of 3 channels"]
    with pytest.raises(ArtifactError, match=r"encoder\.0\.weight is \(16, 3, 4, 4\), the network has \(16, 2, 4, 4\)"):
        plan(small_network(frame_stack=2), artifact=path)


def test_everything_that_does_not_fit_is_named_and_nothing_is_taken(tmp_path: Path) -> None:
    """BUG-2 of the reference: a head without the floats was taken over in three of its four tensors."""
    parts = parts_of(small_network(seed=1))
    head = parts[PartKey("advantage_head", 0)]
    head["advantage_head.hidden.0.weight"] = head["advantage_head.hidden.0.weight"][:, :-2].contiguous()
    head["advantage_head.third.bias"] = head.pop("advantage_head.last.bias")
    network = small_network(seed=2)
    with pytest.raises(ArtifactError) as error:
        plan(network, artifact=write(tmp_path / "cloned", parts)).apply(network)
    hidden = tuple(network.advantage_head.hidden[0].weight.shape)
    message = str(error.value)
    assert f"hidden.0.weight is {(hidden[0], hidden[1] - 2)}, the network has {hidden}" in message
    assert "advantage_head.last.bias is not there, the network has (3,)" in message
    assert "advantage_head.third.bias is (3,), the network has no such tensor" in message
    assert "value_head" not in message
    assert changed(small_network(seed=2), network) == set()


def test_the_reference_takes_over_what_happens_to_fit(tmp_path: Path) -> None:
    """Of a head that was cloned without floats three tensors of four, whether or not it has columns of zeros for them.

    BUG-2 of the reference, for comparison only."""
    trained, network = small_network(seed=1), small_network(seed=2)
    first = "advantage_head.hidden.0.weight"
    floats = network.settings.float_hidden
    cloned = trained.state_dict()
    for name, width in (("zeros", None), ("narrow", -floats)):
        parts = parts_of(trained, ["encoder", "advantage_head"])
        head = parts[PartKey("advantage_head", 0)]
        head[first][:, -floats:] = 0.0
        head[first] = head[first][:, :width].contiguous()
        legacy, path = small_network(seed=2), write(tmp_path / name, parts)
        injection = plan(legacy, artifact=path, logit_temperature=1.0, legacy_partial=True)
        injection.apply(legacy)
        told = legacy.state_dict()
        assert torch.equal(told[first], network.state_dict()[first])
        taken = [name for name in told if part_of(name) in {"encoder", "advantage_head"} and name != first]
        assert [each.name for each in injection.taken] == taken
        assert all(torch.equal(told[name], cloned[name]) for name in taken)
        assert any(first in each for each in injection.left_out)
    plan(network, artifact=tmp_path / "zeros", logit_temperature=1.0).apply(network)  # and what is right
    assert not network.state_dict()[first][:, -floats:].any()


def test_the_reference_stops_where_nothing_fits_too(tmp_path: Path) -> None:
    parts = {key: {"value_head.x": torch.zeros(3)} for key in parts_of(small_network(), ["value_head"])}
    with pytest.raises(ArtifactError, match="the network has no such tensor"):
        plan(small_network(), artifact=write(tmp_path / "other", parts), legacy_partial=True)
    path = write(tmp_path / "seen", parts_of(small_network()), frame_size=(64, 64))
    with pytest.raises(ArtifactError, match="pictures of 64x64 pixels"):
        plan(small_network(), artifact=path, legacy_partial=True)


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ({"frame_size": (64, 64)}, "pictures of 64x64 pixels, the network sees 41x37"),
        ({"observation": "f" * 64}, "floats of the layout ffffffffffff"),
        ({"decision_period_ms": 10}, "actions every 10 ms, the network sees them every 50 ms"),
    ],
)
def test_what_shapes_do_not_tell_must_fit_too(tmp_path: Path, origin: dict[str, Any], reason: str) -> None:
    path = write(tmp_path / "cloned", parts_of(small_network()), **origin)
    with pytest.raises(ArtifactError, match=reason):
        plan(small_network(), artifact=path)


def test_floats_must_be_normalised_alike(tmp_path: Path) -> None:
    network = small_network()
    parts = parts_of(network)
    parts[PartKey("float_head")] |= {"float_mean": network.float_mean.clone(), "float_std": network.float_std.clone()}
    plan(network, artifact=write(tmp_path / "alike", parts))
    parts[PartKey("float_head")]["float_std"][FLOATS - 1] *= 2
    with pytest.raises(ArtifactError, match="float_std is not that of the network: number 4 is 4 there, 2 here"):
        plan(network, artifact=write(tmp_path / "unlike", parts))


def test_what_an_artifact_does_not_have_is_not_taken_for_granted(tmp_path: Path) -> None:
    path = write(tmp_path / "seen", parts_of(small_network(), ["encoder"]), stage="visual")
    network = small_network(seed=2)
    plan(network, artifact=path).apply(network)  # all that it has
    with pytest.raises(ConfigError, match=r"has no value_head, only encoder\.safetensors"):
        plan(network, artifact=path, parts=("encoder", "value_head"))
    with pytest.raises(ArtifactError, match="is no artifact"):
        plan(network, artifact=tmp_path / "nowhere")


def test_an_announced_artifact_takes_the_place_of_the_one_that_was_waited_for(tmp_path: Path) -> None:
    trained, network = small_network(seed=1), small_network(seed=2)
    path = write(tmp_path / "cloned", parts_of(trained))
    plan(network, announced=path, wait_for="cloned", parts=("encoder",)).apply(network)
    assert changed(small_network(seed=2), network) == {"encoder"}


def test_settings_that_say_nothing_are_refused() -> None:
    assert PretrainedSettings.model_validate("runs/cloned").artifact == Path("runs/cloned")
    for settings in ({}, {"parts": ("encoder",)}, {"artifact": Path("a"), "wait_for": "b"}):
        with pytest.raises(ValueError):
            PretrainedSettings(**settings)


def test_a_path_alone_stands_for_the_artifact_in_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("learner: {pretrained: {artifact: runs/cloned, parts: [encoder, float_head]}}\n")
    assert load_config(file).learner.pretrained == PretrainedSettings(
        artifact=Path("runs/cloned"), parts=("encoder", "float_head")
    )
    config = load_config(None, ["learner.pretrained=runs/cloned"])
    assert config.learner.pretrained == PretrainedSettings(artifact=Path("runs/cloned"))
    with pytest.raises(ConfigError, match="says nothing that could be taken over"):
        load_config(None, ["learner.pretrained.parts=[encoder]"])
    frozen = [f"learner.optimiser.parts.{part}.frozen=true" for part in ("value_head", "quantile_layer")]
    values_only = ["learner.pretrained={artifact: runs/cloned, value_only_updates: 7}"]
    with pytest.raises(ConfigError, match="value_only_updates = 7 would teach nothing"):
        load_config(None, [*values_only, *frozen])
    load_config(None, [*values_only, *frozen[1:]])


def taken_over(tmp_path: Path, **settings: Any) -> LearnerUpdate:
    """Return an update that took a network over."""
    path = write(tmp_path / "cloned", parts_of(small_network(seed=1)))
    pretrained = PretrainedSettings(artifact=path, logit_temperature=1.0, **settings)
    update = update_of(SETTINGS.replace(pretrained=pretrained), seed=2)
    update.step(drawn(seed=7), env_steps=0)
    update.take_over(plan(update.online, artifact=path, logit_temperature=1.0))
    return update


def test_both_networks_take_over_and_moments_begin_anew(tmp_path: Path) -> None:
    update = taken_over(tmp_path)
    trained = small_network(seed=1)
    assert changed(trained, update.online) == changed(trained, update.target) == set()
    tensors, _ = update.state_dict()
    assert not any(tensor.any() for name, tensor in tensors.items() if name.startswith("optimiser."))
    update.step(drawn(), env_steps=0)
    assert changed(trained, update.online) == set(PARTS)


def test_only_values_are_learned_at_first_and_after_a_resume_too(tmp_path: Path) -> None:
    update = taken_over(tmp_path, value_only_updates=3)
    trained = small_network(seed=1)
    update.step(drawn(seed=1), env_steps=0)
    resumed = update_of(update.settings, seed=5)
    resumed.load_state_dict(*update.state_dict())
    for seed in (2, 3):
        resumed.step(drawn(seed=seed), env_steps=0)
    assert changed(trained, resumed.online) == {"quantile_layer", "value_head"}
    resumed.step(drawn(seed=4), env_steps=0)
    assert changed(trained, resumed.online) == set(PARTS)
    assert update.taken_over and resumed.taken_over == update.taken_over


def test_freezing_unfreezing_and_learning_rates_go_with_it(tmp_path: Path) -> None:
    path = write(tmp_path / "cloned", parts_of(small_network(seed=1)))
    parts = PartsSettings(
        encoder=PartSettings(frozen=True, unfreeze_at=100),
        float_head=PartSettings(lr_multiplier=1e-3),
        advantage_head=PartSettings(frozen=True),
    )
    settings = SETTINGS.replace(optimiser=SETTINGS.optimiser.replace(parts=parts))
    update = update_of(settings, seed=2)
    update.take_over(plan(update.online, artifact=path, logit_temperature=1.0))
    trained = small_network(seed=1)
    update.step(drawn(), env_steps=99)
    assert changed(trained, update.online) == {"float_head", "quantile_layer", "value_head"}

    def moved(name: str) -> float:
        return (update.online.state_dict()[name] - trained.state_dict()[name]).abs().max().item()

    assert moved("float_head.0.weight") < 0.01 * moved("quantile_layer.0.weight")
    update.step(drawn(seed=1), env_steps=100)
    assert changed(trained, update.online) == set(PARTS) - {"advantage_head"}
