"""The optimisers against torch's, and what is ours alone: undoing, parts, clipping, the loss scale."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from learner.flat import FlatParameters
from learner.optimiser import LossScale, Optimiser
from tmrl_ray.config.learner import OptimiserSettings

YES, NO = torch.tensor(True), torch.tensor(False)


def network_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    conv = nn.Conv2d(2, 3, 5)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    return nn.ModuleDict({"eyes": conv, "head": nn.Linear(7, 11), "tail": nn.Linear(11, 13)})


def first_word(name: str) -> str:
    return name.partition(".")[0]


def gradients(network: nn.Module, step: int, size: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [size * torch.randn(p.shape, generator=generator) for p in network.parameters()]


def give(optimiser: Optimiser, network: nn.Module, step: int, size: float = 1.0) -> None:
    optimiser.clear()
    for parameter, gradient in zip(network.parameters(), gradients(network, step, size), strict=True):
        assert parameter.grad is not None
        parameter.grad += gradient


def take_step(
    optimiser: Optimiser, rates: dict[str, float], *, sound: Tensor = YES, loss_scale: Tensor | None = None
) -> None:
    learning = {part: part in rates for part in ("eyes", "head", "tail")}
    norms = optimiser.norms(loss_scale=loss_scale, learning=learning)
    optimiser.step(rates, norms, sound=sound, loss_scale=loss_scale)


def test_flat_parameters_are_views_that_keep_their_memory_format() -> None:
    network = network_of()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    flat = FlatParameters(network, first_word)
    assert flat.parts == ("eyes", "head", "tail")
    assert {part: (span.start, span.stop) for part, span in flat.slices.items()} == {
        "eyes": (0, 153),
        "head": (153, 241),
        "tail": (241, 397),
    }
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.stride() == before[name].stride()
    flat.values.zero_()
    assert not any(parameter.any() for parameter in network.parameters())
    flat.fill(flat.values, before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in flat.tensors_of(flat.values).items())


@pytest.mark.parametrize("kind", ["radam", "adamw"])
@pytest.mark.parametrize("clip_norm", [None, 3.0])
def test_equals_torch(kind: Literal["radam", "adamw"], clip_norm: float | None) -> None:
    """Eleven steps, over the point where RAdam begins to adapt, with a rate that changes."""
    mine, theirs = network_of(), network_of()
    settings = OptimiserSettings(kind=kind, weight_decay=0.1, epsilon=1e-4, clip_norm=clip_norm, clip_value=1.0)
    optimiser = Optimiser(FlatParameters(mine, first_word), settings)
    if kind == "radam":
        reference: torch.optim.Optimizer = torch.optim.RAdam(
            theirs.parameters(), eps=1e-4, weight_decay=0.1, decoupled_weight_decay=True
        )
    else:
        reference = torch.optim.AdamW(theirs.parameters(), eps=1e-4, weight_decay=0.1)
    for step in range(11):
        rate = 1e-2 / (1 + step)
        give(optimiser, mine, step)
        take_step(optimiser, {"eyes": rate, "head": rate, "tail": rate})
        for parameter, gradient in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            parameter.grad = gradient
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
        nn.utils.clip_grad_value_(theirs.parameters(), 1.0)
        reference.param_groups[0]["lr"] = rate
        reference.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_one_step_by_hand() -> None:
    """AdamW, first step: the moments are corrected to g and g^2, so p (1 - rate decay) - rate g / (|g| + eps)."""
    network = nn.ModuleDict({"head": nn.Linear(1, 1, bias=False)})
    settings = OptimiserSettings(kind="adamw", weight_decay=0.5, epsilon=0.5, clip_norm=None)
    optimiser = Optimiser(FlatParameters(network, first_word), settings)
    weight = next(iter(network.parameters()))
    weight.data.fill_(2.0)
    optimiser.gradients.fill_(-1.5)
    norms = optimiser.norms(loss_scale=None, learning={"head": True})
    optimiser.step({"head": 0.1}, norms, sound=YES)
    assert weight.item() == pytest.approx(2.0 * 0.95 + 0.1 * 1.5 / 2.0)


@pytest.mark.parametrize("after", [0, 7])
def test_an_unsound_step_leaves_everything_as_it_was(after: int) -> None:
    network = network_of()
    flat = FlatParameters(network, first_word)
    optimiser = Optimiser(flat, OptimiserSettings())
    rates = {"eyes": 1e-2, "head": 1e-3, "tail": 1e-3}
    for step in range(after):
        give(optimiser, network, step)
        take_step(optimiser, rates)
    before, values = optimiser.state_dict(), flat.values.clone()
    give(optimiser, network, 99)
    optimiser.gradients[200] = torch.nan
    take_step(optimiser, rates, sound=NO)
    assert torch.equal(flat.values, values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in optimiser.state_dict().items())
    give(optimiser, network, 100)
    take_step(optimiser, rates)
    assert flat.values.isfinite().all()
    assert not torch.equal(flat.values, values)


def test_parts_have_rates_and_counts_of_their_own() -> None:
    """A part that joins later is as one that has just begun, whoever its neighbours are."""
    network, fresh = network_of(), network_of()
    flat, fresh_flat = FlatParameters(network, first_word), FlatParameters(fresh, first_word)
    settings = OptimiserSettings(kind="adamw")
    optimiser, fresh_optimiser = Optimiser(flat, settings), Optimiser(fresh_flat, settings)
    head = flat.slices["head"]
    for step in range(5):
        give(optimiser, network, step)
        take_step(optimiser, {"eyes": 1e-2, "tail": 1e-2})
    assert torch.equal(flat.values[head], fresh_flat.values[head])
    assert optimiser.steps.tolist() == [5, 0, 5]
    for step in range(5, 8):
        give(optimiser, network, step)
        take_step(optimiser, {"eyes": 1e-2, "head": 1e-2, "tail": 1e-2})
        give(fresh_optimiser, fresh, step)
        take_step(fresh_optimiser, {"eyes": 1e-2, "head": 1e-2, "tail": 1e-2})
    assert optimiser.steps.tolist() == [8, 3, 8]
    assert torch.equal(flat.values[head], fresh_flat.values[head])


def test_norms_are_of_the_gradient_before_it_was_scaled_and_clipped() -> None:
    network = network_of()
    optimiser = Optimiser(FlatParameters(network, first_word), OptimiserSettings(clip_norm=2.0))
    give(optimiser, network, 1, size=8.0)
    plain = torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients(network, 1)]))
    norms = optimiser.norms(loss_scale=torch.tensor(8.0), learning={"eyes": True, "head": True, "tail": True})
    assert norms.total.item() == pytest.approx(plain.item())
    assert sum(norm.item() ** 2 for norm in norms.parts.values()) == pytest.approx(plain.item() ** 2)
    optimiser.step({"eyes": 0.0, "head": 0.0, "tail": 0.0}, norms, sound=YES, loss_scale=torch.tensor(8.0))
    assert torch.linalg.vector_norm(optimiser.gradients).item() == pytest.approx(2.0, rel=1e-5)
    assert optimiser.figures(norms)["gradient_norm_clipped"] == 2.0


def test_a_part_that_does_not_learn_is_not_in_the_norm() -> None:
    network = network_of()
    optimiser = Optimiser(FlatParameters(network, first_word), OptimiserSettings())
    give(optimiser, network, 1)
    norms = optimiser.norms(loss_scale=None, learning={"eyes": False, "head": True, "tail": False})
    assert list(norms.parts) == ["head"]
    assert norms.total == norms.parts["head"]


def test_diagnostics_by_hand() -> None:
    network = nn.ModuleDict({"head": nn.Linear(2, 1, bias=False)})
    optimiser = Optimiser(FlatParameters(network, first_word), OptimiserSettings(epsilon=1.0))
    next(iter(network.parameters())).data.copy_(torch.tensor([[3.0, 4.0]]))
    optimiser.gradients.copy_(torch.tensor([1.0, -7.0]))
    figures = optimiser.diagnostics(signed_linf=False)
    assert figures["weight_rms.head.weight"] == pytest.approx(12.5**0.5)
    assert figures["gradient_l2.head.weight"] == pytest.approx(50**0.5)
    assert figures["gradient_linf.head.weight"] == 7
    assert figures["rate_rms.head.weight"] == 1
    assert optimiser.diagnostics(signed_linf=True)["gradient_linf.head.weight"] == 1


def test_the_loss_scale_halves_and_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LossScale, "GROW_AFTER", 3)
    scale = LossScale(torch.device("cpu"))
    seen = []
    for sound in (True, True, False, True, True, True, True):
        scale.update(sound=torch.tensor(sound), overflow=torch.tensor(not sound))
        seen.append(scale.scale.item() / LossScale.START)
    assert seen == [1, 1, 0.5, 0.5, 0.5, 1, 1]
    scale.update(sound=NO, overflow=NO)
    assert (scale.scale.item(), scale.steps.item()) == (LossScale.START, 1)
