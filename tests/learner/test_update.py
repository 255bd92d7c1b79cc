"""The update as a whole: it learns, undoes what is not finite, freezes, resets, and stays in step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from learner.report import StepReport, summarise
from learner.update import CompileFallbackWarning, LearnerUpdate
from tests.iqn.networks import ACTIONS, BATCH, OPTIONS, observations, small_network
from tests.learner.drawn import CONSTANT, SETTINGS, drawn, update_of
from tmrl_ray.config.learner import (
    LearnerSettings,
    MunchausenSettings,
    OptimiserSettings,
    PartSettings,
    PartsSettings,
    PlateauSettings,
    ResetSettings,
    TargetSettings,
)
from tmrl_ray.errors import ConfigError

ALL_FROZEN = PartsSettings(**dict.fromkeys(PartsSettings.model_fields, PartSettings(frozen=True)))
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "adamw": {"optimiser": CONSTANT.replace(kind="adamw")},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "shared_quantiles": {"shared_quantiles": True},
    "greedy": {"bootstrap": "greedy"},
    "max_per_quantile": {"bootstrap": "max_per_quantile"},
    "munchausen": {"munchausen": MunchausenSettings()},
    "plain": {"self_loss": None, "loss": "mean"},
}


def bandit(batch: int, seed: int) -> Any:
    """One decision, then the end: action 1 is right where the first float is above 0, action 2 where it is not."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(0, ACTIONS, (batch,), generator=generator)
    _, floats = observations(batch, seed)
    right = torch.where(floats[:, 0] > 0, 1, 2)
    return drawn(batch, seed, actions=actions, rewards=(actions == right).float(), discounts=torch.zeros(batch))


def share_right(update: LearnerUpdate) -> float:
    frames, floats = observations(101, seed=99)
    quantiles = torch.linspace(0.05, 0.95, 10).expand(101, -1)
    with torch.no_grad():
        best = update.online.eval().advantages(frames, floats, quantiles).argmax(dim=1)
    update.online.train()
    return (best == torch.where(floats[:, 0] > 0, 1, 2)).float().mean().item()


@pytest.mark.parametrize("name", VARIANTS)
def test_it_learns_with_every_setting(name: str) -> None:
    update = update_of(SETTINGS.replace(**VARIANTS[name]), pictures=False)
    reports = [update.step(bandit(61, seed), env_steps=seed) for seed in range(240)]
    assert share_right(update) > 0.9
    assert summarise(reports[-20:]).figures["td_error"] < summarise(reports[:20]).figures["td_error"] * 0.7
    assert summarise(reports).figures["sound"] > 0.95  # float16 looks for its scale at first


@pytest.mark.parametrize("name", OPTIONS)
def test_it_learns_with_every_option_of_the_network(name: str) -> None:
    update = update_of(SETTINGS.replace(self_loss=None), **OPTIONS[name])
    reports = [update.step(bandit(13, seed % 3), env_steps=seed) for seed in range(60)]
    first, last = summarise(reports[:9]), summarise(reports[-9:])
    assert last.figures["loss"] < first.figures["loss"] * (0.9 if name == "dropout" else 0.75)
    assert last.figures["sound"] == 1


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", ["default", "adamw", "bf16", "fp16", "munchausen"])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_batch_that_gives_nan_is_set_aside_and_the_step_undone(name: str, steps: int) -> None:
    settings = SETTINGS.replace(target=TargetSettings(interval_samples=BATCH), **VARIANTS[name])
    update = update_of(settings)
    if update._loss_scale is not None:
        update._loss_scale.scale.fill_(16)
    reports = [update.step(drawn(seed=seed), env_steps=seed) for seed in range(steps)]
    before, _ = update.state_dict()
    rewards = drawn().rewards.clone()
    rewards[3] = math.nan
    bad = update.step(drawn(seed=5, rewards=rewards), env_steps=steps)
    assert changed(before, update.state_dict()[0]) == {"generator"}
    assert bad.td_errors.isnan().all()
    good = update.step(drawn(seed=6), env_steps=steps + 1)
    assert "online.value_head.last.weight" in changed(before, update.state_dict()[0])
    summary = summarise([*reports, bad, good])
    assert math.isfinite(summary.figures["loss"])
    assert summary.figures["sound"] == pytest.approx((steps + 1) / (steps + 2))
    assert [aside.step for aside in summary.set_aside] == [steps + 1]
    assert summary.set_aside[0].indices.tolist() == [500 + k for k in range(BATCH)]
    assert summary.set_aside[0].generations.tolist() == [10] * BATCH


def test_an_overflow_of_a_scaled_gradient_is_no_reason_to_set_a_batch_aside() -> None:
    update = update_of(SETTINGS.replace(precision="fp16"))
    assert update._loss_scale is not None
    update._loss_scale.scale.fill_(3e38)
    reports = [update.step(drawn(seed=seed), env_steps=seed) for seed in range(3)]
    summary = summarise(reports)
    assert summary.figures["sound"] < 1
    assert summary.set_aside == ()
    assert update._loss_scale.scale.item() < 3e38
    assert all(report.td_errors.isfinite().all() for report in reports)


def test_low_precision_stays_near_the_exact_loss() -> None:
    told = {}
    for precision in ("fp32", "bf16", "fp16"):
        update = update_of(SETTINGS.replace(precision=precision))
        if update._loss_scale is not None:
            update._loss_scale.scale.fill_(16)
        told[precision] = summarise([update.step(drawn(), env_steps=0)]).figures
    for precision in ("bf16", "fp16"):
        for name in ("loss", "td_error", "gradient_norm", "gradient_norm.encoder"):
            assert told[precision][name] == pytest.approx(told["fp32"][name], rel=0.05), name


def test_parts_are_frozen_until_their_time() -> None:
    parts = PartsSettings(
        encoder=PartSettings(frozen=True, unfreeze_at=40),
        value_head=PartSettings(frozen=True),
        float_head=PartSettings(lr_multiplier=1e-6),
    )
    update = update_of(SETTINGS.replace(optimiser=CONSTANT.replace(parts=parts)))

    def moved(env_steps: int) -> set[str]:
        before = update.weights()
        report = update.step(drawn(seed=env_steps), env_steps=env_steps)
        assert ("gradient_norm.encoder" in report.names) == (env_steps >= 40)
        return {name.partition(".")[0] for name in changed(before, update.weights())}

    assert moved(0) == moved(39) == {"float_head", "quantile_layer", "advantage_head"}
    before = update.weights()
    assert moved(40) == {"encoder", "float_head", "quantile_layer", "advantage_head"}
    difference = [
        (update.weights()[f"{name}.weight"] - before[f"{name}.weight"]).abs().max()
        for name in ("float_head.0", "encoder.0")
    ]
    assert 0 < difference[0] < difference[1] * 1e-3


def test_a_network_that_would_not_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="every part of the network is frozen"):
        update_of(SETTINGS.replace(optimiser=OptimiserSettings(parts=ALL_FROZEN)))


def test_the_target_follows_as_far_as_is_due() -> None:
    update = update_of(SETTINGS.replace(target=TargetSettings(rate=0.1, interval_samples=3)))
    before, _ = update.state_dict()
    report = update.step(drawn(), env_steps=0)
    after, _ = update.state_dict()
    assert report.target_rate == pytest.approx(1 - 0.9**2)
    for name in ("value_head.last.weight", "encoder.0.weight"):
        expected = before[f"target.{name}"].lerp(after[f"online.{name}"], report.target_rate)
        assert torch.allclose(after[f"target.{name}"], expected, atol=1e-7)


def test_the_learning_rate_follows_schedule_speed_and_plateau() -> None:
    settings = LearnerSettings(quantiles=4, schedule_speed=8, plateau=PlateauSettings(patience_env_steps=100))
    update = update_of(settings)
    assert update.learning_rate(0) == 1e-3
    assert update.learning_rate(24_000_000) == pytest.approx(5e-5)
    assert update.learning_rate(10**9) == pytest.approx(1e-5)
    update.plateau.observe(25.0, 0)
    assert update.learning_rate(100) == pytest.approx(2e-3, rel=1e-3)


def test_soft_resets_mix_in_a_new_network() -> None:
    frozen = CONSTANT.replace(
        learning_rate=CONSTANT.learning_rate,
        parts=PartsSettings(float_head=PartSettings(frozen=True), encoder=PartSettings(lr_multiplier=1e-9)),
    )
    reset = ResetSettings(every_env_steps=1000, mix=0.25, last_layer_mix=0.5, extra_samples=77)
    update, without = (update_of(SETTINGS.replace(optimiser=frozen, reset=each)) for each in (reset, None))
    reports: list[StepReport] = []
    for env_steps in (999, 1000, 1001, 2500):
        reports.append(update.step(drawn(), env_steps=env_steps))
        without.step(drawn(), env_steps=env_steps)
        if env_steps == 999:
            assert changed(update.weights(), without.weights()) == set()
        if env_steps == 1000:
            first = changed(update.weights(), without.weights())
    assert [report.extra_samples for report in reports] == [0, 77, 0, 77]
    assert update.resets == 2
    assert {name.partition(".")[0] for name in first} == {"encoder", "quantile_layer", "advantage_head", "value_head"}


def test_a_reset_by_hand() -> None:
    still = OptimiserSettings(learning_rate=CONSTANT.learning_rate.constant(0.0))
    reset = ResetSettings(every_env_steps=10, mix=0.25, last_layer_mix=0.5)
    update = update_of(SETTINGS.replace(optimiser=still, reset=reset), seed=3)
    old, new = small_network(seed=3).state_dict(), small_network(seed=4).state_dict()
    update.step(drawn(), env_steps=10)
    weights = update.weights()
    for name, share in (
        ("encoder.0.weight", 0.25),
        ("value_head.hidden.0.weight", 0.25),
        ("value_head.last.weight", 0.625),
    ):
        assert torch.allclose(weights[name], old[name].lerp(new[name], share), atol=1e-6), name


def test_a_compiler_that_fails_is_told_of_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **_settings: Any) -> Any:
        def call(*_args: Any) -> Any:
            raise RuntimeError("no compiler here")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    update, eager = update_of(SETTINGS.replace(compile=True)), update_of()
    assert update.compiled
    with pytest.warns(CompileFallbackWarning, match="no compiler here"):
        update.step(drawn(), env_steps=0)
    eager.step(drawn(), env_steps=0)
    assert not update.compiled
    assert changed(update.weights(), eager.weights()) == set()


def test_a_compiler_that_fails_later_is_done_without_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles anew when a part of the network begins to learn, for example, and can fail then, too."""

    def tired(function: Any, **_settings: Any) -> Any:
        calls = 0

        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise RuntimeError("no more compiling")
            return function(*arguments)

        return call

    monkeypatch.setattr(torch, "compile", tired)
    update, eager = update_of(SETTINGS.replace(compile=True)), update_of()
    for seed in range(2):
        update.step(drawn(seed=seed), env_steps=seed)
    assert update.compiled
    with pytest.warns(CompileFallbackWarning, match="no more compiling"):
        update.step(drawn(seed=2), env_steps=2)
    assert not update.compiled
    update.step(drawn(seed=3), env_steps=3)
    for seed in range(4):
        eager.step(drawn(seed=seed), env_steps=seed)
    assert changed(update.weights(), eager.weights()) == set()


def test_what_fails_without_a_compiler_too_is_no_fault_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_settings: lambda *arguments: function(*arguments))
    update = update_of(SETTINGS.replace(compile=True))
    with pytest.warns(CompileFallbackWarning), pytest.raises(RuntimeError):
        update.step(drawn(actions=torch.zeros(BATCH + 1, dtype=torch.int64)), env_steps=0)


def test_a_batch_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="the batch is on meta"):
        update_of().step(drawn(floats=torch.zeros(BATCH, 5, device="meta")), env_steps=0)


def test_there_must_be_something_to_summarise() -> None:
    with pytest.raises(ValueError, match="no report"):
        summarise([])


@pytest.mark.slow
def test_a_compiled_step_is_an_eager_one() -> None:
    compiled, eager = update_of(SETTINGS.replace(compile=True)), update_of()
    for seed in range(3):
        first, second = (each.step(drawn(seed=seed), env_steps=seed) for each in (compiled, eager))
        assert torch.allclose(first.td_errors, second.td_errors, atol=1e-4)
    assert compiled.compiled
